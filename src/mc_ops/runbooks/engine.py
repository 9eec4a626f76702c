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
from mc_ops.runbooks.journal import Journal
from mc_ops.runbooks.model import On, Runbook, Script, Step
from mc_ops.runbooks.plan import Action, Plan, PlannedStep
from mc_ops.runbooks.process import Finished, Surroundings, execute, left_over, stop
from mc_ops.runbooks.state import Outcome, RunState
from mc_ops.runbooks.values import COULD_NOT_TELL, DECLINED, judge, read_outputs

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a run needs from outside.

    Attributes:
        root: The directory in which steps run.
        folder: The run's folder, with its journal, logs and whatever steps put there.
        variables: The environment that steps inherit; never journalled.
        confirm: Asks a person; raises when there is nobody to ask.
    """

    run_id: str
    root: Path
    folder: Path
    home: Path
    variables: Mapping[str, str]
    journal: Journal
    reporter: Reporter
    confirm: Callable[[str], bool]


class Engine:
    """One run (or its resumption) of one runbook."""

    def __init__(self, runbook: Runbook, state: RunState, context: Context) -> None:
        self._runbook = runbook
        self._state = state
        self._context = context
        self._signals = 0
        self._undoing = False

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
        return self._state

    def _carry_out(self, plan: Plan) -> tuple[Outcome, int]:
        for step in plan.undos:
            if not self._undo(step, self._state.step(step.id).undo_cause):
                self._context.reporter.note(f"undo of {step.id} failed again; nothing else was run")
                return Outcome.failed, COULD_NOT_TELL
        for position, planned in enumerate(plan.steps):
            if planned.action is Action.skip:
                self._context.reporter.step_skipped(position, planned.step, planned.reason)
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
        step, report = planned.step, self._context.reporter
        self._stop_left_over(step)
        report.step_started(position, step, planned.reason)
        if planned.action is Action.check and self._check(position, step)[0] is Outcome.passed:
            return Outcome.passed, 0
        unsafe = planned.action in (Action.check, Action.ask)
        if unsafe and not self._context.confirm(
            f"step {step.id} was broken off and may be half done; run it again?"
        ):
            raise Declined(f"step {step.id} was not run again")
        return self._step(position, step)

    def _step(self, position: int, step: Step) -> tuple[Outcome, int]:
        attempt = self._state.step(step.id).attempts + 1
        output = self._context.folder / "outputs" / f"{position + 1:02}-{step.id}.{attempt}"
        output.parent.mkdir(mode=0o700, exist_ok=True)
        output.write_bytes(b"")
        log = self._log(position, step, f"{attempt}.log")
        self._write(
            "step_started",
            step=step.id,
            position=position,
            attempt=attempt,
            log=f"{LOGS}/{log.name}",
        )
        finished = self._execute(step, step.script, "step", log, {"STEP_OUTPUT": str(output)})
        outcome, code = judge(finished)
        outputs: dict[str, str] = {}
        if outcome is Outcome.passed:
            try:
                outputs = read_outputs(self._runbook, step, output)
            except UnusableInput as error:
                self._context.reporter.note(error.message)
                outcome, code = Outcome.failed, error.exit_code
        follows = outcome is Outcome.passed and step.check is not None
        self._finish(
            "step", step, finished, outcome, code, log, outputs=outputs, check_follows=follows
        )
        return self._check(position, step) if follows else (outcome, code)

    def _check(self, position: int, step: Step) -> tuple[Outcome, int]:
        if step.check is None:
            return Outcome.passed, 0
        log = self._log(position, step, "check.log")
        self._write("check_started", step=step.id, log=f"{LOGS}/{log.name}")
        finished = self._execute(step, step.check, "check", log, {})
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
        for step in reversed(self._runbook.steps[: position + 1]):
            begun = self._state.step(step.id).outcome not in (Outcome.pending, Outcome.undone)
            armed = begun and self._runbook.armed_after(step, position)
            if step.undo and armed and cause in step.undo.on:
                self._undo(step, cause)

    def _undo(self, step: Step, cause: str) -> bool:
        if step.undo is None:
            return True
        log = self._log(self._runbook.index(step.id), step, "undo.log")
        self._context.reporter.note(f"undoing {step.id} ({cause})")
        self._write("undo_started", step=step.id, cause=cause, log=f"{LOGS}/{log.name}")
        self._undoing = True
        try:
            finished = self._execute(step, step.undo.script, "undo", log, {})
        finally:
            self._undoing = False
        outcome = Outcome.undone if finished.exit == 0 else Outcome.failed
        self._finish("undo", step, finished, outcome, finished.exit, log)
        return outcome is Outcome.undone

    def _execute(
        self, step: Step, script: Script, kind: str, log: Path, extra: Mapping[str, str]
    ) -> Finished:
        around = Surroundings(
            root=self._context.root,
            environment={**self._environment(), **extra},
            log=log,
            stream=self._context.reporter.output,
            started=lambda pid: self._write("process_started", step=step.id, kind=kind, pid=pid),
            interrupted=lambda: self._signals > 0 and not self._undoing,
        )
        return execute(script, around)

    def _environment(self) -> dict[str, str]:
        beside = str(Path(sys.executable).parent)  # where `mcctl` of this very installation is
        # A parameter that no step has set yet must not be read from whoever started the run, and
        # BASH_ENV would run a file of theirs before each step.
        hidden = {"BASH_ENV", *(parameter.name for parameter in self._runbook.parameters)}
        inherited = {k: v for k, v in self._context.variables.items() if k not in hidden}
        return {
            **inherited,
            "PYTHONUNBUFFERED": "1",
            **self._state.parameters,
            "PATH": os.pathsep.join([beside, inherited.get("PATH", os.defpath)]),
            "ENV": self._state.environment,
            "MC_HOME": str(self._context.home),
            "RUNBOOK": self._runbook.id,
            "RUN_ID": self._context.run_id,
            "RUN_DIR": str(self._context.folder),
        }

    def _finish(
        self,
        kind: str,
        step: Step,
        finished: Finished,
        outcome: Outcome,
        code: int,
        log: Path,
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
            log=f"{LOGS}/{log.name}",
            output_sha256=finished.output_sha256,
            **more,
        )
        self._context.reporter.block_finished(kind, step, finished, outcome)

    def _write(self, event: str, **fields: object) -> None:
        self._state.take(self._context.journal.append(event, **fields))

    def _log(self, position: int, step: Step, ending: str) -> Path:
        folder = self._context.folder / LOGS
        folder.mkdir(mode=0o700, exist_ok=True)
        wanted = folder / f"{position + 1:02}-{step.id}.{ending}"
        number = 1
        while wanted.exists():  # a check or an undo that runs once more keeps its earlier log
            number += 1
            wanted = folder / f"{position + 1:02}-{step.id}.{number}.{ending}"
        return wanted

    def _stop_left_over(self, step: Step) -> None:
        pid = self._state.step(step.id).pid
        processes = left_over(pid, self._context.run_id) if pid else []
        if processes:
            self._context.reporter.note(f"step {step.id} was still running without its engine")
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
