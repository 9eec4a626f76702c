"""The saga in small stories: groups, deadline, halt and defects; its laws are property tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from tests.fake_saga import REQUEST, START

from mc_platform.enact.calls import Called, Effect
from mc_platform.enact.saga import DEADLINE_PASSED, HALTED, Saga, Signals
from mc_platform.enact.worker import deadline_of, payload_of, report_from
from mc_platform.model.event import Event
from mc_platform.model.ids import ActionName
from mc_platform.model.label import Part
from mc_platform.model.operation import (
    OperationReport,
    Outcome,
    Standing,
    plan_from,
)
from mc_platform.model.task import Task

DONE = Called(ok=True, attempts=1, effect=Effect.landed)
REFUSED = Called(ok=False, attempts=1, effect=Effect.none, reason="refused (409)")
RESISTED = Called(ok=False, attempts=6, effect=Effect.unknown, reason="unavailable (503)")


class Activities:
    """Calls end as told; each commit is kept as the list of its kinds and steps."""

    def __init__(self, **ends: Called | Exception) -> None:
        self.ends = ends
        self.commits: list[list[str]] = []
        self.undone: list[str] = []
        self.keys: set[str] = set()
        self.meeting: threading.Barrier | None = None
        self.is_halted = False
        self.at = START
        self.amid_commit: Callable[[], None] = lambda: None
        self.recovered = False
        self.switch_reads = 0

    def do(
        self,
        action: ActionName,
        input: Mapping[str, Any],
        key: str,
        deadline_at: datetime | None,
    ) -> Called:
        self.keys.add(key)
        if self.meeting is not None:
            self.meeting.wait(60)
        self.at += timedelta(seconds=10)
        end = self.ends.get(action, DONE)
        if isinstance(end, Exception):
            raise end
        return end

    def undo(
        self,
        action: ActionName,
        input: Mapping[str, Any],
        result: Mapping[str, Any] | None,
        key: str,
    ) -> Called:
        self.undone.append(action)
        end = self.ends.get(f"undo_{action}", DONE)
        assert isinstance(end, Called)
        return end

    def record(self, events: Sequence[Event], task: Task | None) -> None:
        self.commits.append([f"{event.kind} {event.detail.get('step', '')}" for event in events])
        self.amid_commit()

    def task(self) -> Task | None:
        return None

    def release(self, parts: tuple[Part, ...]) -> tuple[tuple[Part, ...], Sequence[Event]]:
        return parts, ()

    def signals(self) -> Signals:
        return Signals(halted=self.is_halted, recovered=self.recovered)

    def halted(self) -> bool:
        self.switch_reads += 1
        return self.is_halted

    def now(self) -> datetime:
        return self.at


def run(
    activities: Activities, plan: Sequence[Any], deadline_at: datetime | None = None
) -> tuple[OperationReport, list[str]]:
    """The report, and the names of the durable steps."""
    names: list[str] = []

    def durable_step(name: str, body: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        names.append(name)
        return body()

    saga = Saga(
        REQUEST, plan, activities=activities, durable_step=durable_step, deadline_at=deadline_at
    )
    return saga.run(), names


def test_a_group_is_one_durable_step_whose_members_run_at_once() -> None:
    """Members meet in their threads, with keys counted flat, and share their commits."""
    activities = Activities()
    activities.meeting = threading.Barrier(2)
    report, names = run(activities, [["b", "c"]])
    assert report.outcome is Outcome.completed
    assert names == ["do:0-1", "finish"]
    assert activities.keys == {"op:0:do", "op:1:do"}
    assert activities.commits == [
        ["operation.started ", "step.intended 0", "step.intended 1"],
        ["step.done 0", "step.done 1", "operation.completed "],
    ]


def test_a_member_that_fails_has_its_siblings_undone_then_what_was_before() -> None:
    """Only what had an effect is undone, the group's members in one durable step."""
    activities = Activities(c=REFUSED)
    report, names = run(activities, ["a", ["b", "c", "d"], "e"])
    assert report.outcome is Outcome.compensated
    assert report.reason == 'step "c" failed: refused (409)'
    assert names == ["do:0:a", "do:1-3", "undo:1-3", "undo:0:a", "finish"]
    assert sorted(activities.undone[:2]) == ["b", "d"]
    assert activities.undone[2:] == ["a"]


def test_the_deadline_ends_the_way_forward_and_not_the_way_back() -> None:
    """With the deadline past no step is begun, and all compensations are."""
    activities = Activities()
    report, _ = run(activities, ["a", "b", "c"], START + timedelta(seconds=15))
    assert (report.outcome, report.reason) == (Outcome.compensated, "deadline passed")
    assert activities.undone == ["b", "a"]


def test_retries_that_meet_the_deadline_are_told_as_such() -> None:
    """A step that the deadline kept from a further attempt ends the operation for that reason."""
    late = Called(ok=False, attempts=2, effect=Effect.unknown, reason="timed out", late=True)
    report, _ = run(Activities(b=late), ["a", "b"], START + timedelta(seconds=99))
    assert report.reason == "deadline passed"
    assert report.steps[1].reason == "timed out; effect undone"


