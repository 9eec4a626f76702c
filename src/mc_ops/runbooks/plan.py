"""What a run would do next, from the runbook and the journal; `--dry-run` prints this very plan."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mc_ops.runbooks.model import Repeat, Runbook, Step
from mc_ops.runbooks.state import Outcome, RunState


class Action(StrEnum):
    """How a step is taken up."""

    skip = "skip"  # passed already
    run = "run"
    check = "check"  # nobody knows how far it got: its check decides whether it runs again
    ask = "ask"  # nobody knows how far it got, and only a person can tell


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """A step, how it is taken up, and why it is not simply run."""

    step: Step
    action: Action
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """Undos that are outstanding, which come first, and then every step of the runbook."""

    undos: tuple[Step, ...]
    steps: tuple[PlannedStep, ...]


# Ends after which it is unknown how much of the step was done.
_UNKNOWN = (Outcome.started, Outcome.interrupted)


def make_plan(runbook: Runbook, state: RunState) -> Plan:
    """The plan that goes on after the last step that passed and still stands.

    A step whose undo ran counts as not done, and so does every step after it, because those
    passed in a world that is no more.
    """
    undos = tuple(
        step
        for step in reversed(runbook.steps)
        if step.undo and state.step(step.id).undo in (Outcome.started, Outcome.failed)
    )
    planned: list[PlannedStep] = []
    standing = True
    for step in runbook.steps:
        outcome = Outcome.undone if step in undos else state.step(step.id).outcome
        if standing and outcome is Outcome.passed:
            planned.append(PlannedStep(step, Action.skip, "passed already"))
        elif standing:
            planned.append(_take_up(step, outcome))
            standing = False
        else:
            planned.append(PlannedStep(step, Action.run))
    return Plan(undos, tuple(planned))


def _take_up(step: Step, outcome: Outcome) -> PlannedStep:
    if outcome is Outcome.unchecked:
        return PlannedStep(step, Action.check, "it ended well, but its check has not answered")
    if outcome not in _UNKNOWN:
        reason = "" if outcome is Outcome.pending else f"{outcome} the last time"
        return PlannedStep(step, Action.run, reason)
    if step.repeat is Repeat.safe:
        return PlannedStep(step, Action.run, "broken off the last time, safe to repeat")
    if step.check is not None:
        return PlannedStep(step, Action.check, "broken off the last time; its check decides")
    return PlannedStep(step, Action.ask, "broken off the last time, and it has no check")
