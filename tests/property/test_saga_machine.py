"""The saga as a machine: plans with groups, failures, deaths, zombies, signals and resolutions.

Each run of the saga lives in a thread, as in a replica. It may die at a point, or be stopped there
(SIGSTOP), lose its lease to the run after it, and wake at any later time: a zombie. What outlives
a run is the world: stored results, the ledger, a receiver that honours idempotency keys and
leaves tombstones, and the signals. Its laws are looked at after every rule, and once more when
everybody is awake and the operation has ended.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from tests.examples import examples
from tests.fake_saga import REQUEST, START, working_task

from mc_platform.enact.calls import Called, Effect
from mc_platform.enact.resolution import Resolution, ResolutionMode, ResolutionReport
from mc_platform.enact.saga import Saga, Signals
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import (
    ActionName,
    PrincipalId,
)
from mc_platform.model.label import Part
from mc_platform.model.operation import (
    OperationReport,
    Outcome,
    Plan,
    Standing,
)
from mc_platform.model.task import Task, TaskState

DEADLINE = START + timedelta(seconds=100)
ENDS = (Kind.operation_completed, Kind.operation_compensated, Kind.operation_stuck)
PATIENCE_S = 60.0

DO = ["ok", "ok", "ok", "heals", "refused", "lost", "unknown", "late", "raises"]
UNDO = ["ok", "ok", "fails", "lost", "raises"]
BODY_POINTS = ["body", "signals", "record", "recorded", "called", "calling", "unkept", "kept"]


class Crash(BaseException):
    """The process dies."""


class Interrupted(BaseException):
    """The engine ends a run that another has overtaken."""


@dataclass(frozen=True)
class Stop:
    """Where a run is stopped: in its so-manieth body, at a point, by one member or all."""

    body: int
    point: str
    member: int
    everybody: bool
    dies: bool


class World:
    """What outlives a run."""

    def __init__(self, plan: Plan, do: list[list[str]], undo: list[list[str]]) -> None:
        self.plan = plan
        self.stage_of = [at for at, group in enumerate(plan) for _ in group]
        self.do_script, self.undo_script = do, undo
        self.kept: dict[str, dict[str, Any]] = {}
        self.ledger: dict[str, Event] = {}
        self.tasks: list[Task] = []
        self.applied: dict[str, dict[str, Any]] = {}
        self.undone: list[str] = []
        self.tombstones: set[str] = set()
        self.last_undo_ok: dict[int, bool] = {}
        self.violations: list[str] = []
        self.misfortune = False
        self.cancel = self.halted = False
        self.now = START
        self.epoch = 0
        self.lock = threading.RLock()

    def standing(self) -> set[int]:
        return {_index(key) for key in self.applied if key not in self.undone}

    def do(self, key: str) -> Called:
        """One action's call, with its retries."""
        with self.lock:
            index = _index(key)
            script = self.do_script[index]
            end = script.pop(0) if script else "ok"
            self.misfortune = self.misfortune or end not in ("ok", "heals")
            if end in ("ok", "heals", "lost", "raises"):
                if key in self.tombstones:
                    return _failed(Effect.none, "refused (409)")
                if key not in self.applied:
                    self._apply(key, index)
            if end == "raises":
                raise RuntimeError("a defect")
            if end in ("ok", "heals"):
                tries = 3 if end == "heals" else 1
                return Called(
                    ok=True, attempts=tries, effect=Effect.landed, result=self.applied[key]
                )
            if end == "refused":
                return _failed(Effect.none, "refused (409)")
            if end == "late":
                return Called(
                    ok=False, attempts=2, effect=Effect.none, reason="unreachable", late=True
                )
            return _failed(Effect.unknown, "timed out")

    def _apply(self, key: str, index: int) -> None:
        intended = {
            event.detail["step"]
            for event in self.ledger.values()
            if event.kind is Kind.step_intended
        }
        if index not in intended:
            self.violations.append(f"effect {key} without an intent before it")
        if index in {_index(other) for other in self.applied}:
            self.violations.append(f"a second effect of step {index}")
        self.applied[key] = {"id": f"made-by-{key}"}

    def undo(self, key: str, result: Mapping[str, Any] | None) -> Called:
        """One compensation, with its retries."""
        with self.lock:
            index, effect_key = _index(key), key.replace(":undo", ":do")
            script = self.undo_script[index]
            end = script.pop(0) if script else "ok"
            if result is not None and result != self.applied.get(effect_key):
                self.violations.append(f"{key} came with another's result")
            found = effect_key in self.applied
            if end in ("ok", "lost"):
                self.tombstones.add(effect_key)
                if found and effect_key not in self.undone:
                    self.undone.append(effect_key)
            self.last_undo_ok[index] = end == "ok"
            if end == "raises":
                raise RuntimeError("a defect")
            if end == "ok":
                effect = Effect.landed if found else Effect.none
                return Called(ok=True, attempts=1, effect=effect)
            return _failed(Effect.unknown, "unavailable (500)")


