"""What an auditor may ask of the region's ledger; and what retention moved out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from mc_contract.ledger.entry import Entry

MOST_PAGE_BYTES = 2_097_152
"""Of the leaves in one answer; the last one may exceed it."""


@dataclass(frozen=True, slots=True)
class StoredCheckpoint:
    """A signed note as it was stored, and the size and time that its row has."""

    size: int
    note: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Archive:
    """A run of entries that left as a file; frontiers as `Frontier.to_bytes` gives them.

    Attributes:
        file: The file's name, without a folder.
        sha256: The file's, hex.
        checkpoint: A signed note over the log at a size that covers the run.
    """

    first_index: int
    last_index: int
    file: str
    sha256: str
    frontier_before: bytes
    frontier_after: bytes
    checkpoint: str
    archived_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows a reader wants: those of which all holds that is given.

    Attributes:
        kinds: Any of them; none given: every kind.
        since: Recorded then or later.
        until: Recorded before.
        denied: Those in which policy denied.
    """

    tenant: str | None = None
    kinds: Sequence[str] = ()
    subject: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    denied: bool = False


class AuditLedger(Protocol):
    """Reading one region's whole log; not bound to a tenant. All raise `Unavailable`."""

    region: str

    async def entries(self, start: int, limit: int) -> Sequence[Entry]:
        """Rows with an index from `start`, by index; at most `limit`, whatever is there.

        Up to `MOST_PAGE_BYTES`, but two in any case.
        """

    async def checkpoints(self, from_size: int, limit: int) -> Sequence[StoredCheckpoint]:
        """Stored checkpoints of at least `from_size`, by size."""

    async def tile_hashes(self, first: int, count: int) -> Sequence[tuple[int, bytes]]:
        """Kept tiles of level 0, each with its index, from tile `first`."""

    async def index_of(self, *event_ids: str) -> int | None:
        """Where the first of them stands, also when it has been archived; None: none is recorded."""

    async def index_of_decision(self, decision: str, second: int) -> int | None:
        """Where the decision that was made in this second of 1970 is first told; None: not soon after it."""

    async def matching(
        self, wanted: Wanted, *, before: int, limit: int
    ) -> tuple[Sequence[Entry], int | None]:
        """Rows that are wanted, those with the greatest index below `before` first, and where to read on.

        At most `limit`, up to `MOST_PAGE_BYTES`, and among a bounded number of rows: there may be no row
        and yet a place to read on from. None: nothing is left.
        """

    async def of_tenant(
        self,
        tenant: str,
        *,
        since: datetime | None,
        until: datetime | None,
        after_index: int,
        below: int,
        limit: int,
    ) -> Sequence[Entry]:
        """One tenant's rows recorded in `[since, until)`, with `after_index` < index < `below`.

        At most `limit`, and up to `MOST_PAGE_BYTES`.
        """

    async def archives(self) -> Sequence[Archive]:
        """What has left, by index."""
