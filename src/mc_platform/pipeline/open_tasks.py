"""Tasks that are under way: read, cancelled, failed, and ended where no process works on them."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mc_platform.errors import (
    AgentFailed,
    Conflict,
    NotFound,
    Overdue,
    PlatformError,
    PolicyDenied,
    Unavailable,
)
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import OperationId, TaskId
from mc_platform.model.operation import OperationReport, Outcome
from mc_platform.model.task import Task, TaskState
from mc_platform.model.tenant import Principal
from mc_platform.model.verdict import Action, Decision
from mc_platform.observe import metrics
from mc_platform.pipeline.enforcement import Enforcement
from mc_platform.ports import Clock, Homes, Journal, Operations, Tasks
from mc_platform.record import EventFactory, decision_detail

_NO_INPUT = "its input did not come from the region that accepted it, so what stands is not known"
_POLL_S, _POLL_SLOWEST_S = 0.05, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenTasks:
    """Changes what stands open; each change is one commit of an event and the task's new state.

    Attributes:
        operation_wait_s: How long a caller waits for an operation's end.
        homes: Which tenants' home this region is; None: there is one region.
        leaving: Set when nobody may wait here any longer: this replica is about to stop.
    """

    tasks: Tasks
    journal: Journal
    operations: Operations
    enforcement: Enforcement
    events: EventFactory
    clock: Clock
    operation_wait_s: float
    homes: Homes | None = None
    leaving: asyncio.Event = field(default_factory=asyncio.Event)

    async def read(self, principal: Principal, task_id: str) -> Task:
        """A task of the caller's tenant.

        Raises:
            NotFound: there is none, or it is another tenant's; not told which.
            HomeElsewhere: there is none here, and the tenant's home is another region.
            PolicyDenied, Unavailable.
        """
        task, _ = await self._permitted(principal, task_id, Action.read_task)
        return task

    async def _permitted(
        self, principal: Principal, task_id: str, action: Action
    ) -> tuple[Task, Decision]:
        task = await self.tasks.get(principal.tenant, TaskId(task_id))
        if task is None:
            if self.homes is not None:
                self.homes.refer(principal.tenant)
            raise NotFound("no such task")
        decision = await self.enforcement.permit(
            principal, action, "Task", resource_id=task.id, owner=task.tenant
        )
        return task, decision

    async def cancel(self, principal: Principal, task_id: str) -> Task:
        """Ask for a running operation's compensation and wait for its end.

        Raises:
            NotFound: as for `read`.
            HomeElsewhere: the tenant's home is another region, which has to undo it.
            Conflict: the task has ended, or is a question that cannot be called back.
            PolicyDenied, Unavailable.
        """
        if self.homes is not None:
            self.homes.refer(principal.tenant)
        task, decision = await self._permitted(principal, task_id, Action.cancel_task)
        if task.state.terminal:
            raise Conflict(f"the task is {task.state.name} already")
        if "operation_id" not in task.governance:
            raise Conflict("a forwarded question cannot be called back")
        await self.journal.record(
            [
                self.events.event(
                    Kind.task_cancel_requested,
                    task.tenant,
                    task.id,
                    principal=principal.id,
                    **decision_detail(decision),
                )
            ]
        )
        operation_id = OperationId(task.id)
        if not await self.operations.cancel(operation_id) and await self.operations.void(
            operation_id
        ):
            # Accepted by a gateway that died before it could begin it: a wish must not be lost
            why = "canceled before the operation began"
            return await self.close(
                task,
                self.events.event(Kind.request_failed, task.tenant, task.id, reason=why),
                state=TaskState.canceled,
                status_text=why,
            )
        return await self.until_ended(task)

    async def until_ended(self, task: Task) -> Task:
        """An operation's task at its end, or as it stands when the wait is over."""
        ended = asyncio.ensure_future(
            self.operations.wait(OperationId(task.id), self.operation_wait_s)
        )
        leaving = asyncio.ensure_future(self.leaving.wait())
        try:
            await asyncio.wait({ended, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                ended.result()
        finally:
            ended.cancel()
            leaving.cancel()
        return await self.tasks.get(task.tenant, task.id) or task

    async def followed(self, task: Task, longest_s: float = math.inf) -> Task:
        """A task at its end, or as it stands when the wait is over; looked for again and again."""
        deadline, pause = time.monotonic() + longest_s, _POLL_S
        while not task.state.terminal and time.monotonic() < deadline and not self.leaving.is_set():
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _POLL_SLOWEST_S)
            task = await self.tasks.get(task.tenant, task.id) or task
        return task

    async def fail_abandoned(self, tasks: Sequence[Task]) -> int:
        """End tasks that no process works on any more; return how many.

        Operations of tenants with another home are left to it.

        A question whose gateway died is one; an operation is if its engine never got it, or broke
        on it: nobody then knows what stands, so it is stuck. So it is if another region accepted it,
        and nothing came of it but its task (what came is adopted, `assembly/takeovers`).
        """
        failed = 0
        for task in tasks:
            if "operation_id" not in task.governance:
                await self.fail(
                    task, AgentFailed("the gateway was interrupted before the agent answered")
                )
                failed += 1
            elif self.homes is not None and not self.homes.term(task.tenant):
                continue
            elif await self.operations.void(OperationId(task.id)):
                if self.homes is not None and await self.tasks.accepted_elsewhere(task.id):
                    unknown = OperationReport(OperationId(task.id), Outcome.stuck, (), _NO_INPUT)
                    failed += await self._close_broken(task, unknown)
                    continue
                await self.fail(
                    task, AgentFailed("the gateway was interrupted before the operation began")
                )
                failed += 1
            elif (report := await self.operations.report(OperationId(task.id))) is not None:
                failed += await self._close_broken(task, report)
        return failed

    async def fail(self, task: Task, error: PlatformError) -> None:
        """Record that a question, or an operation that never began, has failed, and as what."""
        error.task_id = task.id
        await self.close(
            task,
            self.events.event(Kind.request_failed, task.tenant, task.id, reason=error.message),
            state=TaskState.failed,
            status_text=error.message,
            governance={**task.governance, "error": error.code},
        )

    async def close(self, task: Task, event: Event, **changes: Any) -> Task:
        """Record a task's new state, which the changed fields tell, with the event that tells it."""
        closed = replace(task, updated_at=self.clock(), **changes)
        await self.journal.record([event], closed)
        return closed

    async def _close_broken(self, task: Task, report: OperationReport) -> bool:
        now = await self.tasks.get(task.tenant, task.id)
        if now is None or now.state.terminal:  # it ended in the meantime, and recorded it itself
            return False
        detail = {"operation_id": task.id, "reason": report.reason}
        await self.close(
            task,
            self.events.event(Kind.operation_stuck, task.tenant, task.id, **detail),
            state=TaskState.failed,
            status_text=f"the operation is stuck: {report.reason}",
            governance={**task.governance, "outcome": report.outcome.value, "steps": []},
        )
        metrics.count_operation(task.tenant, report)
        return True


def as_first_answered(task: Task) -> Task:
    """A task, as who sent its message got it first; what ended otherwise than by a reply was an error.

    Raises:
        PlatformError: the question's, as it was raised then.
    """
    if "operation_id" in task.governance or task.state not in (
        TaskState.failed,
        TaskState.rejected,
    ):
        return task
    error: PlatformError
    if task.state is TaskState.rejected:
        decision_id = str(task.governance.get("release_decision_id", ""))
        _, _, reason = task.status_text.partition(": ")
        error = PolicyDenied(task.status_text, decision_id=decision_id, reason=reason)
    else:
        kinds = {kind.code: kind for kind in (Unavailable, Overdue, PlatformError)}
        kind = kinds.get(str(task.governance.get("error")), AgentFailed)
        error = kind(task.status_text, hint="the same message fails again; send it as a new one")
    error.task_id = task.id
    raise error
