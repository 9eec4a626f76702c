"""The saga: steps in order, and on failure or cancel their compensations in reverse.

The control flow only. What it touches comes in as `Activities`; what makes it durable comes in as
`durable_step`, which runs a body once and gives its result back on every later run. So the law of the
saga is tested without an engine, with a crash at any point.

(1) before each effect its intent is recorded, together with the outcome of the effect before it:
    one commit a step, and outcomes are derived from stored results, so a crash cannot make
    the ledger tell two of them;
(2) an effect that may have happened counts as one that happened: it is compensated. So does the
    effect of a step amid which an earlier run died, whatever this run hears of it;
(3) every standing effect is compensated, in reverse order. One that resists does not stop the
    earlier ones: what stands afterwards is as little as possible, and the operation is `stuck`
    (`resolution` goes on from there);
(4) the end is recorded together with the task's terminal state, in one commit.

A group of the plan is one step for durability: its members run at once in threads, their intents
are one commit, their outcomes the next, and so are their compensations. A cancel, a halt (before
the first step only) and the deadline are looked at before each step; nothing stops a compensation.
Recording the intent may take long (a ledger that is down), so halt and deadline are looked at once
more after it: a step that they stop then has an intent, no call, and is told as failed.

(5) of an operation that another region began nothing is known but what came of its records: each step of
    which no result came may have been had there. So a step is enacted again under its key, and if the
    operation stops, all steps behind are compensated as well.

Code here catches `Exception` and never `BaseException`: the engine, and a process that is
stopping, interrupt a saga by those, and it goes on elsewhere from what is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from mc_platform.enact.calls import Called, Effect, Values, at_once, restored, storable
from mc_platform.enact.event_log import End, Entry, EventLog, Step, key_of
from mc_platform.enact.sealed import StepBroken
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import ActionName
from mc_platform.model.label import Part
from mc_platform.model.operation import OperationReport, OperationRequest, plan_from
from mc_platform.model.task import Task

DurableStep = Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]]
"""Run a body under a name and keep its JSON result; on a later run, return what was kept."""


CANCELED, HALTED, DEADLINE_PASSED = "canceled", "autonomy is halted", "deadline passed"


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of the operation from outside it.

    Attributes:
        cancel_requested: Somebody asked to cancel.
        recovered: This is not the first run, so any effect may have been had by an earlier one.
        halted: An operation that has not begun may not begin.
    """

    cancel_requested: bool = False
    recovered: bool = False
    halted: bool = False


