"""What a runbook is once it is read: steps in order, each with its check and its undo.

Values only: reading the Markdown is `parse`, running the steps is `engine`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import StrEnum


class Repeat(StrEnum):
    """Whether a step may be run again after nobody knows how far it got."""

    safe = "safe"
    ask = "ask"


class On(StrEnum):
    """What makes an undo run."""

    failure = "failure"
    interrupt = "interrupt"


@dataclass(frozen=True, slots=True)
class Script:
    """One executable block: its text, the line it begins on, and how long it may take."""

    text: str
    line: int
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Undo:
    """How a step is taken back.

    Attributes:
        on: What makes it run.
        until: The id of the step up to (and with) which it stays armed. A cutover that is only
            proven good by a later validation names that validation here.
    """

    script: Script
    on: frozenset[On]
    until: str


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a runbook.

    Attributes:
        advice: The prose's `> If it fails:` paragraph.
        advice_by_exit: Its `> If it fails with exit N:` paragraphs, by N.
    """

    id: str
    title: str
    section: str
    script: Script
    repeat: Repeat
    check: Script | None = None
    undo: Undo | None = None
    advice: str = ""
    advice_by_exit: tuple[tuple[int, str], ...] = ()

    def advice_for(self, code: int | None) -> str:
        """What the prose says about that exit code, else about any failure; may be empty."""
        return dict(self.advice_by_exit).get(code or 0, self.advice)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A value that the steps find in their environment.

    Attributes:
        default: Used when nobody says otherwise; None means that it must be given (or be set by
            the step `set_by`).
        set_by: The id of the step that determines it while the runbook runs.
        pattern: A regular expression that the whole value must match; empty means anything.
    """

    name: str
    help: str
    default: str | None = None
    set_by: str = ""
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class Runbook:
    """A runbook that can be run; `source` is the file's text, byte for byte."""

    id: str
    title: str
    path: str
    source: bytes
    parameters: tuple[Parameter, ...]
    steps: tuple[Step, ...]

    @property
    def sha256(self) -> str:
        """Digest of the file, by which a resumed run knows that the file changed."""
        return hashlib.sha256(self.source).hexdigest()

    def index(self, step_id: str) -> int:
        """Position of a step; raises KeyError for an unknown id."""
        for position, step in enumerate(self.steps):
            if step.id == step_id:
                return position
        raise KeyError(step_id)

    def armed_after(self, step: Step, position: int) -> bool:
        """Whether the undo of `step` covers the step at `position`."""
        if step.undo is None:
            return False
        return self.index(step.id) <= position <= self.index(step.undo.until)


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A reason why a file cannot be run, with the line (1-based) where it is."""

    line: int
    reason: str