def test_a_halt_keeps_an_operation_from_beginning() -> None:
    """Halted before its first step it ends without an effect, and without an intent."""
    activities = Activities()
    activities.is_halted = True
    report, _ = run(activities, ["a"])
    assert (report.outcome, report.reason) == (Outcome.compensated, "autonomy is halted")
    assert report.steps == ()
    assert activities.commits == [["operation.started ", "operation.compensated "]]


def test_a_halt_changes_nothing_once_a_step_has_begun() -> None:
    """An operation amid its steps completes, halted or not."""
    activities = Activities()

    def durable_step(_name: str, body: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        kept = body()
        activities.is_halted = True
        return kept

    plan = plan_from(["a", "b"])
    assert (
        Saga(REQUEST, plan, activities=activities, durable_step=durable_step).run().outcome
        is Outcome.completed
    )


def test_a_halt_while_the_first_intent_is_recorded_keeps_the_step_from_being_called() -> None:
    """A ledger that was down for long: the switch is read again before the effect, and once."""
    activities = Activities()
    activities.amid_commit = lambda: setattr(activities, "is_halted", True)
    report, _ = run(activities, [["a", "b"], "c"])
    assert (report.outcome, report.reason) == (Outcome.compensated, "autonomy is halted")
    assert [(step.state, step.reason) for step in report.steps] == [("failed", HALTED)] * 2
    assert (activities.keys, activities.undone) == (set(), [])
    assert activities.commits == [
        ["operation.started ", "step.intended 0", "step.intended 1"],
        ["step.failed 0", "step.failed 1", "operation.compensated "],
    ]


def test_the_switch_is_read_again_before_the_first_step_only() -> None:
    """A halt amid a later step's commit changes nothing."""
    activities = Activities()
    activities.amid_commit = lambda: setattr(activities, "is_halted", len(activities.commits) > 1)
    report, _ = run(activities, ["a", "b", "c"])
    assert report.outcome is Outcome.completed
    assert activities.switch_reads == 1


def test_a_deadline_that_passes_while_an_intent_is_recorded_stops_the_step() -> None:
    """Any step: it is not called, and those before it are undone."""
    activities = Activities()

    def takes_long() -> None:
        activities.at += timedelta(seconds=60 if len(activities.commits) == 2 else 0)

    activities.amid_commit = takes_long
    report, _ = run(activities, ["a", "b"], START + timedelta(seconds=30))
    assert (report.outcome, report.reason) == (Outcome.compensated, DEADLINE_PASSED)
    assert activities.keys == {"op:0:do"}
    assert activities.undone == ["a"]


def test_a_step_that_an_earlier_run_may_have_called_is_undone_when_it_is_stopped_late() -> None:
    """Not called again, and not taken for one that never was."""
    activities = Activities()
    activities.recovered = True
    activities.amid_commit = lambda: setattr(activities, "is_halted", True)
    report, _ = run(activities, ["a"])
    assert (report.outcome, report.reason) == (Outcome.compensated, HALTED)
    assert (activities.keys, activities.undone) == (set(), ["a"])


def test_a_defect_amid_a_call_counts_as_an_effect_that_may_have_been() -> None:
    """An error of our own code is no end: the step and those before it are undone."""
    activities = Activities(b=RuntimeError("jane@example.org"))
    report, _ = run(activities, ["a", "b"])
    assert report.outcome is Outcome.compensated
    assert report.reason == 'step "b" failed: internal error (runtimeerror)'
    assert activities.undone == ["b", "a"]


def test_a_stuck_report_survives_json_with_what_a_resolution_needs() -> None:
    """What stands is told by number, action, effect and result; old reports had no such list."""
    landed = Called(ok=True, attempts=1, effect=Effect.landed, result={"id": "R-1"})
    report, _ = run(Activities(a=landed, undo_a=RESISTED, b=REFUSED), ["a", "b"])
    assert report.outcome is Outcome.stuck
    assert report.standing == (Standing(0, ActionName("a"), "landed", {"id": "R-1"}),)
    assert "R-1" not in repr(report)
    kept = {
        "id": "op",
        "outcome": "stuck",
        "steps": [],
        "reason": report.reason,
        "canceled": False,
    }
    told = {"index": 0, "action": "a", "effect": "landed", "result": {"id": "R-1"}}
    assert report_from({**kept, "standing": [told]}).standing == report.standing
    assert report_from(kept).standing == ()


def test_a_payload_carries_plan_and_deadline_and_old_ones_are_read() -> None:
    """Groups and the deadline come back; a flat plan without a deadline still does."""
    plan = plan_from(["a", ["b", "c"]])
    payload = payload_of(REQUEST, plan, deadline_at=START)
    assert payload["plan"] == ["a", ["b", "c"]]
    assert (plan_from(payload["plan"]), deadline_of(payload)) == (plan, START)
    old = {"plan": ["a", "b"]}
    assert (plan_from(old["plan"]), deadline_of(old)) == ((("a",), ("b",)), None)
