"""What one flush of the journal asks of the database: its statements, and its callers' rows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mc_platform.adapters.postgres.rows import int_array
from mc_platform.model.event import Recorded
from mc_platform.model.ids import EventId
from mc_platform.model.task import Task

# Migration 0030 tells the arguments; one call is one round trip and one transaction. Arrays of whole
# numbers come as text (`int_array`); of a quotable digest, its task's number tells tenant and task
_EVENT_COLUMNS, _TASK_COLUMNS = 7, 12  # in lists
_OF_ITS_TASK = """ARRAY(
    SELECT ({}::text[])[number] FROM unnest($24::text::int[]) WITH ORDINALITY AS q (number, place)
    ORDER BY place)"""
_CALL = f"""mc.record_batch({{}}, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::text::int[],
    $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
    $24::text::int[], {_OF_ITS_TASK.format("$14")}, $25::text::bigint[], {_OF_ITS_TASK.format("$12")})
"""
RECORD = f"SELECT * FROM {_CALL.format('$1')}"  # noqa: S608 - places
# The look-up (migration 0036) sees what was committed before this statement; of no region nothing is
# recorded. OFFSET 0 has it made once
_REGION_UNLESS_QUOTED = "CASE WHEN looked_up.quoting IS NULL THEN $1::text END"
RECORD_UNLESS_QUOTED = f"""
SELECT looked_up.quoting, recorded.* FROM (
    SELECT mc.quoting_tasks($26::text::int[], $27::text::bigint[], $14, $12) AS quoting OFFSET 0
) AS looked_up
CROSS JOIN LATERAL {_CALL.format(_REGION_UNLESS_QUOTED)} AS recorded
"""  # noqa: S608 - places

Row = tuple[Any, ...]


@dataclass(slots=True, eq=False)
class Waiting:
    """One caller: what it wants recorded, as rows, and the future that it awaits.

    Attributes:
        unless_quoted: Nothing of it is recorded if one of these digests is quotable; the future
            has None then.
    """

    events: list[Row] = field(repr=False)
    task: Task | None
    row: Row = field(repr=False)
    done: asyncio.Future[list[Recorded] | None] = field(repr=False)
    unless_quoted: Sequence[int] = field(default=(), repr=False)


class Rows:
    """A flush's rows.

    Each event once: of two with one id the first stands, whatever the second says. A caller all of
    whose events others brought before it has nothing fresh, so its task is not written.

    Attributes:
        events: By their ids.
        of_event: The number of each one's task, from 1; 0 if none.
        of_digest: Of each quotable digest the number of its task.
        of_asked: Likewise of each digest in `asked`, which are looked up.
    """

    def __init__(self, batch: Iterable[Waiting]) -> None:
        self.events: dict[EventId, Row] = {}
        self.of_event: list[int] = []
        self.tasks: list[Row] = []
        self.of_digest: list[int] = []
        self.digests: list[int] = []
        self.of_asked: list[int] = []
        self.asked: list[int] = []
        self._asking: dict[int, Waiting] = {}
        for waiting in batch:
            self._add(waiting)

    def _add(self, waiting: Waiting) -> None:
        task = waiting.task
        number = 0 if task is None else len(self.tasks) + 1
        first = not waiting.events
        for row in waiting.events:
            if row[0] not in self.events:
                self.events[row[0]] = row
                self.of_event.append(number)
                first = True
        if task is None or not first:
            return
        self.tasks.append(waiting.row)
        self.digests += task.quotable
        self.of_digest += [number] * len(task.quotable)
        if waiting.unless_quoted:
            self.asked += waiting.unless_quoted
            self.of_asked += [number] * len(waiting.unless_quoted)
            self._asking[number] = waiting

    def arguments(self) -> list[Any]:
        """From the fourth on, of both statements; those of the look-up only if something is asked."""
        made = _columns(list(self.events.values()), _EVENT_COLUMNS)
        made.append(int_array(self.of_event))
        made += _columns(self.tasks, _TASK_COLUMNS)
        made += (int_array(self.of_digest), int_array(self.digests))
        if self.asked:
            made += (int_array(self.of_asked), int_array(self.asked))
        return made

    def without(self, numbers: Iterable[int], batch: Iterable[Waiting]) -> list[Waiting]:
        """The callers of a batch but those whose tasks quote, and who came with the same event."""
        left = {row[0] for number in numbers for row in self._asking[number].events}
        return [one for one in batch if left.isdisjoint(row[0] for row in one.events)]


def told(batch: Iterable[Waiting], places: dict[EventId, tuple[int, bool]]) -> list[list[Recorded]]:
    """What each caller is told: an event is fresh only for the one that brought it first."""
    brought: set[EventId] = set()
    result = []
    for waiting in batch:
        recorded = []
        for row in waiting.events:
            event_id = row[0]
            index, fresh = places[event_id]
            recorded.append(Recorded(event_id, index, fresh and event_id not in brought))
            brought.add(event_id)
        result.append(recorded)
    return result


def _columns(rows: list[Row], width: int) -> list[Any]:
    return (
        [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
    )
