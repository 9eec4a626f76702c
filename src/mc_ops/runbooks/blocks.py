"""Runs one block of a step: announced in the journal before, its end and output's digest after."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mc_ops.errors import UnusableInput
from mc_ops.runbooks.model import Runbook, Script, Step
from mc_ops.runbooks.process import Finished, execute, left_over, stop
from mc_ops.runbooks.record import Record
from mc_ops.runbooks.state import Outcome
from mc_ops.runbooks.values import read_outputs

LOGS = "logs"
OUTPUTS = "outputs"
# By which the caller's shell would run, trace or steer each block: a file, options, functions
_OF_BASH = ("BASH_ENV", "BASHOPTS", "SHELLOPTS", "CDPATH", "GLOBIGNORE", "IGNOREEOF", "PS4")


class Reporter(Protocol):
    """Who is told about a run; must not raise."""

    def step_started(self, position: int, step: Step, reason: str) -> None:
        """A step begins; `reason` says why it is taken up again, empty the first time."""

    def step_skipped(self, position: int, step: Step, reason: str) -> None:
        """A step is left out because it is done, or because its condition does not hold."""

    def output(self, data: bytes) -> None:
        """What the running block wrote since the last call; may be empty."""

    def block_finished(self, kind: str, step: Step, finished: Finished, outcome: Outcome) -> None:
        """A step, a check or an undo ended."""

    def note(self, text: str) -> None:
        """Something that a person should know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """The blocks of one run.

    Attributes:
        root: The directory in which they run.
        folder: The run's folder, with its journal, logs and whatever steps put there.
        home: The platform's state directory.
        variables: The environment that they inherit; never journalled.
        secrets: The values of secret parameters, by name; masked in logs, never journalled.
    """

    runbook: Runbook
    record: Record
    root: Path
    folder: Path
    home: Path
    variables: Mapping[str, str]
    secrets: Mapping[str, str]
    reporter: Reporter

    def run(
        self,
        kind: str,
        step: Step,
        script: Script,
        ending: str,
        *,
        interrupted: Callable[[], bool],
        told: Mapping[str, object] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> tuple[Finished, str]:
        """Announce a block and run it.

        Args:
            kind: step, check or undo.
            ending: Of its log's name.
            told: More to say of its beginning.
            variables: More for its environment.

        Returns:
            How it ended, and its log's name.
        """
        log = self._log(step, ending)
        name = f"{LOGS}/{log.name}"
        self.record.write(f"{kind}_started", step=step.id, **(told or {}), log=name)
        finished = execute(
            script,
            root=self.root,
            environment={**self._environment(script), **(variables or {})},
            log=log,
            stream=self.reporter.output,
            started=lambda pid: self._started(step, kind, pid),
            interrupted=interrupted,
            secrets=tuple(self.secrets.values()),
        )
        return finished, name

    def finish(
        self,
        kind: str,
        step: Step,
        finished: Finished,
        outcome: Outcome,
        code: int,
        log: str,
        **more: object,
    ) -> None:
        """Record and report how a block ended, and what that means."""
        self.record.write(
            f"{kind}_finished",
            step=step.id,
            outcome=outcome,
            exit=code,
            raw_exit=finished.exit,
            duration_s=finished.duration_s,
            timed_out=finished.timed_out,
            log=log,
            output_sha256=finished.output_sha256,
            **more,
        )
        self.reporter.block_finished(kind, step, finished, outcome)

    def new_output(self, step: Step, attempt: int) -> Path:
        """The empty file in which an attempt says what it determined."""
        output = self._output(step, attempt)
        output.parent.mkdir(mode=0o700, exist_ok=True)
        output.write_bytes(b"")
        return output

    def outputs_left(self, step: Step) -> dict[str, str]:
        """What the last attempt had determined when it was broken off; empty if that is unusable."""
        output = self._output(step, self.record.state.step(step.id).attempts)
        try:
            return read_outputs(self.runbook, step, output, self.secrets)
        except (UnusableInput, OSError):
            return {}

    def _output(self, step: Step, attempt: int) -> Path:
        number = self.runbook.index(step.id) + 1
        return self.folder / OUTPUTS / f"{number:02}-{step.id}.{attempt}"

    def stop_left_over(self, step: Step) -> None:
        """End what a killed engine left running of a step."""
        pid = self.record.state.step(step.id).pid
        processes = left_over(pid, self.record.state.run_id) if pid else []
        if processes:
            self.reporter.note(f"step {step.id} was still running without its engine")
            stop(processes)

    def _started(self, step: Step, kind: str, pid: int) -> None:
        self.record.write("process_started", step=step.id, kind=kind, pid=pid)

    def _environment(self, script: Script) -> dict[str, str]:
        beside = str(Path(sys.executable).parent)  # where `mcctl` of this very installation is
        # A parameter that no step has set yet must not be read from whoever started the run
        hidden = {*_OF_BASH, *(parameter.name for parameter in self.runbook.parameters)}
        inherited = {
            name: value
            for name, value in self.variables.items()
            if name not in hidden and not name.startswith("BASH_FUNC_")
        }
        state = self.record.state
        return {
            **inherited,
            "PYTHONUNBUFFERED": "1",
            **state.parameters,
            **{one.name: "" for one in self.runbook.parameters if one.secret},
            **{name: value for name, value in self.secrets.items() if _names(script, name)},
            "PATH": os.pathsep.join([beside, inherited.get("PATH", os.defpath)]),
            "ENV": state.environment,
            "MC_HOME": str(self.home),
            "RUNBOOK": self.runbook.id,
            "RUN_ID": state.run_id,
            "RUN_DIR": str(self.folder),
        }

    def _log(self, step: Step, ending: str) -> Path:
        folder = self.folder / LOGS
        folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{self.runbook.index(step.id) + 1:02}-{step.id}"
        wanted, number = folder / f"{name}.{ending}", 1
        while wanted.exists():  # a check or an undo that runs once more keeps its earlier log
            number += 1
            wanted = folder / f"{name}.{number}.{ending}"
        return wanted


def _names(script: Script, name: str) -> bool:
    """Whether a block names a secret: only then it has it in its environment."""
    return re.search(rf"\b{name}\b", script.text) is not None
