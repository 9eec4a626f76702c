"""The words between the shipper and what it ships: an outbox, shipments, a sink.

The ledger itself is the outbox: an event is delivered because it is recorded. A cursor for each
sink tells the next leaf index; it moves only after the sink took the batch, so delivery is
at-least-once, in the region's order, and each event bears its stable id.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Shipment:
    """One recorded event on its way out: its place, when it was recorded, and what it says."""

    index: int
    recorded_at: datetime
    leaf: dict[str, Any]


class SinkRefused(Exception):
    """A sink did not take a batch; `reason` holds no content, no key and no URL."""

    def __init__(self, reason: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Sink(Protocol):
    """Where events go. Behind it: the SIEM over HTTP, and the backup file."""

    name: str

    async def take(self, batch: Sequence[Shipment]) -> None:
        """Keep the batch durably.

        Raises:
            SinkRefused: it was not taken, or that is not known.
        """
        ...


class Claim(Protocol):
    """The right to ship to one sink, which one process of the region has at a time."""

    async def next(self, limit: int) -> list[Shipment]:
        """The next events by the sink's cursor, in order."""
        ...

    async def taken(self, next_index: int) -> None:
        """Move the cursor: all before `next_index` is with the sink."""
        ...

    async def backlog(self) -> tuple[int, datetime | None]:
        """How many events wait, and when the oldest of them was recorded."""
        ...


class Outbox(Protocol):
    """Behind it: the ledger in PostgreSQL; memory in tests."""

    def claim(self, sink: str) -> AbstractAsyncContextManager[Claim | None]:
        """Try to become the one that ships to `sink`; None if another process is."""
        ...
