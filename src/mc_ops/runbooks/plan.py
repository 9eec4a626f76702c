"""What a run would do next, from the runbook and the journal; `--dry-run` prints this very plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from mc_ops.errors import UnusableInput
from mc_ops.runbooks import people
from mc_ops.runbooks.model import Repeat, Runbook, Step
from mc_ops.runbooks.state import Outcome, RunState, StepState


class Action(StrEnum):
    """How a step is taken up."""

    skip = "skip"  # done already: it passed, or was left out
    omit = "omit"  # left out: its condition does not hold
    run = "run"
    check = "check"  # nobody knows how far it got: its check decides whether it runs again
    ask = "ask"  # nobody knows how far it got, and only a person can tell
    approve = "approve"  # a gate: a person decides


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
    passed in a world that is no more: also where the undone step has passed again since.
    """
    undos = tuple(
        step
        for step in reversed(runbook.steps)
        if step.undo and state.step(step.id).undo in (Outcome.started, Outcome.failed)
    )
    planner = _Planner(runbook, state, undos, dict(condition_values(runbook, state)))
    return Plan(undos, tuple(planner.plan(step) for step in runbook.steps))


def condition_values(runbook: Runbook, state: RunState) -> Mapping[str, str]:
    """What conditions can name now: the environment, and every parameter with a value."""
    secret = {one.name for one in runbook.parameters if one.secret}
    known = {name: value for name, value in state.parameters.items() if name not in secret}
    return {**known, "ENV": state.environment}


def omission(step: Step, values: Mapping[str, str]) -> str:
    """Why a step is left out; empty if it is not.

    Raises:
        UnusableInput: What its condition names has no value.
    """
    try:
        return step.when.refusal(values) if step.when else ""
    except KeyError as error:
        raise UnusableInput(f"step {step.id} runs when {step.when}: {error} has no value") from None


def decision_counts(step: StepState, sha256: str) -> bool:
    """Whether what a person decided at a gate was about the runbook of this digest."""
    return step.decision is not None and step.decision["runbook_sha256"] == sha256


@dataclass(slots=True)
class _Planner:
    """Goes through the steps in order.

    Attributes:
        values: What conditions can name; a parameter that a step will set anew is taken out.
        standing: Whether every step so far is done, in the world as it is.
        latest: The event by which the latest of them passed.
    """

    runbook: Runbook
    state: RunState
    undos: tuple[Step, ...]
    values: dict[str, str]
    standing: bool = True
    latest: int = -1

    def plan(self, step: Step) -> PlannedStep:
        """The next step's plan; to be asked for each in the runbook's order."""
        was = self.state.step(step.id)
        outcome = Outcome.undone if step in self.undos else was.outcome
        undecided = step.when is not None and not step.when.names <= set(self.values)
        left_out = "" if undecided else omission(step, self.values)
        stands = self.standing and was.settled >= self.latest
        if stands and outcome is Outcome.passed:
            if step.gate is None:
                self.latest = was.settled
            elif not decision_counts(was, self.runbook.sha256):
                # What was done after it stays done; the person is asked about the text of today.
                return PlannedStep(step, Action.approve, "approved for another text")
            return PlannedStep(step, Action.skip, _passed(was))
        if left_out:
            self._leave_unset(step)
            again = self.standing and outcome is Outcome.skipped
            return PlannedStep(step, Action.skip if again else Action.omit, left_out)
        for parameter in self.runbook.set_by(step):
            self.values.pop(parameter.name, None)
        only = f"only when {step.when}" if undecided else ""
        if step.gate:  # changes nothing: what stands after it is judged by `latest`
            return PlannedStep(step, Action.approve, only or _at_gate(was))
        standing, self.standing = self.standing, False
        if outcome is Outcome.skipped or (not standing and outcome not in _UNKNOWN):
            return PlannedStep(step, Action.run, only)
        if outcome is Outcome.passed:
            return PlannedStep(step, Action.run, "a step before it was run again")
        return _take_up(step, outcome, only)

    def _leave_unset(self, step: Step) -> None:
        for parameter in self.runbook.set_by(step):
            self.values.pop(parameter.name, None)
            if parameter.default is not None:
                self.values[parameter.name] = parameter.default


def _passed(was: StepState) -> str:
    return f"approved by {people.shown(was.decision['by'])}" if was.decision else "passed already"


def _at_gate(was: StepState) -> str:
    if was.outcome is Outcome.waiting:
        return "waits for an approval"
    if was.decision and was.outcome in (Outcome.rejected, Outcome.failed):
        return f"rejected by {people.shown(was.decision['by'])}"
    return ""


def _take_up(step: Step, outcome: Outcome, only: str) -> PlannedStep:
    if outcome is Outcome.unchecked:
        return PlannedStep(step, Action.check, "it ended well, but its check has not answered")
    if outcome not in _UNKNOWN:
        reason = "" if outcome is Outcome.pending else f"{outcome} the last time"
        return PlannedStep(step, Action.run, reason or only)
    if step.repeat is Repeat.safe:
        return PlannedStep(step, Action.run, "broken off the last time, safe to repeat")
    if step.check is not None:
        return PlannedStep(step, Action.check, "broken off the last time; its check decides")
    return PlannedStep(step, Action.ask, "broken off the last time, and it has no check")
