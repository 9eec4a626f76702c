"""How an operation is told: its events, its report, its task's last state, and the sentence on it.

Pure. Event ids depend on the operation, the step and the phase only (and on the number of the
resolution, in one), so a replay after a crash names the same events and they are recorded once.
Nothing of the input or of a reply enters an event; results leave in the task's parts, and in what
a resolution of a stuck operation needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from mc_platform.enact.calls import Called, Effect
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import ActionName, EventId
from mc_platform.model.label import Part
from mc_platform.model.operation import (
    OperationReport,
    OperationRequest,
    Outcome,
    Standing,
    StepReport,
)
from mc_platform.model.task import Task, TaskState

_NAMESPACE = uuid5(NAMESPACE_URL, "urn:mc-platform:operation-event:1")
_LAST_KIND = {
    Outcome.completed: Kind.operation_completed,
    Outcome.compensated: Kind.operation_compensated,
    Outcome.stuck: Kind.operation_stuck,
}
_PHASE = {
    Kind.step_done: "step.ended",
    Kind.step_failed: "step.ended",
    Kind.compensation_done: "compensation.ended",
    Kind.compensation_failed: "compensation.ended",
    Kind.operation_completed: "operation.ended",
    Kind.operation_compensated: "operation.ended",
    Kind.operation_stuck: "operation.ended",
    Kind.operation_resolved: "resolution.ended",
    Kind.operation_still_stuck: "resolution.ended",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One event to be, before it has an id; `at` is None for "when it is recorded"."""

    kind: Kind
    index: int | None = None
    action: ActionName | None = None
    at: datetime | None = None
    detail: tuple[tuple[str, Any], ...] = ()


@dataclass(slots=True)
class Step:
    """One step that ran: how its effect went, and its compensation if there was one."""

    index: int
    action: ActionName
    done: Called
    undone: Called | None = None

    @property
    def stood(self) -> bool:
        """Whether the effect happened, or may have."""
        return self.done.effect is not Effect.none

    @property
    def stands(self) -> bool:
        """Whether the effect is (or may be) in the world now."""
        return self.stood and (self.undone is None or not self.undone.ok)

    def outcome_entry(self, at: datetime) -> Entry:
        """The event of the newest thing that happened to this step."""
        called = self.done if self.undone is None else self.undone
        kinds = (
            (Kind.step_done, Kind.step_failed)
            if self.undone is None
            else (Kind.compensation_done, Kind.compensation_failed)
        )
        detail: list[tuple[str, Any]] = [("attempts", called.attempts)]
        if called.reason:
            detail.append(("reason", called.reason))
        if self.undone is None:
            detail.append(("effect", called.effect.value))
        return Entry(kinds[0 if called.ok else 1], self.index, self.action, at, tuple(detail))

    def standing(self) -> Standing:
        """What is needed to try its compensation again."""
        landed = self.done.effect is Effect.landed
        result = dict(self.done.result) if landed else None
        return Standing(self.index, self.action, self.done.effect.value, result)

    def report(self, *, stuck: bool) -> StepReport:
        """The step's line in the report.

        `attempts` counts the call that decided the state. `stuck` marks standing effects `stuck`.
        """
        if self.stands and stuck:
            last = self.done if self.undone is None else self.undone
            return StepReport(self.action, "stuck", last.attempts, last.reason)
        if not self.done.ok:
            undone = self.undone is not None and self.undone.effect is Effect.landed
            reason = self.done.reason + ("; effect undone" if undone else "")
            return StepReport(self.action, "failed", self.done.attempts, reason)
        if self.undone is not None:
            return StepReport(self.action, "compensated", self.undone.attempts, self.undone.reason)
        return StepReport(self.action, "done", self.done.attempts)


@dataclass(frozen=True, slots=True)
class End:
    """How the operation ended: what is needed to tell it.

    Attributes:
        steps: Those that ran, in order.
        failure: Why it went no further; empty if nothing failed.
        canceled: Whether it was canceled before it was done.
    """

    steps: tuple[Step, ...]
    failure: str
    canceled: bool

    @property
    def completed(self) -> bool:
        """Whether every step is done and stays done."""
        return not (self.failure or self.canceled)

    @property
    def outcome(self) -> Outcome:
        """Completed, compensated (nothing stands) or stuck (something stands, or may)."""
        if self.completed:
            return Outcome.completed
        if any(step.stands for step in self.steps):
            return Outcome.stuck
        return Outcome.compensated

    @property
    def counts(self) -> tuple[int, int]:
        """Effects undone, and effects that happened or may have."""
        stood = [step for step in self.steps if step.stood]
        return sum(not step.stands for step in stood), len(stood)

    @property
    def reason(self) -> str:
        """Why it did not complete; empty if it did."""
        return self.failure or ("canceled" if self.canceled else "")

    def entry(self) -> Entry:
        """The final event."""
        undone, stood = self.counts
        detail: list[tuple[str, Any]] = [("effects", stood), ("effects_undone", undone)]
        if self.reason:
            detail.append(("reason", self.reason))
        if self.canceled:
            detail.append(("canceled", True))
        return Entry(_LAST_KIND[self.outcome], detail=tuple(detail))


