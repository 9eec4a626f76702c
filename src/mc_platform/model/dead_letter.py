"""Events that a sink refused for good, and which of them an operator means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a sink refused for good, and the last wish to send it again.

    Attributes:
        request: Who wants it sent again is in the ledger under this decision; None: nobody.
        taken: What became of that; None while it waits.
        again_reason: Why it was refused again.
    """

    sink: str
    index: int
    event_id: str
    reason: str
    refused_at: datetime
    request: str | None = None
    asked_at: datetime | None = None
    settled_at: datetime | None = None
    taken: bool | None = None
    again_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters: by their events, or by when they were refused; all, if by neither."""

    event_ids: Sequence[str] | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Matching:
    """What a selection comes to, of those that no sink has taken since.

    Attributes:
        count: How many nobody wants sent again now.
        waiting: How many wait already.
        first_index: Of those that `count` counts; None if there are none.
        known: The events of `Selection.event_ids` that are dead letters.
    """

    count: int
    waiting: int
    first_index: int | None
    last_index: int | None
    known: Sequence[str]
