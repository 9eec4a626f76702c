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
    undone = "undone"


@dataclass(slots=True)
class StepState:
    """What the journal says about one step."""

    outcome: Outcome = Outcome.pending
    attempts: int = 0
    exit: int | None = None
    duration_s: float | None = None
    started_at: str = ""
    pid: int | None = None
    undo: Outcome = Outcome.pending
    undo_cause: str = ""


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
        self.parameters = dict(event["parameters"])
        self.outcome = Outcome.started

    def _take_step(self, event: Event, step: StepState) -> None:
        match event["event"]:
            case "step_started":
                step.outcome = Outcome.started
                step.attempts += 1
                step.started_at = event["at"]
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
                self.parameters.update(event.get("outputs") or {})
            case "check_finished":
                step.outcome, step.exit, step.pid = Outcome(event["outcome"]), event["exit"], None
            case "undo_started":
                step.undo, step.undo_cause = Outcome.started, event["cause"]
            case "undo_finished" if event["exit"] == 0:
                step.undo = step.outcome = Outcome.undone
            case "undo_finished":
                step.undo = Outcome.failed
