"""What becomes of an operation's task that no engine has: who accepted it decides what may be said."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest
from tests.fake_saga import START, working_task

from mc_platform.model.event import Event
from mc_platform.model.task import Task, TaskState
from mc_platform.pipeline.open_tasks import OpenTasks
from mc_platform.record import EventFactory

TASK = replace(working_task(), governance={"operation_id": "t"})


@dataclass
class Region:
    """Journal, tasks, operations and homes of a region whose engine has nothing of the task."""

    elsewhere: bool
    term: Any = field(default=lambda _tenant: 2)
    recorded: list[tuple[str, Task | None]] = field(default_factory=list)

    async def get(self, *_which: str) -> Task:
        return TASK

    async def accepted_elsewhere(self, _task_id: str) -> bool:
        return self.elsewhere

    async def void(self, _operation_id: str) -> bool:
        return True

    async def record(self, events: list[Event], task: Task | None = None) -> None:
        self.recorded += [(event.kind.value, task) for event in events]


@pytest.mark.parametrize(
    ("elsewhere", "kind", "why"),
    [
        (False, "request.failed", "the gateway was interrupted before the operation began"),
        (True, "operation.stuck", "the operation is stuck: its input did not come from the region"),
    ],
)
async def test_an_operation_without_input_is_told_as_what_is_known_of_it(
    elsewhere: bool, kind: str, why: str
) -> None:
    """Accepted here it never began; accepted by a region that died nobody knows what stands."""
    region: Any = Region(elsewhere)

    def clock() -> datetime:
        return START

    open_tasks = OpenTasks(
        tasks=region,
        journal=region,
        operations=region,
        enforcement=region,
        events=EventFactory(clock=clock),
        clock=clock,
        operation_wait_s=1.0,
        homes=region,
    )
    assert await open_tasks.fail_abandoned([TASK]) == 1
    [(told, task)] = region.recorded
    assert told == kind
    assert task.state is TaskState.failed
    assert task.status_text.startswith(why)
