"""Whom a query selects: as places in a table, and as keyed digests that may be kept.

A kept selection is the sorted 8-byte digests of the persons, one after the other. Without the key
nobody can tell who is in it; with 8 bytes two of a million persons share a digest once in 10^7
datasets.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

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
    """Keyed digests of queries and persons; one key a region, kept out of the database."""

    def __init__(self, key: bytes) -> None:
        """Raises ValueError if the key has fewer than 32 bytes."""
        if len(key) < 32:
            raise ValueError("the key of aggregates needs 32 bytes or more")
        self._key = hashlib.blake2b(key, digest_size=32, person=b"mc-aggregates").digest()

    def of_text(self, tenant: TenantId, text: str) -> bytes:
        """32 bytes for a canonical text of a tenant's."""
        return hmac.digest(self._key, f"q|{tenant}|{text}".encode(), "sha256")

    def of_units(self, tenant: TenantId, dataset: str, units: Iterable[str]) -> bytes:
        """A selection as it is kept."""
        start = hmac.new(self._key, f"u|{tenant}|{dataset}|".encode(), "sha256")
        found = []
        for unit in units:
            one = start.copy()
            one.update(unit.encode())
            found.append(one.digest()[:_BYTES])
        return b"".join(sorted(found))


def least_apart(selection: bytes, earlier: Iterable[bytes]) -> int:
    """How few persons a selection has, or sets apart from an earlier one: the least of these."""
    members = _members(selection)
    return min((len(members), *(len(members ^ _members(one)) for one in earlier)))


def _members(selection: bytes) -> set[bytes]:
    return {selection[at : at + _BYTES] for at in range(0, len(selection), _BYTES)}
