"""Where a run stands, computed from its journal alone.

`RunState.of(events)` is a fold: the same events always give the same state, and the state of a
longer journal is the state of its beginning, moved on. The engine keeps no other memory, which is
what makes a run resumable after a kill at any instant.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum

from mc_ops.runbooks.journal import Event


class Outcome(StrEnum):
    """How a step or a run ended, or that it has not."""

    pending = "pending"
    started = "started"  # begun; nobody wrote down how it ended
    unchecked = "unchecked"  # it ended well; its check has not answered yet
    passed = "passed"
    failed = "failed"
    interrupted = "interrupted"
    waiting = "waiting"
    declined = "declined"
    skipped = "skipped"  # left out: its condition does not hold
    rejected = "rejected"  # a person said no at a gate; the run has not ended of it yet
    undone = "undone"


@dataclass(slots=True)
class StepState:
    """What the journal says about one step, or one gate.

    Attributes:
        settled: The number of the event by which it passed or was skipped.
        reason: Why it was skipped.
        opened: The event by which a gate showed its text.
        decision: The event by which a person decided; None while nobody has.
    """

    outcome: Outcome = Outcome.pending
    attempts: int = 0
    exit: int | None = None
    duration_s: float | None = None
    started_at: str = ""
    pid: int | None = None
    undo: Outcome = Outcome.pending
    undo_cause: str = ""
    settled: int = -1
    reason: str = ""
    assignee: str = ""
    opened: Event | None = None
    decision: Event | None = None


@dataclass(slots=True)
class RunState:
    """What the journal says about the run."""

    run_id: str = ""
    runbook: str = ""
    path: str = ""
    sha256: str = ""
    root: str = ""
    environment: str = ""
    started_at: str = ""
    by: dict[str, str] = field(default_factory=dict)  # who started it (`people`)
    outcome: Outcome = Outcome.pending
    exit: int | None = None
    parameters: dict[str, str] = field(default_factory=dict)
    steps: dict[str, StepState] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[Event]) -> RunState:
        state = cls()
        for event in events:
            state.take(event)
        return state

    def step(self, step_id: str) -> StepState:
        """The state of a step, pending if the journal does not know it."""
        return self.steps.setdefault(step_id, StepState())

    def take(self, event: Event) -> None:
        """Move on by one event; an event of an unknown kind changes nothing."""
        match event["event"]:
            case "run_started":
                self._started(event)
            case "run_resumed":
                self.sha256 = event["runbook_sha256"]
                self.outcome, self.exit = Outcome.started, None
            case "run_finished":
                self.outcome, self.exit = Outcome(event["outcome"]), event["exit"]
                for step in self.steps.values():
                    if step.outcome is Outcome.rejected:  # the run has ended of it
                        step.outcome = Outcome.failed
            case _ if "step" in event:
                self._take_step(event, self.step(event["step"]))

    def _started(self, event: Event) -> None:
        self.run_id = event["run_id"]
        self.runbook = event["runbook"]
        self.path = event["runbook_path"]
        self.sha256 = event["runbook_sha256"]
        self.root = event["root"]
        self.environment = event["environment"]
        self.started_at = event["at"]
        self.by = dict(event.get("by") or {})
        self.parameters = dict(event["parameters"])
        self.outcome = Outcome.started

    def _take_step(self, event: Event, step: StepState) -> None:
        match event["event"]:
            case "step_started":
                step.outcome = Outcome.started
                step.attempts += 1
                step.started_at, step.reason = event["at"], ""
                step.assignee = event.get("assignee", "")
                step.exit = step.duration_s = step.pid = None
                step.undo, step.undo_cause = Outcome.pending, ""
            case "process_started":
                step.pid = event["pid"]
            case "step_finished":
                # A step that ended well is not done before its check has answered.
                follows = event.get("check_follows", False)
                step.outcome = Outcome.unchecked if follows else Outcome(event["outcome"])
                step.exit = event["exit"]
                step.pid = None
                step.duration_s = event["duration_s"]
                step.settled = event.get("seq", 0)
                self.parameters.update(event.get("outputs") or {})
            case "check_finished":
                step.outcome, step.exit, step.pid = Outcome(event["outcome"]), event["exit"], None
                step.settled = event.get("seq", 0)
                self.parameters.update(event.get("outputs") or {})
            case "step_skipped":
                step.outcome, step.reason = Outcome.skipped, event["reason"]
                step.settled, step.exit, step.duration_s = event.get("seq", 0), None, None
                for name in event["unset"]:
                    self.parameters.pop(name, None)
                self.parameters.update(event["outputs"])
            case "gate_opened":
                step.outcome, step.started_at = Outcome.waiting, event["at"]
                step.opened, step.decision = event, None
                step.assignee, step.reason = event["assignee"], ""
            case "gate_approved":
                step.outcome, step.decision = Outcome.passed, event
                step.settled = event.get("seq", 0)
            case "gate_rejected":
                step.outcome, step.decision = Outcome.rejected, event
            case "undo_started":
                step.undo, step.undo_cause = Outcome.started, event["cause"]
            case "undo_finished" if event["exit"] == 0:
                step.undo = step.outcome = Outcome.undone
            case "undo_finished":
                step.undo = Outcome.failed