def _failed(effect: Effect, reason: str) -> Called:
    return Called(ok=False, attempts=4, effect=effect, reason=reason)


def _index(key: str) -> int:
    return int(key.split(":")[1])


class Run:
    """One run, in its thread; also the activities of its saga."""

    def __init__(self, world: World, number: int, stop: Stop | None) -> None:
        self.world = world
        self.number = number
        self.epoch = world.epoch
        self.state = "running"
        self._awake = False
        self.report: Any = None
        self._stop = stop
        self._name = ""
        self._bodies = -1
        self._forbidden = False
        self._expected = 0
        self._finished = 0
        self._change = threading.Condition()
        self._thread = threading.Thread(target=lambda: None)

    def start(self, work: Callable[[Run], Any]) -> None:
        """Run `work` until it ends, dies or is stopped."""
        if self._stop is None or self._stop.dies:
            self._run(work)
            return
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()
        self._until(lambda: self.state != "running")

    def wake(self) -> None:
        """Go on from where it was stopped, to the end."""
        with self._change:
            self._awake = True  # also whoever of a group comes to its stop as late as now
            self._tell("running")
        self._until(lambda: self.state != "running")
        self._thread.join(PATIENCE_S)

    def _run(self, work: Callable[[Run], Any]) -> None:
        try:
            self.report = work(self)
        except (Crash, Interrupted):
            self._tell("dead")
        except BaseException as error:  # told to the test, which fails by it
            self.report = error
            self._tell("failed")
        else:
            self._tell("ended")

    def _tell(self, state: str) -> None:
        with self._change:
            self.state = state
            self._change.notify_all()

    def _until(self, condition: Callable[[], bool]) -> None:
        with self._change:
            assert self._change.wait_for(condition, PATIENCE_S), "the model itself is stuck"

    def durable_step(self, name: str, body: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        world = self.world
        if self.epoch != world.epoch:
            raise Interrupted
        if name in world.kept:
            return world.kept[name]
        self._name = name
        self._bodies += 1
        self._expected = self._finished = 0
        self._at("body")
        kept = body()
        self._at("unkept")
        with world.lock:
            if name in world.kept:
                raise Interrupted
            world.kept[name] = kept
        self._at("kept")
        return kept

    def _at(self, point: str, member: int | None = None) -> None:
        stop = self._stop
        if stop is None or stop.point != point or self._bodies != stop.body:
            return
        if member is not None and not stop.everybody and member != stop.member % self._expected:
            return
        if stop.dies:
            raise Crash
        self._pause(alone=member is None)

    def _pause(self, *, alone: bool) -> None:
        with self._change:
            self._finished += 1
            self._change.notify_all()
            # Siblings in a group go on until they are stopped themselves
            settled = self._change.wait_for(
                lambda: alone or self._finished >= self._expected, PATIENCE_S
            )
            assert settled
            if not self._awake:
                self._tell("stopped")
            assert self._change.wait_for(lambda: self._awake, 3 * PATIENCE_S)

    def _call(self, index: int, call: Callable[[], Called]) -> Called:
        member = index - self.world.stage_of.index(self.world.stage_of[index])
        try:
            self._at("calling", member)
            called = call()
            self._at("called", member)
            return called
        finally:
            with self._change:
                self._finished += 1
                self._change.notify_all()

    def do(
        self,
        action: ActionName,
        input: Mapping[str, Any],
        key: str,
        deadline_at: datetime | None,
    ) -> Called:
        assert deadline_at == DEADLINE
        # However long the commit took: halt and deadline are looked at after it
        world = self.world
        halted = world.halted and self._name.startswith("do:0")
        if self._forbidden or halted or world.now >= DEADLINE:
            self.world.violations.append(f"{key} begun after a cancel, a halt or the deadline")
        return self._call(_index(key), partial(self.world.do, key))

    def undo(
        self,
        action: ActionName,
        input: Mapping[str, Any],
        result: Mapping[str, Any] | None,
        key: str,
    ) -> Called:
        return self._call(_index(key), partial(self.world.undo, key, result))

    def record(self, events: Sequence[Event], task: Task | None) -> None:
        intents = [event for event in events if event.kind.value.endswith(".intended")]
        self._expected = len(intents)
        self._at("record")
        with self.world.lock:
            for event in events:
                self.world.ledger.setdefault(event.id, event)
            # As in the database: a terminal state is final
            if task is not None and not self.world.tasks:
                self.world.tasks.append(task)
        self._at("recorded")

    def task(self) -> Task | None:
        return working_task(self.now())

    def release(self, parts: tuple[Part, ...]) -> tuple[tuple[Part, ...], Sequence[Event]]:
        return parts, ()

    def signals(self) -> Signals:
        world = self.world
        read = Signals(world.cancel, recovered=self.number > 1, halted=world.halted)
        self._at("signals")
        halted = read.halted and self._name.startswith("do:0")
        self._forbidden = read.cancel_requested or halted or world.now >= DEADLINE
        return read

    def halted(self) -> bool:
        assert self._name.startswith("do:0"), "read more often than needed"
        return self.world.halted

    def now(self) -> datetime:
        return self.world.now


@dataclass
class Resolved:
    """What the resolutions of a stuck operation have come to."""

    attempts: int = 0
    ended: bool = False
    standing: tuple[Standing, ...] = ()
    reports: list[ResolutionReport] = field(default_factory=list)


stops = st.builds(
    Stop,
    body=st.integers(0, 3),
    point=st.sampled_from(BODY_POINTS),
    member=st.integers(0, 2),
    everybody=st.booleans(),
    dies=st.booleans(),
)


class SagaMachine(RuleBasedStateMachine):
    """Rules are what may befall an operation; invariants are what it promises all the same."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None
        self.runs = 0
        self.stopped: list[Run] = []
        self.report: OperationReport | None = None
        self.resolved = Resolved()
        self.signalled = False

    @initialize(data=st.data(), sizes=st.lists(st.integers(1, 3), min_size=1, max_size=4))
    def accept(self, data: st.DataObject, sizes: list[int]) -> None:
        count = sum(sizes)
        names = iter([ActionName(f"action-{index}") for index in range(count)])
        plan = tuple(tuple(next(names) for _ in range(size)) for size in sizes)
        # Seldom enough that whole plans get through
        do = st.just([]) | st.lists(st.sampled_from(DO), max_size=2)
        undo = st.just([]) | st.lists(st.sampled_from(UNDO), max_size=3)
        if data.draw(st.booleans()):
            undo = st.just(["fails"])
        exactly = {"min_size": count, "max_size": count}
        self.world = World(
            plan, data.draw(st.lists(do, **exactly)), data.draw(st.lists(undo, **exactly))
        )

    def _begin(self, work: Callable[[Run], Any], stop: Stop | None) -> Run:
        assert self.world is not None
        self.world.epoch += 1
        self.runs += 1
        run = Run(self.world, self.runs, stop)
        run.start(work)
        if run.state == "stopped":
            self.stopped.append(run)
        assert run.state != "failed", repr(run.report)
        return run

    def _saga(self, run: Run) -> OperationReport:
        saga = Saga(
            REQUEST,
            run.world.plan,
            activities=run,
            durable_step=run.durable_step,
            deadline_at=DEADLINE,
        )
        return saga.run()

    @precondition(lambda self: self.report is None)
    @rule(stop=st.none() | stops | stops)
    def run(self, stop: Stop | None) -> None:
        """A replica takes the operation up; whoever was stopped in it has lost it."""
        run = self._begin(self._saga, stop)
        if run.state == "ended":
            self.report = run.report

    @precondition(lambda self: self.stopped)
    @rule(which=st.integers(0, 5))
    def wake(self, which: int) -> None:
        """A stopped replica goes on as if nothing had been."""
        run = self.stopped.pop(which % len(self.stopped))
        run.wake()
        assert run.state != "failed", repr(run.report)
        if run.state == "ended" and isinstance(run.report, OperationReport):
            assert self.report in (None, run.report)
            self.report = run.report

    @precondition(lambda self: self.report is None)
    @rule(body=st.integers(0, 3), everybody=st.booleans(), dies=st.booleans())
    def run_into_a_call(self, body: int, everybody: bool, dies: bool) -> None:
        """As `run`, and it is stopped where that matters most: amid a call."""
        point = "called" if dies else "calling"
        self.run(Stop(body, point, body, everybody, dies))

    @precondition(lambda self: self.report is None)
    @rule(body=st.integers(0, 2), signal=st.sampled_from(["halt", "deadline"]))
    def run_into_a_long_commit(self, body: int, signal: str) -> None:
        """As `run`, and it is halted, or late, by the time that an intent is recorded."""
        stopped = len(self.stopped)
        self.run(Stop(body, "recorded", 0, everybody=False, dies=False))
        if len(self.stopped) > stopped:
            self.signal(signal)
            self.wake(stopped)

    @precondition(lambda self: self.report is not None)
    @rule()
    def replay(self) -> None:
        """A run of what has ended calls nothing, records nothing and says the same."""
        world = self.world
        assert world is not None
        before = (dict(world.applied), list(world.undone), len(world.ledger))
        again = self._begin(self._saga, None)
        assert again.report == self.report
        assert before == (dict(world.applied), list(world.undone), len(world.ledger))

    @precondition(lambda self: self.report is None)
    @rule(signal=st.sampled_from(["cancel", "cancel", "halt", "resume", "deadline", "time"]))
    def signal(self, signal: str) -> None:
        """Somebody cancels, halts or resumes, or time passes."""
        world = self.world
        assert world is not None
        if signal == "cancel":
            world.cancel = True
        elif signal == "deadline":
            world.now = max(world.now, DEADLINE)
        elif signal == "time":
            world.now += timedelta(seconds=30)
        else:
            world.halted = signal == "halt"
        self.signalled = True

    @precondition(
        lambda self: (
            self.report is not None
            and self.report.outcome is Outcome.stuck
            and not self.resolved.ended
        )
    )
    @rule(mode=st.sampled_from(ResolutionMode), stop=st.none() | stops)
    def resolve(self, mode: ResolutionMode, stop: Stop | None) -> None:
        """An operator resolves; a resolution that dies is taken up again."""
        assert self.world is not None
        assert self.report is not None
        resolved = self.resolved
        resolved.attempts += 1
        before = resolved.standing or self.report.standing
        kept_before = self.world.kept
        self.world.kept = {}
        stood: list[tuple[Standing, ...]] = []

        def work(run: Run) -> ResolutionReport:
            resolution = Resolution(
                REQUEST,
                before,
                attempt=resolved.attempts,
                mode=mode,
                principal=PrincipalId("operator"),
                reason="by hand",
                activities=run,
                durable_step=run.durable_step,
            )
            report = resolution.run()
            stood.append(resolution.standing())
            return report

        calls_before = dict(self.world.last_undo_ok)
        run = self._begin(work, stop)
        while run.state != "ended":
            if self.stopped and self.stopped[-1] is run and run.state == "stopped":
                self.stopped.pop().wake()
                continue
            run = self._begin(work, None)
        self.world.kept = kept_before
        report = run.report
        resolved.reports.append(report)
        resolved.standing = stood[-1]
        resolved.ended = report.resolved
        told = [
            event.kind
            for event in self.world.ledger.values()
            if event.detail.get("resolution") == resolved.attempts
        ]
        last = Kind.operation_resolved if report.resolved else Kind.operation_still_stuck
        assert told[-1] is last
        tried = len(before) if mode is ResolutionMode.retry else 0
        assert told.count(Kind.compensation_intended) == tried
        assert len(told) == 1 + 2 * tried
        if mode is ResolutionMode.accept:
            assert self.world.last_undo_ok == calls_before
            assert report.resolved
            assert report.standing == tuple(one.action for one in before)
        else:
            assert self.world.standing() <= {one.index for one in stood[-1]}
            assert report.resolved == (not report.standing)
            assert report.standing == tuple(one.action for one in stood[-1])

    @invariant()
    def nothing_unintended(self) -> None:
        """Every effect's intent was recorded before it, and no step has two effects."""
        if self.world is not None:
            assert self.world.violations == []

    @invariant()
    def one_end(self) -> None:
        """The ledger never tells two ends, and none before the operation has one."""
        if self.world is None:
            return
        ends = [event for event in self.world.ledger.values() if event.kind in ENDS]
        assert len(ends) <= 1
        if self.report is not None:
            assert [event.kind.value for event in ends] == [
                f"operation.{self.report.outcome.value}"
            ]

    @invariant()
    def reverse_order(self) -> None:
        """Groups are compensated in reverse order, within the operation and in each resolution."""
        if self.world is None:
            return
        for resolution in range(self.resolved.attempts + 1):
            stages = [
                self.world.stage_of[event.detail["step"]]
                for event in self.world.ledger.values()
                if event.kind is Kind.compensation_intended
                and event.detail.get("resolution", 0) == resolution
            ]
            assert stages == sorted(stages, reverse=True)

    @invariant()
    def lawful_end(self) -> None:
        """Once ended, what stands in the world is what the report says."""
        if self.report is not None:
            self._require_lawful(self.report)

    def _require_lawful(self, report: OperationReport) -> None:
        world = self.world
        assert world is not None
        every = set(range(len(world.stage_of)))
        standing, told = world.standing(), {one.index for one in report.standing}
        stuck_names = [step.action for step in report.steps if step.state == "stuck"]
        assert stuck_names == [one.action for one in report.standing]
        if report.outcome is Outcome.completed:
            assert standing == every
            assert world.undone == []
            assert len(report.steps) == len(every)
        elif report.outcome is Outcome.compensated:
            assert standing == set()
            assert told == set()
        else:
            assert standing <= told
            assert told
            assert told <= set(world.last_undo_ok)
            # What is called stuck was tried in vain, or nobody knows how its compensation went
            assert all(world.last_undo_ok.get(index) is not True for index in told) or (
                self.resolved.attempts or self.runs > 1
            )
        if not self.signalled and not world.misfortune and self.runs == 1:
            assert report.outcome is Outcome.completed
        self._require_task(report)

    def _require_task(self, report: OperationReport) -> None:
        assert self.world is not None
        (task,) = self.world.tasks
        assert task.state.terminal
        governance = task.governance
        assert governance["outcome"] == report.outcome.value
        assert governance["canceled"] == report.canceled
        assert governance["effects"] - governance["effects_undone"] == (
            governance["effects"] if report.outcome is Outcome.completed else len(report.standing)
        )
        if report.reason == "autonomy is halted":
            begun = {
                self.world.stage_of[event.detail["step"]]
                for event in self.world.ledger.values()
                if event.kind is Kind.step_intended
            }
            assert begun <= {0}
            assert self.runs > 1 or not self.world.applied
        assert (task.state is TaskState.canceled) == (
            report.canceled and report.outcome is Outcome.compensated
        )

    def teardown(self) -> None:
        """Everybody wakes, the operation ends, and a repeat of it changes nothing."""
        try:
            if self.world is None:
                return
            if self.report is None:
                run = self._begin(self._saga, None)
                assert run.state == "ended"
                self.report = run.report
            while self.stopped:
                self.wake(0)
            self.replay()
            for check in (
                self.nothing_unintended,
                self.one_end,
                self.reverse_order,
                self.lawful_end,
            ):
                check()
        finally:
            for run in self.stopped:
                run.wake()


SagaMachine.TestCase.settings = settings(max_examples=examples(150), stateful_step_count=9)
# In full number on a machine whose processors others have too, it took over five minutes
test_saga_machine = pytest.mark.timeout(900)(SagaMachine.TestCase)
