"""What a runbook is once it is read: steps in order, each with its check and its undo.

Values only: reading the Markdown is `parse`, running the steps is `engine`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, StringConstraints, model_validator

from mc_contract.configuration import Form, Strict
from mc_ops.runbooks.condition import Condition
from mc_ops.runbooks.secret_values import Reference

# What the engine itself puts into a step's environment; a parameter may not take these names.
ENGINE_VARIABLES = frozenset(
    {"ENV", "HOME", "MC_HOME", "PATH", "RUN_DIR", "RUN_ID", "RUNBOOK", "STEP_OUTPUT"}
)


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
class Retry:
    """How often a step that failed is tried again.

    Attributes:
        times: Attempts after the first.
        wait_s: Seconds before the second attempt; each later wait is twice the one before.
    """

    times: int = 0
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Gate:
    """Where a person approves; the step's script is the text that they read.

    Attributes:
        not_by_starter: Whether whoever started the run may not.
    """

    not_by_starter: bool


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a runbook, or a gate between its steps.

    Attributes:
        when: The condition under which it is run at all; None always.
        gate: What makes it a gate; None for a step, whose script is run.
        assignee: Who is to see to it, as people say it; may be empty.
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
    when: Condition | None = None
    retry: Retry = Retry()
    gate: Gate | None = None
    assignee: str = ""
    advice: str = ""
    advice_by_exit: Mapping[int, str] = field(default_factory=dict)

    def advice_for(self, code: int | None) -> str:
        """What the prose says about that exit code, else about any failure; may be empty."""
        return self.advice_by_exit.get(code or 0, self.advice)


def _free(name: str) -> str:
    if name in ENGINE_VARIABLES:
        raise ValueError(f"{name} is set by the engine itself")
    return name


def _expression(pattern: str) -> str:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"no regular expression: {error}") from error
    return pattern


# YAML reads a bare no, yes, 1.10 or 08:30 as something else than these letters.
_Quoted = Annotated[str, Form("text; put it in quotes")]


class Parameter(Strict):
    """A value that the steps find in their environment.

    Attributes:
        default: Used when nobody says otherwise; None means that it must be given (or be set by
            the step `set_by`).
        set_by: The id of the step that determines it while the runbook runs.
        pattern: A regular expression that the whole value must match; empty means anything.
        secret: Whether it is given by reference (`secret_values`) and its value never recorded.
    """

    name: Annotated[
        str,
        StringConstraints(pattern="^[A-Z][A-Z0-9_]*$"),
        AfterValidator(_free),
        Form("an upper-case variable name"),
    ]
    help: _Quoted = ""
    default: _Quoted | None = None
    set_by: _Quoted = ""
    pattern: Annotated[_Quoted, AfterValidator(_expression)] = ""
    secret: bool = False

    def allows(self, value: str) -> bool:
        """Whether the whole of a value matches the pattern."""
        return not self.pattern or re.fullmatch(self.pattern, value) is not None

    @model_validator(mode="after")
    def _with_usable_default(self) -> Self:
        if self.secret:
            if self.set_by:
                raise ValueError(f"{self.name} is secret, and what a step sets is recorded")
            if self.default and Reference.of(self.default) is None:
                raise ValueError(f"the default of {self.name} must be {Reference.FORM}")
        elif self.default is not None and not self.allows(self.default):
            raise ValueError(f"the default of {self.name} does not match its pattern")
        return self


@dataclass(frozen=True, slots=True)
class Runbook:
    """A runbook that can be run; `source` is the file's text, byte for byte."""

    id: str
    title: str
    path: str
    source: bytes
    parameters: tuple[Parameter, ...]
    steps: tuple[Step, ...]
    assignee: str = ""

    @property
    def sha256(self) -> str:
        """Digest of the file, by which a resumed run knows that the file changed."""
        return hashlib.sha256(self.source).hexdigest()

    def index(self, step_id: str) -> int:
        """Position of a step; raises ValueError for an unknown id."""
        return [step.id for step in self.steps].index(step_id)

    def set_by(self, step: Step) -> tuple[Parameter, ...]:
        """The parameters that a step determines."""
        return tuple(one for one in self.parameters if one.set_by == step.id)

    def responsible(self, step: Step) -> str:
        """Who is to see to a step: its own assignee, else the runbook's; may be empty."""
        return step.assignee or self.assignee

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