def key_of(request: OperationRequest, index: int, phase: str) -> str:
    """The idempotency key of a step's `do` or `undo`."""
    return f"{request.id}:{index}:{phase}"


class EventLog:
    """Tells one operation.

    Args:
        request: The operation.
        planned: How many steps its plan has.
    """

    def __init__(self, request: OperationRequest, planned: int) -> None:
        self._request = request
        self._planned = planned

    def event(self, entry: Entry, now: datetime, *, resolution: int = 0) -> Event:
        """The event of an entry.

        Args:
            entry: What happened.
            now: Its time, where the entry has none of its own.
            resolution: The number of the resolution that it belongs to; 0 for none.
        """
        request = self._request
        where = "-" if entry.index is None else str(entry.index)
        # What ends once has one id whichever way it ends, so the ledger can never tell two ends
        phase = _PHASE.get(entry.kind, entry.kind.value)
        name = f"{request.tenant}/{request.id}/{where}/{phase}"
        if resolution:
            name += f"/resolution-{resolution}"
        detail: dict[str, Any] = {
            "operation_id": request.id,
            "operation": request.operation,
            "task_id": request.task_id,
            "decision_id": request.decision_id,
        }
        if entry.index is not None:
            detail |= {"step": entry.index, "action": entry.action}
        if resolution:
            detail["resolution"] = resolution
        return Event(
            id=EventId(str(uuid5(_NAMESPACE, name))),
            kind=entry.kind,
            tenant=request.tenant,
            occurred_at=entry.at or now,
            detail=detail | dict(entry.detail),
        )

    def report(self, end: End) -> OperationReport:
        """The operation's end as a value."""
        stuck = end.outcome is Outcome.stuck
        undone, _ = end.counts
        return OperationReport(
            id=self._request.id,
            outcome=end.outcome,
            steps=tuple(step.report(stuck=stuck) for step in end.steps),
            reason=end.reason,
            canceled=end.canceled,
            standing=tuple(step.standing() for step in end.steps if step.stands) if stuck else (),
            effects_undone=undone,
        )

    def parts(self, end: End) -> tuple[Part, ...]:
        """One data part with each step's result, in order."""
        steps = [{"action": step.action, "result": dict(step.done.result)} for step in end.steps]
        return ({"data": {"operation": self._request.operation, "steps": steps}},)

    def ended_task(self, task: Task, end: End, parts: tuple[Part, ...], now: datetime) -> Task:
        """The task in its terminal state."""
        return replace(
            task,
            state=_task_state(end),
            updated_at=now,
            parts=parts,
            status_text=self._sentence(end),
            governance={**task.governance, **self._governance(end)},
        )

    def _governance(self, end: End) -> Mapping[str, Any]:
        report = self.report(end)
        undone, stood = end.counts
        return {
            "operation_id": report.id,
            "outcome": report.outcome.value,
            "steps": [asdict(step) for step in report.steps],
            "effects": stood,
            "effects_undone": undone,
            "canceled": end.canceled,
            "decision_id": self._request.decision_id,
        }

    def _sentence(self, end: End) -> str:
        head = f'operation "{self._request.operation}"'
        if end.completed:
            return f"{head} completed: {len(end.steps)} of {self._planned} steps done"
        undone, stood = end.counts
        balance = f"{undone} of {stood} effects undone"
        if end.outcome is Outcome.stuck:
            standing = ", ".join(f'"{step.action}"' for step in end.steps if step.stands)
            rest = f"; still standing: {standing}" if standing else ""
            return f"{head} stuck: {end.reason}; {balance}{rest}"
        if end.canceled:
            return f"{head} canceled: {balance}"
        return f"{head} compensated: {end.reason}; {balance}"


def _task_state(end: End) -> TaskState:
    if end.completed:
        return TaskState.completed
    canceled = end.canceled and end.outcome is Outcome.compensated
    return TaskState.canceled if canceled else TaskState.failed
