"""Runs a plan: each step before and after in the journal, its check behind it, its undo at hand.

Invariants:
    * The journal has `*_started` on disk before a block begins, and `*_finished` after its end.
    * What happened is folded into `RunState`; no decision is made from anything else.
    * A signal ends the running step, never an undo: an undo that began is waited for.
    * The engine neither prints nor exits; a `Reporter` hears of everything.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType

from mc_ops.errors import Declined, OpsError, UnusableInput
from mc_ops.exit_codes import COULD_NOT_TELL, DECLINED, FINDING, WAITING
from mc_ops.runbooks.blocks import Blocks
from mc_ops.runbooks.gates import Ask, pass_gate
from mc_ops.runbooks.model import On, Retry, Runbook, Step
from mc_ops.runbooks.plan import Action, Plan, PlannedStep, condition_values, omission
from mc_ops.runbooks.state import Outcome, RunState
from mc_ops.runbooks.values import judge, read_outputs

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MOST_WAIT_S = 300.0
"""Of one pause before a retry, however many there were."""
_POLL_S = 0.05
_AT_GATE = {Outcome.failed: FINDING, Outcome.waiting: WAITING, Outcome.interrupted: DECLINED}


def pause_s(retry: Retry, failed: int) -> float:
    """Seconds before the next attempt, after so many that failed."""
    return min(retry.wait_s * 2.0 ** (failed - 1), MOST_WAIT_S)


@dataclass(slots=True, kw_only=True)
class Engine:
    """One run (or its resumption) of one runbook.

    Attributes:
        confirm: Asks a person; raises when there is nobody to ask.
        ask: Asks whoever sits at the terminal to decide at a gate.
    """

    runbook: Runbook
    blocks: Blocks
    confirm: Callable[[str], bool]
    ask: Ask
    _signals: int = 0

    def run(self, plan: Plan) -> RunState:
        """Carry out the plan, up to its end or to the first step that does not pass.

        Returns:
            The state after `run_finished`, whose `exit` is the run's exit code.
        """
        record = self.blocks.record
        with self._listening():
            try:
                outcome, code = self._carry_out(plan)
            except Declined:
                outcome, code = Outcome.declined, DECLINED
            except OpsError as error:
                record.write("run_finished", outcome=Outcome.failed, exit=error.exit_code)
                raise
            record.write("run_finished", outcome=outcome, exit=code)
        return record.state

    @property
    def state(self) -> RunState:
        """What the journal says."""
        return self.blocks.record.state

    def _carry_out(self, plan: Plan) -> tuple[Outcome, int]:
        note = self.blocks.reporter.note
        for step in plan.undos:
            if not self._undo(step, self.state.step(step.id).undo_cause):
                note(f"undo of {step.id} failed again; nothing else was run")
                return Outcome.failed, COULD_NOT_TELL
        # Approved in a world that is no more, or for another text: asked again
        stale = {p.step.id for p in plan.steps if self._is_passed(p) and p.action is Action.approve}
        for position, planned in enumerate(plan.steps):
            step = planned.step
            if planned.action is Action.skip:
                self.blocks.reporter.step_skipped(position, step, planned.reason)
                continue
            if self._signals:
                self._undo_armed(position, On.interrupt)
                return Outcome.interrupted, DECLINED
            if reason := omission(step, condition_values(self.runbook, self.state)):
                self._leave_out(position, step, reason)
                continue
            if step.gate:
                outcome, code = self._gate(position, planned, reopen=step.id in stale)
            else:
                outcome, code = self._take_up(position, planned)
            if outcome is not Outcome.passed:
                self._undo_after(position, outcome)
                return outcome, code
        return Outcome.passed, 0

    def _is_passed(self, planned: PlannedStep) -> bool:
        return self.state.step(planned.step.id).outcome is Outcome.passed

    def _leave_out(self, position: int, step: Step, reason: str) -> None:
        own = self.runbook.set_by(step)
        self.blocks.record.write(
            "step_skipped",
            step=step.id,
            reason=reason,
            unset=[one.name for one in own if one.default is None],
            outputs={one.name: one.default for one in own if one.default is not None},
        )
        self.blocks.reporter.step_skipped(position, step, f"skipped, {reason}")

    def _gate(self, position: int, planned: PlannedStep, *, reopen: bool) -> tuple[Outcome, int]:
        step = planned.step
        self.blocks.reporter.step_started(position, step, planned.reason)
        outcome, note = pass_gate(
            self.blocks.record,
            self.runbook,
            step,
            ask=self.ask,
            interrupted=lambda: self._signals > 0,
            reopen=reopen,
        )
        if note:
            self.blocks.reporter.note(note)
        return outcome, _AT_GATE.get(outcome, 0)

    def _take_up(self, position: int, planned: PlannedStep) -> tuple[Outcome, int]:
        step = planned.step
        self.blocks.stop_left_over(step)
        self.blocks.reporter.step_started(position, step, planned.reason)
        if planned.action is Action.check and self._is_done(step):
            return Outcome.passed, 0
        unsafe = planned.action in (Action.check, Action.ask)
        if unsafe and not self.confirm(
            f"step {step.id} was broken off and may be half done; run it again?"
        ):
            raise Declined(f"step {step.id} was not run again")
        return self._attempts(step)

    def _is_done(self, step: Step) -> bool:
        """Whether a step was done before it was broken off: by its check, and with its outputs."""
        outputs: dict[str, str] = {}
        if self.state.step(step.id).outcome is not Outcome.unchecked:
            outputs = self.blocks.outputs_left(step)
            lost = [one.name for one in self.runbook.set_by(step) if one.name not in outputs]
            if lost:
                self.blocks.reporter.note(f"what {step.id} determined is lost: {', '.join(lost)}")
                return False
        return self._check(step, outputs)[0] is Outcome.passed

    def _attempts(self, step: Step) -> tuple[Outcome, int]:
        """Run a step, and its check, until both pass, its retries are used up, or its time is."""
        deadline = time.monotonic() + step.script.timeout_s
        failed = 0
        while True:
            outcome, code = self._attempt(step, deadline - time.monotonic())
            failed += 1
            # Wrong input, a missing right and a person's no stay what they are.
            again = outcome is Outcome.failed and code in (FINDING, COULD_NOT_TELL)
            if not again or failed > step.retry.times:
                return outcome, code
            wait_s = pause_s(step.retry, failed)
            if time.monotonic() + wait_s >= deadline:
                self.blocks.reporter.note(f"{step.id} has no time left for another attempt")
                return outcome, code
            self.blocks.record.write(
                "retry_scheduled", step=step.id, failed=failed, of=step.retry.times, wait_s=wait_s
            )
            self.blocks.reporter.note(
                f"attempt {failed} of {step.retry.times + 1} failed (exit {code}): "
                f"again in {wait_s:.0f} s"
            )
            until = time.monotonic() + wait_s
            while time.monotonic() < until and not self._signals:
                time.sleep(_POLL_S)
            if self._signals:
                return Outcome.interrupted, DECLINED

    def _attempt(self, step: Step, left_s: float) -> tuple[Outcome, int]:
        attempt = self.state.step(step.id).attempts + 1
        output = self.blocks.new_output(step, attempt)
        finished, log = self.blocks.run(
            "step",
            step,
            replace(step.script, timeout_s=left_s),
            f"{attempt}.log",
            interrupted=lambda: self._signals > 0,
            told={
                "position": self.runbook.index(step.id),
                "attempt": attempt,
                "assignee": self.runbook.responsible(step),
            },
            variables={"STEP_OUTPUT": str(output)},
        )
        outcome, code = judge(finished)
        outputs: dict[str, str] = {}
        if outcome is Outcome.passed:
            try:
                outputs = read_outputs(self.runbook, step, output, self.blocks.secrets)
            except UnusableInput as error:
                self.blocks.reporter.note(error.message)
                outcome, code = Outcome.failed, error.exit_code
        follows = outcome is Outcome.passed and step.check is not None
        self.blocks.finish(
            "step", step, finished, outcome, code, log, outputs=outputs, check_follows=follows
        )
        return self._check(step) if follows else (outcome, code)

    def _check(self, step: Step, outputs: Mapping[str, str] | None = None) -> tuple[Outcome, int]:
        if step.check is None:
            return Outcome.passed, 0
        finished, log = self.blocks.run(
            "check",
            step,
            step.check,
            "check.log",
            interrupted=lambda: self._signals > 0,
            variables=outputs,
        )
        outcome, code = judge(finished)
        kept = (outputs or {}) if outcome is Outcome.passed else {}
        self.blocks.finish("check", step, finished, outcome, code, log, outputs=kept)
        return outcome, code

    def _undo_after(self, position: int, outcome: Outcome) -> None:
        if outcome in (Outcome.interrupted, Outcome.declined):
            self._undo_armed(position, On.interrupt)
        elif outcome is Outcome.failed:
            self._undo_armed(position, On.failure)

    def _undo_armed(self, position: int, cause: On) -> None:
        """Take back, newest first, every begun step whose undo covers this position."""
        unbegun = (Outcome.pending, Outcome.undone, Outcome.skipped)
        for step in reversed(self.runbook.steps[: position + 1]):
            begun = self.state.step(step.id).outcome not in unbegun
            armed = begun and self.runbook.armed_after(step, position)
            if step.undo and armed and cause in step.undo.on:
                self._undo(step, cause)

    def _undo(self, step: Step, cause: str) -> bool:
        if step.undo is None:
            return True
        self.blocks.reporter.note(f"undoing {step.id} ({cause})")
        finished, log = self.blocks.run(
            "undo",
            step,
            step.undo.script,
            "undo.log",
            interrupted=lambda: False,
            told={"cause": cause},
        )
        outcome = Outcome.undone if finished.exit == 0 else Outcome.failed
        self.blocks.finish("undo", step, finished, outcome, finished.exit, log)
        return outcome is Outcome.undone

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Count signals instead of dying of them; what runs now is ended by `execute`."""

        def count(number: int, frame: FrameType | None) -> None:
            del number, frame
            self._signals += 1

        before = {number: signal.signal(number, count) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
