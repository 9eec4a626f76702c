"""The saga: steps in order, and on failure or cancel their compensations in reverse.

The control flow only. What it touches comes in as `Hands`; what makes it durable comes in as
`remember`, which runs a body once and gives its result back on every later run. So the law of the
saga is tested without an engine, with a crash at any point.

(1) before each effect its intent is recorded, together with the outcome of the effect before it:
    one commit a step, and outcomes are derived from remembered results, so a crash cannot make
    the ledger tell two of them;
(2) an effect that may have happened counts as one that happened: it is compensated. So does the
    effect of a step amid which an earlier run died, whatever this run hears of it;
(3) every standing effect is compensated, in reverse order. One that resists does not stop the
    earlier ones: what stands afterwards is as little as possible, and the operation is `stuck`;
(4) the end is recorded together with the task's terminal state, in one commit.

Code here catches `Exception` and never `BaseException`: the engine, and a process that is
stopping, interrupt a saga by those, and it goes on elsewhere from what is remembered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from mc_platform.enact.calls import Called, Effect
from mc_platform.enact.chronicle import Chronicle, End, Entry, Step
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import ActionName
from mc_platform.model.label import Part
from mc_platform.model.operation import OperationReport, OperationRequest
from mc_platform.model.task import Task

Remember = Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]]
"""Run a body under a name and keep its JSON result; on a later run, return what was kept."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known of the operation from outside it.

    Attributes:
        cancel_requested: Somebody asked to cancel.
        recovered: This is not the first run, so any effect may have been had by an earlier one.
    """

    cancel_requested: bool = False
    recovered: bool = False


class Hands(Protocol):
    """What a saga touches. All methods block; `record` and `task` return only when they succeeded."""

    def do(self, action: ActionName, input: Mapping[str, Any], key: str) -> Called:
        """Have an effect, with retries."""
        ...

    def undo(
        self,
        action: ActionName,
        input: Mapping[str, Any],
        result: Mapping[str, Any] | None,
        key: str,
    ) -> Called:
        """Compensate an effect, with retries."""
        ...

    def record(self, events: Sequence[Event], task: Task | None) -> None:
        """Commit events, with the task's new state."""
        ...

    def task(self) -> Task | None:
        """The operation's task as it stands."""
        ...

    def release(self, parts: tuple[Part, ...]) -> tuple[tuple[Part, ...], Sequence[Event]]:
        """The results as they may leave, and the events that tell of that decision."""
        ...

    def signals(self) -> Signals:
        """Read afresh at each call."""
        ...

    def now(self) -> datetime:
        """Aware UTC."""
        ...


@dataclass(slots=True)
class _Progress:
    steps: list[Step] = field(default_factory=list)
    carried: list[Entry] = field(default_factory=list)
    canceled: bool = False
    failure: str = ""
    broken: str = ""
    moved: bool = False  # a body ran in this very run, so no earlier run came further than that