class Activities(Protocol):
    """What a saga touches. All methods block; `record` and `task` return only when they succeeded.

    `do` and `undo` are called from several threads at once.
    """

    def do(
        self, action: ActionName, input: Values, key: str, deadline_at: datetime | None
    ) -> Called:
        """Have an effect, with retries as long as the deadline allows."""

    def undo(self, action: ActionName, input: Values, result: Values | None, key: str) -> Called:
        """Compensate an effect, with retries."""

    def record(self, events: Sequence[Event], task: Task | None) -> None:
        """Commit events, with the task's new state."""

    def task(self) -> Task | None:
        """The operation's task as it stands."""

    def release(self, parts: tuple[Part, ...]) -> tuple[tuple[Part, ...], Sequence[Event]]:
        """The results as they may leave, and the events that tell of that decision."""

    def signals(self) -> Signals:
        """Read afresh at each call."""

    def halted(self) -> bool:
        """Whether autonomy is halted, read at a moment at which an effect may be begun."""

    def now(self) -> datetime:
        """Aware UTC."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """Steps that run at once: one, or the members of a group."""

    first: int
    actions: tuple[ActionName, ...]

    @property
    def members(self) -> list[tuple[int, ActionName]]:
        return list(enumerate(self.actions, self.first))

    def name(self, phase: str) -> str:
        if len(self.actions) == 1:
            return f"{phase}:{self.first}:{self.actions[0]}"
        return f"{phase}:{self.first}-{self.first + len(self.actions) - 1}"


@dataclass(slots=True)
class _Progress:
    ran: list[tuple[_Stage, list[Step]]] = field(default_factory=list)
    carried: list[Entry] = field(default_factory=list)
    canceled: bool = False
    failure: str = ""
    moved: bool = False  # a body ran in this very run, so no earlier run came further than that

    @property
    def stopped(self) -> bool:
        return self.canceled or bool(self.failure)

    def steps(self) -> tuple[Step, ...]:
        return tuple(step for _, steps in self.ran for step in steps)


class Saga:
    """One run of one operation.

    Args:
        request: The operation.
        plan: Its actions in order, fixed when it was started; those of a group run at once.
        activities: What it touches.
        durable_step: What makes it durable.
        deadline_at: When it goes no further; None for never.
        adopted: Whether another region began it.
    """

    def __init__(
        self,
        request: OperationRequest,
        plan: Sequence[ActionName | Sequence[ActionName]],
        *,
        activities: Activities,
        durable_step: DurableStep,
        deadline_at: datetime | None = None,
        adopted: bool = False,
    ) -> None:
        self._request = request
        self._adopted = adopted
        self._stages: list[_Stage] = []
        for actions in plan_from(plan):
            self._stages.append(_Stage(sum(len(stage.actions) for stage in self._stages), actions))
        self._activities = activities
        self._run_step = durable_step
        self._deadline_at = deadline_at
        self._event_log = EventLog(request, sum(len(stage.actions) for stage in self._stages))
        self._progress = _Progress(carried=[Entry(Kind.operation_started)])

    def run(self) -> OperationReport:
        """Run to the end, or raise what interrupts it; the end is recorded when this returns."""
        if not self._forward():
            self._backward()
        return self._finish()

    def _forward(self) -> bool:
        progress = self._progress
        for stage in self._stages:
            try:
                kept = self._keep(stage.name("do"), partial(self._do, stage))
            except Exception as error:  # noqa: BLE001 a saga never ends without saying how it stands
                steps = [Step(index, action, done=broken(error)) for index, action in stage.members]
                progress.ran.append((stage, steps))
                progress.failure = progress.failure or steps[0].done.reason
                if self._adopted:
                    continue
                return False
            # Stopped before its intent, a stage has no calls
            ended = list(zip(stage.members, kept["calls"], strict=False))
            steps = [Step(index, action, done=_called(one)) for (index, action), one in ended]
            progress.ran.append((stage, steps))
            if steps:
                progress.carried = _outcomes(steps, kept["calls"])
            if not progress.stopped:
                progress.canceled = kept["stopped"] == CANCELED
                progress.failure = "" if progress.canceled else kept["stopped"] or _failure(steps)
            if progress.stopped and not self._adopted:
                return False
        return not progress.stopped

    def _do(self, stage: _Stage) -> dict[str, Any]:
        signals = self._activities.signals()
        stop = self._stop(stage, signals)
        # A run before this one may have had this effect, and died before it could say so
        uncertain = self._adopted or (signals.recovered and not self._progress.moved)
        if stop and not uncertain:
            return _kept([], stopped=stop)
        self._record([Entry(Kind.step_intended, index, action) for index, action in stage.members])
        stop = stop or self._stop_late(stage)
        if stop:
            effect = Effect.unknown if uncertain else Effect.none
            called = Called(ok=False, attempts=0, effect=effect, reason=stop)
            return _kept([self._call_kept(called) for _ in stage.members], stopped=stop)
        calls = at_once([partial(self._do_one, *member, uncertain) for member in stage.members])
        landed = stage is self._stages[-1] and all(one["state"] == "done" for one in calls)
        late = landed and self._activities.signals().cancel_requested
        return _kept(calls, stopped=CANCELED if late else "")

    def _do_one(self, index: int, action: ActionName, uncertain: bool) -> dict[str, Any]:
        key = key_of(self._request, index, "do")
        try:
            called = self._activities.do(action, self._request.input, key, self._deadline_at)
        except Exception as error:  # noqa: BLE001 its siblings go on, and are told
            called = broken(error)
        if called.effect is Effect.none and uncertain:
            called = replace(called, effect=Effect.unknown)
        return self._call_kept(called)

    def _stop(self, stage: _Stage, signals: Signals) -> str:
        if self._progress.stopped:
            return self._progress.failure or CANCELED
        if signals.cancel_requested:
            return CANCELED
        if signals.halted and stage is self._stages[0]:
            return HALTED
        return DEADLINE_PASSED if self._is_late() else ""

    def _stop_late(self, stage: _Stage) -> str:
        """The second look, when the intent is recorded."""
        if stage is self._stages[0] and self._activities.halted():
            return HALTED
        return DEADLINE_PASSED if self._is_late() else ""

    def _is_late(self) -> bool:
        return self._deadline_at is not None and self._activities.now() >= self._deadline_at

    def _backward(self) -> None:
        for stage, steps in reversed(self._progress.ran):
            stood = [step for step in steps if step.stood]
            if not stood:
                continue
            try:
                kept = self._keep(stage.name("undo"), partial(self._undo, stood))
            except Exception as error:  # noqa: BLE001 what stands is told, and earlier effects undone
                for step in stood:
                    step.undone = broken(error)
                continue
            for step, one in zip(stood, kept["calls"], strict=True):
                step.undone = _called(one)
            self._progress.carried = _outcomes(stood, kept["calls"])

    def _undo(self, steps: Sequence[Step]) -> dict[str, Any]:
        self._record([Entry(Kind.compensation_intended, step.index, step.action) for step in steps])
        undo = partial(undone, self._activities, self._request)
        return _kept(at_once([partial(undo, step) for step in steps]))

    def _finish(self) -> OperationReport:
        progress = self._progress
        end = End(steps=progress.steps(), failure=progress.failure, canceled=progress.canceled)
        self._keep("finish", partial(self._record_end, end))
        return self._event_log.report(end)

    def _record_end(self, end: End) -> dict[str, Any]:
        now = self._activities.now()
        parts: tuple[Part, ...] = ()
        released: Sequence[Event] = ()
        if end.completed:
            parts, released = self._activities.release(self._event_log.parts(end))
        entries = [*self._progress.carried, end.entry()]
        events = [self._event_log.event(entry, now) for entry in entries]
        task = self._activities.task()
        if task is not None:
            task = self._event_log.ended_task(task, end, parts, now)
        self._activities.record([*events[:-1], *released, events[-1]], task)
        return {}

    def _record(self, intents: Sequence[Entry]) -> None:
        now = self._activities.now()
        entries = [*self._progress.carried, *intents]
        self._activities.record([self._event_log.event(entry, now) for entry in entries], None)

    def _keep(self, name: str, body: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        def run_body() -> dict[str, Any]:
            kept = body()
            self._progress.moved = True
            return kept

        return self._run_step(name, run_body)

    def _call_kept(self, called: Called) -> dict[str, Any]:
        return kept_call(called, self._activities.now())


def undone(activities: Activities, request: OperationRequest, step: Step) -> dict[str, Any]:
    """Compensate a step's effect; how that went, as JSON to be stored."""
    result = step.done.result if step.done.effect is Effect.landed else None
    key = key_of(request, step.index, "undo")
    try:
        called = activities.undo(step.action, request.input, result, key)
    except Exception as error:  # noqa: BLE001 nothing is known of the call; others go on
        called = broken(error)
    return kept_call(called, activities.now())


