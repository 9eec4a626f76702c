"""Runs a plan: each step before and after in the journal, its check behind it, its undo at hand.

Invariants:
    * The journal has `*_started` on disk before a block begins, and `*_finished` after its end.
    * What happened is folded into `RunState`; no decision is made from anything else.
    * A signal ends the running step, never an undo: an undo that began is waited for.
    * The engine neither prints nor exits; a `Reporter` hears of everything.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol

from mc_ops.errors import Declined, OpsError, UnusableInput
from mc_ops.exit_codes import COULD_NOT_TELL, DECLINED
from mc_ops.runbooks.journal import Journal
from mc_ops.runbooks.model import On, Runbook, Script, Step
from mc_ops.runbooks.plan import Action, Plan, PlannedStep
from mc_ops.runbooks.process import Finished, execute, left_over, stop
from mc_ops.runbooks.state import Outcome, RunState
from mc_ops.runbooks.values import judge, read_outputs

LOGS = "logs"
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Reporter(Protocol):
    """Who is told about a run; must not raise."""

    def step_started(self, position: int, step: Step, reason: str) -> None:
        """A step begins; `reason` says why it is taken up again, empty the first time."""

    def step_skipped(self, position: int, step: Step, reason: str) -> None:
        """A step is left out because it is done."""

    def output(self, data: bytes) -> None:
        """What the running block wrote since the last call; may be empty."""

    def block_finished(self, kind: str, step: Step, finished: Finished, outcome: Outcome) -> None:
        """A step, a check or an undo ended."""

    def note(self, text: str) -> None:
        """Something that a person should know."""


@dataclass(slots=True, kw_only=True)
class Engine:
    """One run (or its resumption) of one runbook.

    Attributes:
        root: The directory in which steps run.
        folder: The run's folder, with its journal, logs and whatever steps put there.
        home: The platform's state directory.
        variables: The environment that steps inherit; never journalled.
        confirm: Asks a person; raises when there is nobody to ask.
    """

    runbook: Runbook
    state: RunState
    run_id: str
    root: Path
    folder: Path
    home: Path
    variables: Mapping[str, str]
    journal: Journal
    reporter: Reporter
    confirm: Callable[[str], bool]
    _signals: int = 0

    def run(self, plan: Plan) -> RunState:
        """Carry out the plan, up to its end or to the first step that does not pass.

        Returns:
            The state after `run_finished`, whose `exit` is the run's exit code.
        """
        with self._listening():
            try:
                outcome, code = self._carry_out(plan)
            except Declined:
                outcome, code = Outcome.declined, DECLINED
            except OpsError as error:
                self._write("run_finished", outcome=Outcome.failed, exit=error.exit_code)
                raise
            self._write("run_finished", outcome=outcome, exit=code)
        return self.state

    def _carry_out(self, plan: Plan) -> tuple[Outcome, int]:
        for step in plan.undos:
            if not self._undo(step, self.state.step(step.id).undo_cause):
                self.reporter.note(f"undo of {step.id} failed again; nothing else was run")
                return Outcome.failed, COULD_NOT_TELL
        for position, planned in enumerate(plan.steps):
            if planned.action is Action.skip:
                self.reporter.step_skipped(position, planned.step, planned.reason)
                continue
            if self._signals:
                self._undo_armed(position, On.interrupt)
                return Outcome.interrupted, DECLINED
            outcome, code = self._take_up(position, planned)
            if outcome is not Outcome.passed:
                self._undo_after(position, outcome)
                return outcome, code
        return Outcome.passed, 0

    def _take_up(self, position: int, planned: PlannedStep) -> tuple[Outcome, int]:
        step = planned.step
        self._stop_left_over(step)
        self.reporter.step_started(position, step, planned.reason)
        if planned.action is Action.check and self._check(step)[0] is Outcome.passed:
            return Outcome.passed, 0
        unsafe = planned.action in (Action.check, Action.ask)
        if unsafe and not self.confirm(
            f"step {step.id} was broken off and may be half done; run it again?"
        ):
            raise Declined(f"step {step.id} was not run again")
        return self._step(step)

    def _step(self, step: Step) -> tuple[Outcome, int]:
        position = self.runbook.index(step.id)
        attempt = self.state.step(step.id).attempts + 1
        output = self.folder / "outputs" / f"{position + 1:02}-{step.id}.{attempt}"
        output.parent.mkdir(mode=0o700, exist_ok=True)
        output.write_bytes(b"")
        told = {"position": position, "attempt": attempt}
        variables = {"STEP_OUTPUT": str(output)}
        finished, log = self._block("step", step, step.script, f"{attempt}.log", told, variables)
        outcome, code = judge(finished)
        outputs: dict[str, str] = {}
        if outcome is Outcome.passed:
            try:
                outputs = read_outputs(self.runbook, step, output)
            except UnusableInput as error:
                self.reporter.note(error.message)
                outcome, code = Outcome.failed, error.exit_code
        follows = outcome is Outcome.passed and step.check is not None
        self._finish(
            "step", step, finished, outcome, code, log, outputs=outputs, check_follows=follows
        )
        return self._check(step) if follows else (outcome, code)

    def _check(self, step: Step) -> tuple[Outcome, int]:
        if step.check is None:
            return Outcome.passed, 0
        finished, log = self._block("check", step, step.check, "check.log")
        outcome, code = judge(finished)
        self._finish("check", step, finished, outcome, code, log)
        return outcome, code

    def _undo_after(self, position: int, outcome: Outcome) -> None:
        if outcome in (Outcome.interrupted, Outcome.declined):
            self._undo_armed(position, On.interrupt)
        elif outcome is Outcome.failed:
            self._undo_armed(position, On.failure)

    def _undo_armed(self, position: int, cause: On) -> None:
        """Take back, newest first, every begun step whose undo covers this position."""
        for step in reversed(self.runbook.steps[: position + 1]):
            begun = self.state.step(step.id).outcome not in (Outcome.pending, Outcome.undone)
            armed = begun and self.runbook.armed_after(step, position)
            if step.undo and armed and cause in step.undo.on:
                self._undo(step, cause)

    def _undo(self, step: Step, cause: str) -> bool:
        if step.undo is None:
            return True
        self.reporter.note(f"undoing {step.id} ({cause})")
        finished, log = self._block("undo", step, step.undo.script, "undo.log", {"cause": cause})
        outcome = Outcome.undone if finished.exit == 0 else Outcome.failed
        self._finish("undo", step, finished, outcome, finished.exit, log)
        return outcome is Outcome.undone

    def _block(
        self,
        kind: str,
        step: Step,
        script: Script,
        ending: str,
        told: Mapping[str, object] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> tuple[Finished, str]:
        """Announce a block in the journal and run it; returns how it ended, and its log's name."""
        log = self._log(step, ending)
        name = f"{LOGS}/{log.name}"
        self._write(f"{kind}_started", step=step.id, **(told or {}), log=name)
        finished = execute(
            script,
            root=self.root,
            environment={**self._environment(), **(variables or {})},
            log=log,
            stream=self.reporter.output,
            started=lambda pid: self._write("process_started", step=step.id, kind=kind, pid=pid),
            interrupted=lambda: self._signals > 0 and kind != "undo",
        )
        return finished, name

    def _environment(self) -> dict[str, str]:
        beside = str(Path(sys.executable).parent)  # where `mcctl` of this very installation is
        # A parameter that no step has set yet must not be read from whoever started the run, and
        # BASH_ENV would run a file of theirs before each step.
        hidden = {"BASH_ENV", *(parameter.name for parameter in self.runbook.parameters)}
        inherited = {k: v for k, v in self.variables.items() if k not in hidden}
        return {
            **inherited,
            "PYTHONUNBUFFERED": "1",
            **self.state.parameters,
            "PATH": os.pathsep.join([beside, inherited.get("PATH", os.defpath)]),
            "ENV": self.state.environment,
            "MC_HOME": str(self.home),
            "RUNBOOK": self.runbook.id,
            "RUN_ID": self.run_id,
            "RUN_DIR": str(self.folder),
        }

    def _finish(
        self,
        kind: str,
        step: Step,
        finished: Finished,
        outcome: Outcome,
        code: int,
        log: str,
        **more: object,
    ) -> None:
        self._write(
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

    def _write(self, event: str, **fields: object) -> None:
        self.state.take(self.journal.append(event, **fields))

    def _log(self, step: Step, ending: str) -> Path:
        folder = self.folder / LOGS
        folder.mkdir(mode=0o700, exist_ok=True)
        name = f"{self.runbook.index(step.id) + 1:02}-{step.id}"
        wanted, number = folder / f"{name}.{ending}", 1
        while wanted.exists():  # a check or an undo that runs once more keeps its earlier log
            number += 1
            wanted = folder / f"{name}.{number}.{ending}"
        return wanted

    def _stop_left_over(self, step: Step) -> None:
        pid = self.state.step(step.id).pid
        processes = left_over(pid, self.run_id) if pid else []
        if processes:
            self.reporter.note(f"step {step.id} was still running without its engine")
            stop(processes)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Count signals instead of dying of them; what runs now is ended by `_execute`."""

        def count(number: int, frame: FrameType | None) -> None:
            del number, frame
            self._signals += 1

        before = {number: signal.signal(number, count) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