class Saga:
    """One run of one operation.

    Args:
        request: The operation.
        plan: Its actions in order, fixed when it was started.
        hands: What it touches.
        remember: What makes it durable.
    """

    def __init__(
        self,
        request: OperationRequest,
        plan: Sequence[ActionName],
        *,
        hands: Hands,
        remember: Remember,
    ) -> None:
        self._request = request
        self._plan = tuple(plan)
        self._hands = hands
        self._remember = remember
        self._chronicle = Chronicle(request, len(self._plan))
        self._progress = _Progress(carried=[Entry(Kind.operation_started)])

    def run(self) -> OperationReport:
        """Run to the end, or raise what interrupts it; the end is recorded when this returns."""
        progress = self._progress
        try:
            if not self._forward():
                self._backward()
        except Exception as error:  # noqa: BLE001 a saga never ends without saying how it stands
            progress.broken = f"internal error ({type(error).__name__.lower()})"
        return self._finish()

    def _forward(self) -> bool:
        progress = self._progress
        for index, action in enumerate(self._plan):
            kept = self._keep(f"do:{index}:{action}", partial(self._do, index, action))
            if kept["state"] == "canceled":
                progress.canceled = True
                return False
            step = Step(index, action, done=_called(kept))
            progress.steps.append(step)
            progress.carried = [step.outcome_entry(_at(kept))]
            if kept["cancel_requested"]:
                progress.canceled = True
                return False
            if not step.done.ok:
                progress.failure = f'step "{action}" failed: {step.done.reason}'
                return False
        return True

    def _do(self, index: int, action: ActionName) -> dict[str, Any]:
        signals = self._hands.signals()
        # A run before this one may have had this effect, and died before it could say so
        uncertain = signals.recovered and not self._progress.moved
        if signals.cancel_requested and not uncertain:
            return {"state": "canceled"}
        self._record(Entry(Kind.step_intended, index, action))
        if signals.cancel_requested:
            called = Called(ok=False, attempts=0, effect=Effect.unknown, reason="canceled")
            return self._kept(called, cancel_requested=True)
        called = self._hands.do(action, self._request.input, self._chronicle.key(index, "do"))
        if called.effect is Effect.none and uncertain:
            called = replace(called, effect=Effect.unknown)
        last = index == len(self._plan) - 1
        cancel = last and called.ok and self._hands.signals().cancel_requested
        return self._kept(called, cancel_requested=cancel)

    def _backward(self) -> None:
        progress = self._progress
        for step in reversed(progress.steps):
            if not step.stood:
                continue
            name = f"undo:{step.index}:{step.action}"
            kept = self._keep(name, partial(self._undo, step))
            step.undone = _called(kept)
            progress.carried = [step.outcome_entry(_at(kept))]

    def _undo(self, step: Step) -> dict[str, Any]:
        self._record(Entry(Kind.compensation_intended, step.index, step.action))
        result = step.done.result if step.done.effect is Effect.landed else None
        key = self._chronicle.key(step.index, "undo")
        return self._kept(self._hands.undo(step.action, self._request.input, result, key))

    def _finish(self) -> OperationReport:
        progress = self._progress
        end = End(
            steps=tuple(progress.steps),
            failure=progress.failure,
            broken=progress.broken,
            canceled=progress.canceled,
        )
        self._keep("finish", partial(self._record_end, end))
        return self._chronicle.report(end)

    def _record_end(self, end: End) -> dict[str, Any]:
        now = self._hands.now()
        parts: tuple[Part, ...] = ()
        released: Sequence[Event] = ()
        if end.completed:
            parts, released = self._hands.release(self._chronicle.parts(end))
        entries = [*self._progress.carried, end.entry()]
        events = [self._chronicle.event(entry, now) for entry in entries]
        task = self._hands.task()
        if task is not None:
            task = self._chronicle.ended_task(task, end, parts, now)
        self._hands.record([*events[:-1], *released, events[-1]], task)
        return {}

    def _record(self, intent: Entry) -> None:
        now = self._hands.now()
        entries = [*self._progress.carried, intent]
        self._hands.record([self._chronicle.event(entry, now) for entry in entries], None)

    def _keep(self, name: str, body: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        def run_body() -> dict[str, Any]:
            kept = body()
            self._progress.moved = True
            return kept

        return self._remember(name, run_body)

    def _kept(self, called: Called, *, cancel_requested: bool = False) -> dict[str, Any]:
        return {
            "state": "done" if called.ok else "failed",
            "attempts": called.attempts,
            "effect": called.effect.value,
            "reason": called.reason,
            "result": dict(called.result),
            "at": self._hands.now().isoformat(),
            "cancel_requested": cancel_requested,
        }


def _called(kept: Mapping[str, Any]) -> Called:
    return Called(
        ok=kept["state"] == "done",
        attempts=kept["attempts"],
        effect=Effect(kept["effect"]),
        reason=kept["reason"],
        result=kept["result"],
    )


def _at(kept: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(kept["at"])
