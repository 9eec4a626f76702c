"""The words between the shipper and what it ships: an outbox, shipments, a sink.

The ledger itself is the outbox: an event is delivered because it is recorded. A cursor for each
sink tells the next leaf index; it moves only after the sink took the batch, so delivery is
at-least-once, in the region's order, and each event bears its stable id. The one exception is
said: an event that a sink refuses for good is a dead letter, by a row of its own, which can be sent
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol, runtime_checkable

from msgspec import Struct

from mc_platform.deliver.guard import Offered

MOST_BATCH_BYTES = 2_097_152
"""Of the leaves that are read at once; the last one may exceed it."""


class Shipment(Struct, frozen=True, gc=False):
    """One recorded event on its way out: its place, when it was recorded, and what it says.

    `raw` is the leaf's canonical JSON as the log holds it; `leaf` is the same, decoded. Without
    `gc` a batch of them costs the garbage collector nothing; none is part of a cycle.
    """

    index: int
    recorded_at: datetime
    leaf: dict[str, Any]
    raw: bytes


class SinkRefused(Exception):
    """A sink did not take a batch; the same may be taken later.

    So are 5xx, 429, 401, 403, 404, a broken network, and an acknowledgement that did not come.
    `reason` holds no content, no key and no URL.
    """

    def __init__(self, reason: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class BatchRejected(SinkRefused):
    """The sink says that the content is bad (400, 413, 422), and not which: split the batch."""


class LogDelivered(Exception):
    """A sink has the whole log of an earlier epoch: the claim is given back, and the next log follows."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """One event that the sink refused for good; `reason` holds no content."""

    index: int
    reason: str


class Sink(Protocol):
    """Where events go. Behind it: the SIEM in its formats, and the backup file."""

    name: str
    """Names the cursor: `siem` or `file`."""
    most: int
    """Events in a batch at most."""

    async def take(self, batch: Sequence[Shipment]) -> Sequence[Rejected]:
        """Keep the batch durably; all events that are not in the answer are kept.

        Raises:
            SinkRefused: none was taken, or that is not known.
            BatchRejected: the content is bad, and it is not known which event's.
        """


@runtime_checkable
class Preparing(Protocol):
    """What a sink may have besides: a batch made ready while the former is being sent."""

    async def prepare(self, batch: Sequence[Shipment]) -> None:
        """Do the part of `take` that sends nothing; `take` of this very list then uses it."""


class Backup(Sink, Protocol):
    """The sink that stands in while the SIEM is down, and may forget what the SIEM has."""

    async def delivered(self, next_index: int) -> None:
        """All events before `next_index` are with the SIEM; told by the one that ships to it."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a sink's cursor stands, and what became of the last events before it, in order."""

    next_index: int
    recent: Sequence[Offered]


@dataclass(frozen=True, slots=True)
class Standing:
    """A sink beside the log, as the database has it: the same from every replica.

    Attributes:
        size: Events recorded.
        next_index: The sink's cursor.
        oldest_s: How long the oldest event has waited that the sink has not taken; None: none waits.
        dead_letters: Events that the sink refused for good and has not taken since.
        failing: Why the sink takes nothing now; None if it took the last batch that it was sent.
        ahead: How many events the farthest cursor of any sink is beyond the log's end: those were
            recorded and delivered, and are gone.
    """

    size: int = 0
    next_index: int = 0
    oldest_s: float | None = None
    dead_letters: int = 0
    failing: str | None = None
    ahead: int = 0

    @property
    def waiting(self) -> int:
        """Events that are recorded and not yet with the sink, dead letters not counted.

        Nothing waits where the cursor is beyond the log's end; `ahead` tells of that.
        """
        return max(0, self.size - self.next_index)


class Claim(Protocol):
    """The right to ship to one sink, which one process of the region has at a time.

    Every method raises `Unavailable` when the store does not answer: the claim may be gone.
    """

    async def position(self) -> Position:
        """Where the sink's cursor stands.

        Raises:
            LedgerDamaged: it is beyond the log's end.
        """

    async def read(self, start: int, limit: int) -> list[Shipment]:
        """The events from index `start` on, in order, without gaps, up to `MOST_BATCH_BYTES`."""

    async def settle(self, next_index: int, rejected: Sequence[Rejected]) -> None:
        """In one commit, make `rejected` dead letters and move the cursor.

        The sink has all others before it. The cursor never moves back; where somebody else has set it
        back, it stays there.
        """

    async def fail(self, reason: str) -> None:
        """Tell the region that the sink takes nothing now; the cursor's next move ends that."""

    async def wanted_again(self, limit: int) -> Sequence[Shipment | Rejected]:
        """Dead letters that an operator wants sent again, by index; those that are gone, refused."""

    async def settle_again(self, taken: Sequence[int], rejected: Sequence[Rejected]) -> None:
        """What became of those."""

    async def hold(self) -> None:
        """Tell that the claim is still wanted; one that is silent for long is given to another.

        Raises:
            LogDelivered: the log ended with its epoch, and the sink has all of it.
        """


class Outbox(Protocol):
    """Behind it: the ledger in PostgreSQL; memory in tests."""

    def claim(self, sink: str) -> AbstractAsyncContextManager[Claim | None]:
        """Try to become the one that ships to `sink`; None if another process is."""

    async def standing(self, sink: str) -> Standing:
        """How a sink stands; needs no claim.

        Raises:
            Unavailable: the store does not answer.
        """
