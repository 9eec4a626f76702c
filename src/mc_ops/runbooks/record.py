"""The record of a run as one process has it: the journal, and the state that is folded from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from mc_ops.runbooks.journal import Event, Journal
from mc_ops.runbooks.state import RunState


@dataclass(frozen=True, slots=True)
class Record:
    """Writes events and folds them, and others' with them; no decision is made from anything else."""

    journal: Journal
    state: RunState

    def write(self, event: str, **fields: object) -> Event:
        """Write an event; the state has it, and what others wrote before it.

        Raises:
            CouldNotTell: It cannot be written.
        """
        events = self.journal.append(event, **fields)
        self._take(events)
        return events[-1]

    def catch_up(self) -> None:
        """Fold what others wrote meanwhile."""
        self._take(self.journal.news())

    @contextmanager
    def held(self) -> Iterator[None]:
        """Up to date, and nobody else writes: for decisions that only one may make."""
        with self.journal.held() as events:
            self._take(events)
            yield

    def _take(self, events: list[Event]) -> None:
        for event in events:
            self.state.take(event)
