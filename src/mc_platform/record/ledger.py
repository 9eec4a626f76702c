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
