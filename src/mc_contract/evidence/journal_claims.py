"""Claims about a runbook's journal: steps that passed, what people decided at its gates, how far it goes.

A journal is JSON lines with `event`, `step` and `outcome`. Since gates were introduced each line has
`prev`, the SHA-256 of the line before it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field

from mc_contract.canonical import Json
from mc_contract.evidence.claim_inputs import (
    ClaimFunction,
    Inputs,
    NotRecomputable,
    Params,
    json_object,
    utf8,
)

Event = dict[str, Json]
_GATE_BLOCK = re.compile(r"(?m)^[ \t>]*(?:`{3,}|~{3,})[ \t]*text[ \t]+gate=([a-z0-9-]+)")
_UNCHECKED = "unchecked"
_BEGUN = frozenset({"step_started", "undo_started"})
_GATE = {"gate_opened": "waiting", "gate_approved": "passed", "gate_rejected": "rejected"}


def steps_passed(inputs: Inputs, _params: Params) -> Json:
    """Steps whose last event ended well; the undoing or failing check of a step takes it back.

    A step whose check has not answered has not passed: with the lines that a failing check wrote cut
    off, it would have.
    """
    outcome: dict[str, str] = {}
    for event in _events(inputs[0]):
        step, kind = event.get("step"), event.get("event")
        if not isinstance(step, str) or not isinstance(kind, str):
            continue
        if kind in _BEGUN:
            outcome[step] = "started"
        elif kind == "undo_finished":
            outcome[step] = "undone"
        elif kind == "step_skipped":
            outcome[step] = "skipped"
        elif kind in _GATE:
            outcome[step] = _GATE[kind]
        elif kind == "step_finished":
            follows = event.get("check_follows") is True
            outcome[step] = _UNCHECKED if follows else str(event.get("outcome"))
        elif kind == "check_finished" and (
            outcome.get(step) == _UNCHECKED or event.get("exit") != 0
        ):
            outcome[step] = str(event.get("outcome"))
    if not outcome:
        raise NotRecomputable("the journal has no steps")
    return {
        "passed": [step for step, state in outcome.items() if state == "passed"],
        "other": {step: state for step, state in outcome.items() if state != "passed"},
    }


def course(inputs: Inputs, _params: Params) -> Json:
    """How a run went: who decided what, what was skipped and why, how often steps were tried."""
    run = _Course()
    for event in _chained(inputs[0]):
        run.take(event)
    if run.sha256 != hashlib.sha256(inputs[1]).hexdigest():
        raise NotRecomputable("the runbook is not the one of which the journal is")
    if set(_GATE_BLOCK.findall(utf8(inputs[1], "the runbook"))) != run.gate_ids:
        raise NotRecomputable("the journal does not know the gates of the runbook")
    return {
        "runbook_sha256": run.sha256,
        "started_by": run.started_by,
        "gates": {step: dict(gate) for step, gate in run.gates.items()},
        "skipped": dict(run.skipped),
        "retried": dict(run.retried),
    }


def extent(inputs: Inputs, _params: Params) -> Json:
    """How far a journal goes: its lines, the last of them, and the run's end if that is there.

    Lines that were cut off the end leave a whole chain behind, of a run that has not ended.
    """
    raw = inputs[0]
    if not raw:
        raise NotRecomputable("the journal has no lines")
    if not raw.endswith(b"\n"):
        raise NotRecomputable("the journal ends in the middle of a line")
    told = _chained(raw)
    last = told[-1]
    ended = last.get("event") == "run_finished"
    return {
        "lines": len(told),
        "last": {name: last[name] for name in ("event", "step", "at") if name in last},
        "ended": last.get("outcome") if ended else None,
    }


@dataclass(slots=True)
class _Course:
    """Follows a journal, and refuses one in which a gate was passed over.

    Attributes:
        order: The ids of steps and gates as the runbook has them.
        gate_ids: Those of gates.
        left_out: Gates whose condition did not hold.
        opened: The event that opened each gate last.
        approved: Gates with an approval of the runbook that is run, and that still holds.
    """

    sha256: str = ""
    started_by: Json = None
    order: list[str] = field(default_factory=list)
    gate_ids: set[str] = field(default_factory=set)
    left_out: set[str] = field(default_factory=set)
    opened: dict[str, Event] = field(default_factory=dict)
    approved: set[str] = field(default_factory=set)
    gates: dict[str, dict[str, Json]] = field(default_factory=dict)
    skipped: dict[str, Json] = field(default_factory=dict)
    retried: dict[str, Json] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        """Move on by one event.

        Raises:
            NotRecomputable: It cannot have happened in this order, or about this text.
        """
        kind, step = event.get("event"), event.get("step")
        match kind:
            case "run_started" | "run_resumed":
                self._begun(event)
            case "gate_opened":
                self._open(str(step), event)
            case "gate_approved" | "gate_rejected":
                self._decide(str(step), event, approved=kind == "gate_approved")
            case "step_started":
                self._require_gates_before(str(step))
                self.skipped.pop(str(step), None)
            case "step_skipped":
                self.skipped[str(step)] = event.get("reason")
                self.left_out.add(str(step))
            case "retry_scheduled":
                self.retried[str(step)] = event.get("failed")

    def _begun(self, event: Event) -> None:
        sha256, order, gates = (event.get(key) for key in ("runbook_sha256", "steps", "gates"))
        if not isinstance(order, list) or not isinstance(gates, list):
            raise NotRecomputable("the journal does not say which steps the runbook has")
        if sha256 != self.sha256:
            self.approved.clear()  # of another text
        self.sha256, self.order = str(sha256), [str(one) for one in order]
        self.gate_ids = {str(one) for one in gates}
        if event.get("event") == "run_started":
            self.started_by = event.get("by")

    def _open(self, gate: str, event: Event) -> None:
        text, digest = event.get("text"), event.get("text_sha256")
        if not isinstance(text, str) or hashlib.sha256(text.encode()).hexdigest() != digest:
            raise NotRecomputable(f"the text of gate {gate} is not of its digest")
        if event.get("runbook_sha256") != self.sha256:
            raise NotRecomputable(f"gate {gate} was opened for another runbook")
        self._require_gates_before(gate)
        self.opened[gate] = event
        self.approved.discard(gate)
        self.left_out.discard(gate)
        self.gates[gate] = {"text_sha256": digest, "decision": "waiting"}

    def _decide(self, gate: str, event: Event, *, approved: bool) -> None:
        opened = self.opened.get(gate)
        if opened is None or self.gates[gate]["decision"] != "waiting":
            raise NotRecomputable(f"gate {gate} was decided where it did not wait")
        for name in ("text_sha256", "runbook_sha256"):
            if event.get(name) != opened.get(name):
                raise NotRecomputable(f"gate {gate} was decided about another text")
        if event.get("opened") != opened.get("seq"):
            raise NotRecomputable(f"gate {gate} was decided about another opening")
        by = event.get("by")
        if not isinstance(by, dict) or not by:
            raise NotRecomputable(f"nobody is named who decided at gate {gate}")
        if approved:
            self.approved.add(gate)
        self.gates[gate] = {
            "text_sha256": opened.get("text_sha256"),
            "decision": "approved" if approved else "rejected",
            "by": by,
            "at": event.get("at"),
            "reason": event.get("reason"),
        }

    def _require_gates_before(self, step: str) -> None:
        if step not in self.order:
            raise NotRecomputable(f"{step} is no step of the runbook")
        for gate in self.order[: self.order.index(step)]:
            if gate in self.gate_ids - self.left_out - self.approved:
                raise NotRecomputable(f"{step} began before gate {gate} was approved")


def _events(raw: bytes) -> list[Event]:
    lines = [line for line in utf8(raw, "the journal").split("\n") if line.strip()]
    return [json_object(line.encode(), "a line of the journal") for line in lines]


def _chained(raw: bytes) -> list[Event]:
    """The events of a journal whose every line has the digest of the line before it."""
    events, last = [], ""
    for number, line in enumerate(raw.split(b"\n")[:-1]):
        event = json_object(line, f"line {number + 1} of the journal")
        if event.get("seq") != number or event.get("prev") != last:
            raise NotRecomputable(
                f"line {number + 1} of the journal does not follow from the line before it"
            )
        events.append(event)
        last = hashlib.sha256(line).hexdigest()
    return events


FUNCTIONS = (
    ClaimFunction(
        "runbook.steps_passed", 1, (), "the journal says so of each step up to then", steps_passed
    ),
    ClaimFunction(
        "runbook.course",
        2,
        (),
        "no line was changed, added or removed alone; each gate was approved before a step behind it "
        "began, about this text and this runbook. Who people are, the journal says itself",
        course,
    ),
    ClaimFunction(
        "runbook.extent",
        1,
        (),
        "the journal has these lines, and the run's end or not. Lines cut off the end before it was "
        "packed are not found, but the end is missing then",
        extent,
    ),
)
