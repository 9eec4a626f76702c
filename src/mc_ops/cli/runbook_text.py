"""What `mcctl runbook` prints: a run's progress, its end and its summary; plans; all of it as JSON.

On a terminal a step is one line that is rewritten, and what it wrote is in its log file, which is
named where it fails; elsewhere (a log, CI) all that it writes is passed on.
"""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from pathlib import Path
from typing import Any

from rich.markup import escape

from mc_contract.numbers import counted, duration
from mc_ops import exit_codes
from mc_ops import runbooks as room
from mc_ops.cli import runbook_gate
from mc_ops.cli.output import Format, emit_json, fail, note, ok, stderr, stdout, warn
from mc_ops.cli.progress import ProgressLine
from mc_ops.errors import UnusableInput

_LAST_BYTES = 2000  # of a failed step's output that are shown where it was folded


class StepProgress:
    """Tells a person how a run goes, on stderr; a closed stderr does not stop the run."""

    def __init__(self, runbook: room.Runbook) -> None:
        self._total = len(runbook.steps)
        self._new_line = True
        self._folds = sys.stderr.isatty()
        self._line, self._begun, self._written = ProgressLine("", ""), 0.0, b""

    def step_started(self, position: int, step: room.Step, reason: str) -> None:
        why = f" ({escape(reason)})" if reason else ""
        heading = f"step {position + 1}/{self._total}  {step.title}"
        self._line, self._begun, self._written = ProgressLine(heading), time.monotonic(), b""
        if not self._folds or why:
            _quietly(f"\n[bold]{escape(heading)}[/bold]{why}")

    def step_skipped(self, position: int, step: room.Step, reason: str) -> None:
        _quietly(f"step {position + 1}/{self._total}  {escape(step.title)}: {escape(reason)}")

    def output(self, data: bytes) -> None:
        if self._folds:
            self._written = (self._written + data)[-_LAST_BYTES:]
            lines = self._written.decode(errors="replace").rstrip().split("\n")
            passed = duration(time.monotonic() - self._begun)
            self._line.text(f"{passed}  {lines[-1].strip()}")
            return
        if not data:
            return
        self._new_line = data.endswith(b"\n")
        with contextlib.suppress(OSError):
            sys.stderr.buffer.write(data)
            sys.stderr.flush()

    def block_finished(
        self, kind: str, step: room.Step, finished: room.Finished, outcome: room.Outcome
    ) -> None:
        good = outcome in (room.Outcome.passed, room.Outcome.unchecked, room.Outcome.undone)
        self._line.end()
        if self._folds and not good:
            _quietly(escape(self._written.decode(errors="replace").rstrip()))
        if not self._new_line:
            _quietly("")
            self._new_line = True
        what = step.id if kind == "step" else f"{kind} of {step.id}"
        word = "ok" if good else "timed out" if finished.timed_out else str(outcome)
        colour = "green" if good else "yellow" if outcome is room.Outcome.waiting else "red"
        code = "" if good else f" (exit {finished.exit})"
        _quietly(
            f"[{colour}]{icon(outcome)} {word}[/{colour}]  {escape(what)}"
            f"  {duration(finished.duration_s)}{code}"
        )

    def note(self, text: str) -> None:
        _quietly(f"[yellow]▲ note[/yellow]  {escape(text)}")


def _quietly(text: str) -> None:
    with contextlib.suppress(OSError):
        stderr.print(text)


def icon(outcome: room.Outcome) -> str:
    if outcome in (room.Outcome.passed, room.Outcome.unchecked):
        return "✔"
    if outcome is room.Outcome.undone:
        return "↩"
    if outcome is room.Outcome.skipped:
        return "-"
    if outcome in (room.Outcome.pending, room.Outcome.started, room.Outcome.waiting):
        return "…"
    return "✘"


def print_plan(prepared: room.Prepared, output: Format) -> None:
    if output is Format.json:
        emit_json(
            {
                "runbook": prepared.runbook.id,
                "dry_run": True,
                **plan_json(prepared.runbook, prepared.plan),
            }
        )
        return
    stdout.print(f"{prepared.runbook.title}: nothing is run", markup=False)
    for step in prepared.plan.undos:
        stdout.print(f"  first, undo {step.id}", markup=False)
    for number, planned in enumerate(prepared.plan.steps, start=1):
        why = f"  ({planned.reason})" if planned.reason else ""
        step = planned.step
        stdout.print(f"  {number}. {planned.action}  {step.id}: {step.title}{why}", markup=False)
        for line in notes(prepared.runbook, step):
            stdout.print(f"     ({line})", markup=False)
        if planned.action not in (room.Action.skip, room.Action.omit):
            print_script("", step.script.text)


def kind(step: room.Step) -> str:
    return "gate" if step.gate else str(step.repeat)