def kept_call(called: Called, at: datetime) -> dict[str, Any]:
    """How a call ended, as JSON to be stored."""
    return {
        "state": "done" if called.ok else "failed",
        "attempts": called.attempts,
        "effect": called.effect.value,
        "reason": called.reason,
        "result": storable(called.result),
        "late": called.late,
        "at": at.isoformat(),
    }


def call_from(kept: Mapping[str, Any]) -> tuple[Called, datetime]:
    """What `kept_call` wrote."""
    called = Called(
        ok=kept["state"] == "done",
        attempts=kept["attempts"],
        effect=Effect(kept["effect"]),
        reason=kept["reason"],
        result=restored(kept["result"]) or {},
        late=kept["late"],
    )
    return called, datetime.fromisoformat(kept["at"])


def broken(error: Exception) -> Called:
    """A call of which nothing is known but that our own code failed."""
    name = str(error) if isinstance(error, StepBroken) else type(error).__name__
    reason = f"internal error ({name.lower()})"
    return Called(ok=False, attempts=0, effect=Effect.unknown, reason=reason)


def _kept(calls: list[dict[str, Any]], *, stopped: str = "") -> dict[str, Any]:
    return {"calls": calls, "stopped": stopped}


def _called(kept: Mapping[str, Any]) -> Called:
    return call_from(kept)[0]


def _outcomes(steps: Sequence[Step], calls: Sequence[Mapping[str, Any]]) -> list[Entry]:
    return [step.outcome_entry(call_from(one)[1]) for step, one in zip(steps, calls, strict=True)]


def _failure(steps: Sequence[Step]) -> str:
    failed = [step for step in steps if not step.done.ok]
    if any(step.done.late for step in failed):
        return DEADLINE_PASSED
    return "; ".join(f'step "{step.action}" failed: {step.done.reason}' for step in failed)
