"""Whom a query selects: as places in a table, and as keyed digests that may be kept.

A kept selection is the sorted 8-byte digests of the persons, one after the other. Without the key
nobody can tell who is in it; with 8 bytes two of a million persons share a digest once in 10^7
datasets.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable

from mc_contract.keyring import Key, KeySet
from mc_platform.aggregate.query import Query
from mc_platform.model.dataset import Table
from mc_platform.model.ids import TenantId

_BYTES = 8


def places(query: Query, table: Table) -> list[int]:
    """The rows that meet all conditions."""
    chosen = list(range(len(table.units)))
    for one in query.where:
        values = table.columns[one.column]
        if one.values:
            words = set(one.values)
            chosen = [place for place in chosen if values[place] in words]
        else:
            span = range(one.lower, one.upper + 1)
            chosen = [place for place in chosen if values[place] in span]
    return chosen


class Digests:
    """Keyed digests of queries and persons; the keys are kept out of the database.

    Each is made under every key that is known, the active one's first: what was kept under another is
    still compared, and no two persons share a digest of two keys but by the chance above.
    """

    def __init__(self, keys: KeySet) -> None:
        self.renew(keys)

    def renew(self, keys: KeySet) -> None:
        """Take another set of keys."""
        self._keys = keys

    @property
    def key_id(self) -> str:
        """The id of the active key."""
        return self._keys.active.id

    def of_text(self, tenant: TenantId, text: str) -> tuple[bytes, ...]:
        """32 bytes for a canonical text of a tenant's, of each key."""
        told = f"q|{tenant}|{text}".encode()
        return tuple(hmac.digest(key.secret, told, "sha256") for key in self._keys)

    def of_units(self, tenant: TenantId, dataset: str, units: Iterable[str]) -> tuple[bytes, ...]:
        """A selection as it is kept, of each key."""
        names = [unit.encode() for unit in units]
        return tuple(_selection(key, tenant, dataset, names) for key in self._keys)


def _selection(key: Key, tenant: TenantId, dataset: str, names: Iterable[bytes]) -> bytes:
    start = hmac.new(key.secret, f"u|{tenant}|{dataset}|".encode(), "sha256")
    found = []
    for name in names:
        one = start.copy()
        one.update(name)
        found.append(one.digest()[:_BYTES])
    return b"".join(sorted(found))


def least_apart(selection: bytes, earlier: Iterable[bytes]) -> int:
    """How few persons a selection has, or sets apart from an earlier one: the least of these."""
    members = _members(selection)
    return min((len(members), *(len(members ^ _members(one)) for one in earlier)))


def _members(selection: bytes) -> set[bytes]:
    return {selection[at : at + _BYTES] for at in range(0, len(selection), _BYTES)}
