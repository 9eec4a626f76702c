"""Gates: a person reads a text and decides, in the terminal of the run or from anywhere else.

A decision is one line of the journal, written under its lock, about the text that the person saw
and the runbook that it stood in. So of two people who decide at one moment one is told that the
other was faster, and a decision about another text does not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mc_ops.errors import NotAllowed, UnusableInput
from mc_ops.runbooks import people
from mc_ops.runbooks.journal import Event
from mc_ops.runbooks.model import Runbook, Step
from mc_ops.runbooks.plan import condition_values, decision_counts
from mc_ops.runbooks.record import Record
from mc_ops.runbooks.references import filled
from mc_ops.runbooks.state import Outcome, RunState, StepState


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A gate as it is shown to a person."""

    id: str
    title: str
    text: str
    text_sha256: str
    assignee: str
    not_by_starter: bool
    number: int

    @classmethod
    def of(cls, event: Event) -> Opened:
        """By the event that opened it."""
        return cls(
            id=event["step"],
            title=event["title"],
            text=event["text"],
            text_sha256=event["text_sha256"],
            assignee=event["assignee"],
            not_by_starter=event["not_by_starter"],
            number=event["seq"],
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """What a person says at a gate."""

    approve: bool
    by: Mapping[str, str]
    reason: str = ""


# Asks whoever sits at the run's terminal. Gets the gate, and what tells whether it is settled (by
# somebody else, or by a signal); None leaves the run waiting.
Ask = Callable[[Opened, Callable[[], bool]], Decision | None]


def waiting(state: RunState) -> dict[str, Opened]:
    """The gates at which a run waits for a person, by id; none if it does not go on from there."""
    if state.outcome not in (Outcome.started, Outcome.waiting):
        return {}
    return {
        step_id: Opened.of(step.opened)
        for step_id, step in state.steps.items()
        if step.outcome is Outcome.waiting and step.opened
    }


def decide(record: Record, opened: Opened, decision: Decision) -> None:
    """Record a decision, if it is still to be made.

    Raises:
        UnusableInput: Somebody has decided already, the run does not wait there, or another text
            stands there now.
        NotAllowed: Whoever started the run may not decide here.
    """
    with record.held():
        step = record.state.steps.get(opened.id, StepState())
        if step.decision is not None and step.outcome is not Outcome.waiting:
            raise UnusableInput(f"gate {opened.id} is decided: {said(step)}")
        now = waiting(record.state).get(opened.id)
        if now is None:
            raise UnusableInput(f"the run does not wait at a gate {opened.id}")
        if now.number != opened.number:
            raise UnusableInput(
                f"gate {opened.id} was opened again meanwhile", hint="read its text of now"
            )
        if now.not_by_starter and people.may_be_same(record.state.by, decision.by):
            raise NotAllowed(
                f"gate {opened.id} is not for whoever started the run:"
                f" {people.shown(record.state.by)}",
                hint="another person decides: by another user, or with a token of theirs",
            )
        record.write(
            "gate_approved" if decision.approve else "gate_rejected",
            step=opened.id,
            by=dict(decision.by),
            reason=decision.reason,
            text_sha256=opened.text_sha256,
            runbook_sha256=record.state.sha256,
            opened=opened.number,
        )


def said(step: StepState) -> str:
    """What was decided, by whom and when; for a gate that is decided."""
    decision = step.decision or {}
    verb = "approved" if decision["event"] == "gate_approved" else "rejected"
    why = f": {decision['reason']}" if decision["reason"] else ""
    return f"{verb} by {people.shown(decision['by'])} at {decision['at']}{why}"


def pass_gate(
    record: Record,
    runbook: Runbook,
    step: Step,
    *,
    ask: Ask,
    interrupted: Callable[[], bool],
    reopen: bool,
) -> tuple[Outcome, str]:
    """Open a gate, unless it stands open with the same text, and wait for what a person decides.

    Args:
        reopen: Whether an earlier approval no longer counts, because the world changed since.

    Returns:
        passed, failed (rejected), waiting, or interrupted; and what to tell of it.
    """
    record.catch_up()
    text = record.journal.masked(_text(record.state, runbook, step))  # as it will be recorded
    state = record.state.step(step.id)
    if not _stands(state, _digest(text), runbook.sha256, reopen=reopen):
        _open(record, runbook, step, text)
    note = ""
    if state.outcome is Outcome.waiting and state.opened:
        note = _ask(record, state, Opened.of(state.opened), ask, interrupted)
    if state.decision is not None:
        outcome = Outcome.passed if state.outcome is Outcome.passed else Outcome.failed
        return outcome, f"{note} {step.id} was {said(state)}".strip()
    return (Outcome.interrupted if interrupted() else Outcome.waiting), note


def _ask(
    record: Record, state: StepState, opened: Opened, ask: Ask, interrupted: Callable[[], bool]
) -> str:
    def settled() -> bool:
        record.catch_up()
        return state.outcome is not Outcome.waiting or interrupted()

    decision = ask(opened, settled)
    if decision is not None:
        try:
            decide(record, opened, decision)
        except (UnusableInput, NotAllowed) as error:
            return error.message
    return ""


def _stands(step: StepState, text_sha256: str, sha256: str, *, reopen: bool) -> bool:
    """Whether the gate was opened with this text, and waits or was decided meanwhile."""
    opened = step.opened or {}
    if (opened.get("text_sha256"), opened.get("runbook_sha256")) != (text_sha256, sha256):
        return False
    if step.outcome in (Outcome.passed, Outcome.rejected):
        return decision_counts(step, sha256) and not reopen
    return step.outcome is Outcome.waiting


def _text(state: RunState, runbook: Runbook, step: Step) -> str:
    values = {**condition_values(runbook, state), "RUN_ID": state.run_id}
    try:
        return filled(step.script.text, values)
    except KeyError as error:
        raise UnusableInput(f"gate {step.id} shows {error}, which has no value") from None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _open(record: Record, runbook: Runbook, step: Step, text: str) -> None:
    record.write(
        "gate_opened",
        step=step.id,
        title=step.title,
        text=text,
        text_sha256=_digest(text),
        runbook_sha256=runbook.sha256,
        assignee=runbook.responsible(step),
        not_by_starter=step.gate is not None and step.gate.not_by_starter,
    )
