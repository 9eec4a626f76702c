"""The patterns of customer ids of a whole catalogue, which the scopes of all its tenants share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable

_remembered: dict[bytes, CustomerIds] = {}


class CustomerIds:
    """Every tenant's patterns, in order, each once. Which of them are a tenant's own, its scope says.

    Ten thousand tenants have one of these, however many scopes hold it; it is compared by its digest.
    It is pickled as its digest, so that a message for another process does not carry all tenants'
    patterns: that process has to call `remember` with them before.
    """

    __slots__ = ("digest", "patterns")

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self.patterns = tuple(sorted(set(patterns)))
        content = b"".join(
            b"%d:%s" % (len(encoded), encoded)
            for encoded in (pattern.encode("utf-8", "surrogatepass") for pattern in self.patterns)
        )
        self.digest = hashlib.sha256(content).digest()

    def __eq__(self, other: object) -> bool:
        """The same patterns."""
        return self is other or (isinstance(other, CustomerIds) and self.digest == other.digest)

    def __hash__(self) -> int:
        """By the digest: the patterns may be many."""
        return hash(self.digest)

    def __repr__(self) -> str:
        """How many; the patterns are other tenants'."""
        return f"CustomerIds({len(self.patterns)} patterns)"

    def __reduce__(self) -> tuple[Callable[[bytes], CustomerIds], tuple[bytes]]:
        """As the digest alone."""
        return _of_digest, (self.digest,)


NO_IDS = CustomerIds()


def remember(patterns: Iterable[str]) -> CustomerIds:
    """Know these patterns in this process by their digest, for as long as it runs."""
    ids = CustomerIds(patterns)
    return _remembered.setdefault(ids.digest, ids)


def _of_digest(digest: bytes) -> CustomerIds:
    """The patterns that were remembered; `LookupError` if there are none: no screening without them."""
    if digest == NO_IDS.digest:
        return NO_IDS
    try:
        return _remembered[digest]
    except KeyError:
        raise LookupError("this process was not told the catalogue's customer ids") from None