def notes(runbook: room.Runbook, step: room.Step) -> list[str]:
    """Of a step: who is to see to it, when it runs, how often, and who may not approve."""
    said = []
    if whom := runbook.responsible(step):
        said.append(f"for {whom}")
    if step.when:
        said.append(f"only when {step.when}")
    if step.retry.times:
        said.append(
            f"up to {counted(step.retry.times, 'retry')}, the first after {duration(step.retry.wait_s)}"
        )
    if step.gate and step.gate.not_by_starter:
        said.append("not by whoever started the run")
    return said


def status_line(step_id: str, step: room.StepState) -> str:
    """One step of a run, for `status`."""
    parts = [f"  {icon(step.outcome)} {step.outcome}  {step_id}"]
    if step.duration_s is not None:
        parts.append(f"{step.duration_s:.1f} s")
    if step.attempts > 1:
        parts.append(f"{step.attempts} attempts")
    if step.assignee:
        parts.append(f"for {step.assignee}")
    if step.reason:
        parts.append(step.reason)
    if step.decision:
        parts.append(room.said(step))
    return "  ".join(parts)


def print_script(label: str, text: str) -> None:
    for line in text.rstrip().split("\n"):
        stdout.print(f"     {label}{line}", markup=False)
        label = " " * len(label)


def say_end(prepared: room.Prepared, state: room.RunState, name: str) -> None:
    failing = next(
        (
            planned.step
            for planned in prepared.plan.steps
            if state.step(planned.step.id).outcome
            not in (room.Outcome.passed, room.Outcome.skipped)
        ),
        None,
    )
    if state.outcome is room.Outcome.passed or failing is None:
        ok(f"run {prepared.run_id} passed")
        return
    stopped = _stopped_at(prepared.runbook, state) or failing
    waits = state.outcome is room.Outcome.waiting
    (warn if waits else fail)(
        f"run {prepared.run_id} stopped at step {stopped.id}: {_cause(state)}"
    )
    undone = [
        step.id for step in prepared.runbook.steps if _undo_of(state, step, room.Outcome.undone)
    ]
    if undone:
        note(f"  → undo run: {', '.join(undone)}")
    broken = [
        step.id for step in prepared.runbook.steps if _undo_of(state, step, room.Outcome.failed)
    ]
    for step_id in broken:
        fail(f"the undo of {step_id} failed: look at the platform before anything else")
    if advice := _advice(stopped, state):
        note(f"  → {escape(advice)}")
    runbook_gate.tell_waiting(prepared.run_id, state)
    if state.exit == exit_codes.USAGE and not broken:
        note("  → a resumed run would keep its parameters; correct them in a new one:")
        note(f"    {escape(_new_run(prepared.runbook, state, name))}")
    else:
        resume = f"mcctl runbook run {shlex.quote(name)} --resume {prepared.run_id}"
        resume += "".join(f" {word}" for word in _references(prepared.runbook))
        note(f"  → go on with it: {escape(resume)}")


def resume_of(state: room.RunState) -> str:
    """The command that goes on with a run, from the folder where this one is called."""
    try:
        known = str(room.find(state.runbook, Path.cwd())) == state.path
    except UnusableInput:
        known = False  # it was run by its file's path, or elsewhere
    name = state.runbook if known else state.path
    return f"mcctl runbook run {shlex.quote(name)} --resume {state.run_id}"


# What stopped the run, said before any advice: it is not for every end that a step's prose holds.
_CAUSES = {
    exit_codes.FINDING: "a check failed (exit 1)",
    exit_codes.USAGE: "invalid input, see above (exit 2)",
    exit_codes.COULD_NOT_TELL: "no verdict, see above (exit 3)",
    exit_codes.NOT_ALLOWED: "a permission or a credential is missing (exit 4)",
    exit_codes.WAITING: "it waits for a person (exit 8)",
}


def _cause(state: room.RunState) -> str:
    if state.outcome is room.Outcome.interrupted:
        return "interrupted by Ctrl-C or a signal"
    if state.outcome is room.Outcome.declined:
        return "declined or interrupted by a person"
    if any(step.decision and step.outcome is room.Outcome.failed for step in state.steps.values()):
        return "a person rejected it (exit 1)"
    return _CAUSES.get(state.exit or 0, str(state.outcome))


def _advice(step: room.Step, state: room.RunState) -> str:
    """The step's prose, if it is about such an end: not about interruptions and wrong input."""
    about_any = state.exit not in (exit_codes.DECLINED, exit_codes.USAGE)
    said = step.advice_for(state.exit)
    return said if about_any or said != step.advice else ""


def _undo_of(state: room.RunState, step: room.Step, outcome: room.Outcome) -> bool:
    return state.step(step.id).undo is outcome


def _new_run(runbook: room.Runbook, state: room.RunState, name: str) -> str:
    """The command of a new run with this one's parameters, for whoever corrects them."""
    words = ["mcctl", "runbook", "run", name, "--env", state.environment]
    for parameter in runbook.parameters:
        value = state.parameters.get(parameter.name)
        if value is not None and not parameter.set_by and value != parameter.default:
            words += ["--set", f"{parameter.name}={value}"]
    return " ".join([shlex.join(words), *_references(runbook)])


