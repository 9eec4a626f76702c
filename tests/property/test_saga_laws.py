"""The law of the saga, for random plans, failures, cancels and crash points; no engine, no network.

A crash is an exception that no saga code may catch; the run after it sees only what was kept, and in
another region only what of that had arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples
from tests.fake_saga import REQUEST, working_task

from mc_platform.enact.calls import Called, Effect
from mc_platform.enact.saga import Saga, Signals
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import (
    ActionName,
)
from mc_platform.model.label import Part
from mc_platform.model.operation import OperationReport, Outcome
from mc_platform.model.task import Task, TaskState


class Crash(BaseException):
    """The process dies."""


@dataclass
class World:
    """What outlives a crash: kept results, the ledger, the receiver, and the cancel wish."""

    do_ends: Sequence[str]
    undo_ends: Sequence[bool]
    cancel_at: int | None
    crashes: list[int]
    arrived: list[int] = field(default_factory=list)  # at each crash with a move: how many results
    kept: dict[str, dict[str, Any]] = field(default_factory=dict)
    ledger: dict[str, Event] = field(default_factory=dict)
    task: Task | None = None
    applied: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    tick: int = 0
    runs: int = 0
    cancel_seen: bool = False

    def live(self) -> None:
        """One moment passes; at some the process dies."""
        self.tick += 1
        if self.crashes and self.tick >= self.crashes[0]:
            self.crashes.pop(0)
            raise Crash


class Activities:
    """A receiver that honours idempotency keys, and a ledger that keeps an id once."""

    def __init__(self, world: World) -> None:
        self.world = world

    def do(
        self,
        action: ActionName,
        input: Mapping[str, Any],
        key: str,
        deadline_at: datetime | None,
    ) -> Called:
        self.world.live()
        end = self.world.do_ends[int(key.split(":")[1])]
        if end in ("done", "lost") and key not in self.world.applied:
            self.world.applied.append(key)
        self.world.live()
        if end == "done":
            return Called(ok=True, attempts=1, effect=Effect.landed, result={"id": key})
        effect = Effect.unknown if end in ("lost", "unknown") else Effect.none
        return Called(ok=False, attempts=2, effect=effect, reason="refused (409)")

    def undo(
        self,
        action: ActionName,
        input: Mapping[str, Any],
        result: Mapping[str, Any] | None,
        key: str,
    ) -> Called:
        self.world.live()
        index = int(key.split(":")[1])
        if not self.world.undo_ends[index]:
            return Called(ok=False, attempts=6, effect=Effect.unknown, reason="unavailable (500)")
        if key not in self.world.undone:
            self.world.undone.append(key)
        self.world.live()
        return Called(ok=True, attempts=1, effect=Effect.landed)

    def record(self, events: Sequence[Event], task: Task | None) -> None:
        self.world.live()
        for event in events:
            self.world.ledger.setdefault(event.id, event)
        self.world.task = task or self.world.task
        self.world.live()

    def task(self) -> Task | None:
        return working_task(self.now())

    def release(self, parts: tuple[Part, ...]) -> tuple[tuple[Part, ...], Sequence[Event]]:
        return parts, ()

    def signals(self) -> Signals:
        world = self.world
        asked = world.cancel_at is not None and world.tick >= world.cancel_at
        world.cancel_seen = world.cancel_seen or asked
        return Signals(cancel_requested=asked, recovered=world.runs > 1)

    def halted(self) -> bool:
        return False

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.world.tick, UTC)


def run_to_the_end(world: World) -> OperationReport:
    plan = [ActionName(f"action-{index}") for index in range(len(world.do_ends))]

    def durable_step(name: str, body: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if name not in world.kept:
            result = body()
            world.live()
            world.kept[name] = result
        return world.kept[name]

    adopted = False
    while True:
        world.runs += 1
        try:
            return Saga(
                REQUEST,
                plan,
                activities=Activities(world),
                durable_step=durable_step,
                adopted=adopted,
            ).run()
        except Crash:
            if world.arrived:
                world.kept = dict(list(world.kept.items())[: world.arrived.pop()])
                adopted = True


@st.composite
def worlds(draw: st.DrawFn) -> World:
    steps = draw(st.integers(1, 5))
    ends = st.sampled_from(["done"] * 6 + ["refused", "lost", "unknown"])
    crashes = draw(st.lists(st.integers(1, 60), max_size=6))
    return World(
        do_ends=draw(st.lists(ends, min_size=steps, max_size=steps)),
        undo_ends=draw(
            st.lists(st.sampled_from([True, True, True, False]), min_size=steps, max_size=steps)
        ),
        cancel_at=draw(st.none() | st.integers(0, 40)),
        crashes=sorted(crashes),
    )


def steps_of(world: World, kind: Kind) -> list[int]:
    return [event.detail["step"] for event in world.ledger.values() if event.kind is kind]


@settings(max_examples=examples(200))
@given(worlds(), st.lists(st.integers(0, 8), max_size=4))
def test_saga_end_is_lawful(world: World, arrived: list[int]) -> None:
    """Whatever fails, whenever it dies, wherever it goes on: the operation ends as its effects say."""
    world.arrived = arrived
    report = run_to_the_end(world)
    standing = [key for key in world.applied if key.replace(":do", ":undo") not in world.undone]
    if report.outcome is Outcome.completed:
        assert all(end == "done" for end in world.do_ends)
        assert len(standing) == len(world.do_ends)
        assert world.undone == []
    if report.outcome is Outcome.compensated:
        assert standing == []
    if report.outcome is Outcome.stuck:
        assert any(step.state == "stuck" for step in report.steps)
        assert all(not world.undo_ends[int(key.split(":")[1])] for key in standing)
    if not world.cancel_seen and all(end == "done" for end in world.do_ends):
        assert report.outcome is Outcome.completed


@settings(max_examples=examples(200))
@given(worlds())
def test_compensations_are_the_reverse_of_effects(world: World) -> None:
    """Intended compensations are exactly the effects that stood, in reverse; none on success."""
    report = run_to_the_end(world)
    intended = steps_of(world, Kind.compensation_intended)
    ended = [
        event for event in world.ledger.values() if event.kind in (Kind.step_done, Kind.step_failed)
    ]
    stood = [event.detail["step"] for event in ended if event.detail["effect"] != "none"]
    assert stood == sorted(stood)
    assert intended == ([] if report.outcome is Outcome.completed else stood[::-1])
    assert {int(key.split(":")[1]) for key in world.applied} <= set(stood)


@settings(max_examples=examples(200))
@given(worlds())
def test_ledger_tells_each_intent_before_its_end_and_one_end(world: World) -> None:
    """The ledger opens with the start, closes with one end, and no outcome lacks its intent."""
    report = run_to_the_end(world)
    kinds = [event.kind for event in world.ledger.values()]
    ends = [Kind.operation_completed, Kind.operation_compensated, Kind.operation_stuck]
    assert kinds[0] is Kind.operation_started
    assert [kind for kind in kinds if kind in ends] == [kinds[-1]]
    assert kinds[-1].value == f"operation.{report.outcome.value}"
    open_steps: list[tuple[str, int]] = []
    for event in world.ledger.values():
        family, _, phase = event.kind.value.partition(".")
        if phase == "intended":
            open_steps.append((family, event.detail["step"]))
        elif family in ("step", "compensation"):
            assert open_steps.pop() == (family, event.detail["step"])
    assert open_steps == []


@settings(max_examples=examples(200))
@given(worlds())
def test_task_agrees_with_the_report(world: World) -> None:
    """The task's terminal state and its governance say what the report says."""
    report = run_to_the_end(world)
    task = world.task
    assert task is not None
    assert task.state.terminal
    assert task.governance["outcome"] == report.outcome.value
    assert [line["state"] for line in task.governance["steps"]] == [s.state for s in report.steps]
    assert (task.state is TaskState.completed) == (report.outcome is Outcome.completed)
    canceled = report.canceled and report.outcome is Outcome.compensated
    assert (task.state is TaskState.canceled) == canceled


@settings(max_examples=examples(200))
@given(steps=st.integers(2, 4), dies_at=st.integers(1, 60), arrived=st.integers(0, 3))
def test_what_is_stopped_in_another_region_leaves_nothing_standing(
    steps: int, dies_at: int, arrived: int
) -> None:
    """Its region died, some results never came, and it is canceled: no effect of that region stands."""
    all_done, all_undone = ["done"] * steps, [True] * steps
    world = World(all_done, all_undone, cancel_at=dies_at, crashes=[dies_at], arrived=[arrived])
    report = run_to_the_end(world)
    standing = [key for key in world.applied if key.replace(":do", ":undo") not in world.undone]
    assert report.outcome in (Outcome.completed, Outcome.compensated)
    assert len(standing) == (steps if report.outcome is Outcome.completed else 0)
