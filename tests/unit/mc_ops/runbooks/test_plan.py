"""The plan that a dry run prints and a run carries out."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mc_ops.runbooks import Action, Outcome, RunState, make_plan
from mc_ops.runbooks.parse import parse
from mc_ops.runbooks.state import StepState

Bench = Any

SOURCE = b"""```yaml runbook
id: demo
title: Demo
```
```sh step=a repeat=safe
true
```
```sh step=b
true
```
```sh check=b
true
```
```sh step=c
true
```
"""
RUNBOOK, _ = parse(SOURCE, "demo.md")
assert RUNBOOK is not None
OUTCOMES = st.sampled_from(list(Outcome))


@given(OUTCOMES, OUTCOMES, OUTCOMES)
def test_plan_skips_only_a_passed_beginning(a: Outcome, b: Outcome, c: Outcome) -> None:
    """Whatever the journal says, skipped steps are the passed ones at the beginning, no others."""
    assert RUNBOOK is not None
    outcomes = [a, b, c]
    state = RunState(steps={k: StepState(outcome=v) for k, v in zip("abc", outcomes, strict=True)})
    actions = [planned.action for planned in make_plan(RUNBOOK, state).steps]
    passed = next((i for i, o in enumerate(outcomes) if o is not Outcome.passed), 3)
    assert [action is Action.skip for action in actions] == [i < passed for i in range(3)]


def test_plan_unknown_end_by_kind_of_step() -> None:
    """A broken-off step is repeated if safe, checked if it has a check, else asked about."""
    assert RUNBOOK is not None
    for number, expected in enumerate([Action.run, Action.check, Action.ask]):
        steps = {name: StepState(outcome=Outcome.passed) for name in "abc"[:number]}
        steps["abc"[number]] = StepState(outcome=Outcome.started)
        plan = make_plan(RUNBOOK, RunState(steps=steps))
        assert plan.steps[number].action is expected


def test_plan_preparing_changes_nothing(bench: Bench) -> None:
    """Preparing a run, as a dry run does, leaves no trace on disk."""
    bench.write("step=a|touch trace", "undo=a|touch trace")
    before = sorted(bench.folder.rglob("*"))
    assert [planned.step.id for planned in bench.prepare().plan.steps] == ["a"]
    assert sorted(bench.folder.rglob("*")) == before


def test_plan_after_an_undo_what_passed_before_it_is_done_again() -> None:
    """Also when the engine was killed after the undone step had passed again."""
    assert RUNBOOK is not None
    steps = {
        name: StepState(outcome=Outcome.passed, settled=number)
        for name, number in (("a", 3), ("b", 20), ("c", 9))
    }
    plan = make_plan(RUNBOOK, RunState(steps=steps))
    assert [planned.action for planned in plan.steps] == [Action.skip, Action.skip, Action.run]
    assert plan.steps[2].reason == "a step before it was run again"