def _references(runbook: room.Runbook) -> list[str]:
    """The options by which a run is given its secrets again, with places for their references."""
    return [
        f"--set {one.name}=REFERENCE"
        for one in runbook.parameters
        if one.secret and one.default is None
    ]


def _stopped_at(runbook: room.Runbook, state: room.RunState) -> room.Step | None:
    """The last step that was begun in this run: the one that stopped it."""
    begun = [step for step in runbook.steps if state.step(step.id).started_at]
    return max(
        begun,
        key=lambda step: (state.step(step.id).started_at, runbook.index(step.id)),
        default=None,
    )


def print_result(
    runbook: room.Runbook, run_id: str, state: room.RunState, logs: str, output: Format
) -> None:
    """Print a run's summary on stdout: its outcome, what its steps determined, and its logs.

    Lists of addresses are left out, so that Day-0's ten lines can be pasted into a chat.
    """
    if output is Format.json:
        emit_json({"run_id": run_id, **run_json(state)})
        return
    outcomes = [step.outcome for step in state.steps.values()]
    took = sum(step.duration_s or 0.0 for step in state.steps.values())
    left_out = outcomes.count(room.Outcome.skipped)
    skipped = f", {left_out} skipped" if left_out else ""
    total = len(runbook.steps)
    passed = f"{outcomes.count(room.Outcome.passed)} of {total} steps{skipped} in {duration(took)}"
    stdout.print(f"{run_id}: {state.outcome}, {passed}", markup=False)
    for parameter in runbook.parameters:
        value = state.parameters.get(parameter.name, "")
        if parameter.set_by and value and "://" not in value:
            stdout.print(f"  {parameter.name}={value}", markup=False)
    stdout.print(f"  logs: {logs}", markup=False)


def run_json(state: room.RunState) -> dict[str, Any]:
    return {
        "runbook": state.runbook,
        "environment": state.environment,
        "outcome": state.outcome,
        "exit": state.exit,
        "started_at": state.started_at,
        "started_by": state.by or None,
        "parameters": state.parameters,
        "steps": [
            {
                "id": step_id,
                "outcome": step.outcome,
                "exit": step.exit,
                "attempts": step.attempts,
                "duration_s": step.duration_s,
                "undo": None if step.undo is room.Outcome.pending else step.undo,
                "assignee": step.assignee or None,
                "reason": step.reason or None,
                **({"gate": gate_json(step_id, step)} if step.opened else {}),
            }
            for step_id, step in state.steps.items()
        ],
    }


def gate_json(gate: str, step: room.StepState) -> dict[str, Any]:
    """A gate: its text, and what was decided."""
    opened, decision = step.opened or {}, step.decision
    return {
        "gate": gate,
        "text": opened.get("text"),
        "text_sha256": opened.get("text_sha256"),
        "assignee": opened.get("assignee") or None,
        "decision": decision
        and {
            "approved": decision["event"] == "gate_approved",
            "by": decision["by"],
            "at": decision["at"],
            "reason": decision["reason"],
        },
    }


def plan_json(runbook: room.Runbook, plan: room.Plan) -> dict[str, Any]:
    return {
        "undo_first": [step.id for step in plan.undos],
        "steps": [
            {
                "id": planned.step.id,
                "title": planned.step.title,
                "action": planned.action,
                "reason": planned.reason,
                "when": str(planned.step.when) if planned.step.when else None,
                "retry": planned.step.retry.times,
                "assignee": runbook.responsible(planned.step) or None,
                "gate": planned.step.gate is not None,
                "script": planned.step.script.text,
            }
            for planned in plan.steps
        ],
    }


def runbook_json(runbook: room.Runbook) -> dict[str, Any]:
    return {
        "id": runbook.id,
        "title": runbook.title,
        "sha256": runbook.sha256,
        "parameters": [
            {
                "name": parameter.name,
                "default": parameter.default,
                "set_by": parameter.set_by or None,
                "secret": parameter.secret,
                "help": parameter.help,
            }
            for parameter in runbook.parameters
        ],
        "steps": [
            {
                "id": step.id,
                "title": step.title,
                "section": step.section,
                "repeat": step.repeat,
                "when": str(step.when) if step.when else None,
                "retry": step.retry.times,
                "wait_s": step.retry.wait_s if step.retry.times else None,
                "assignee": runbook.responsible(step) or None,
                "gate": {"not_by_starter": step.gate.not_by_starter} if step.gate else None,
                "timeout_s": step.script.timeout_s,
                "script": step.script.text,
                "check": step.check.text if step.check else None,
                "undo": step.undo.script.text if step.undo else None,
                "if_it_fails": step.advice,
                "if_it_fails_with_exit": {
                    str(code): said for code, said in sorted(step.advice_by_exit.items())
                },
            }
            for step in runbook.steps
        ],
    }
