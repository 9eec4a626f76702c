"""`mcctl runbook`: list, show, lint, run and status of executable runbooks."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from mc_ops import exit_codes
from mc_ops import runbooks as room
from mc_ops.cli.output import Format, OutputOption, emit_json, fail, note, ok, stderr, stdout, warn
from mc_ops.environments import Workspace
from mc_ops.errors import UnusableInput

app = typer.Typer(no_args_is_help=True)

NameArgument = Annotated[str, typer.Argument(help="Name of a runbook, or path of its file.")]


@app.command("list")
def list_runbooks(output: OutputOption = Format.table) -> None:
    """List the runbooks of this repository."""
    rows = []
    for path in room.known_files(Path.cwd()):
        runbook, problems = room.read(path)
        title = runbook.title if runbook else f"cannot be run: {len(problems)} problems"
        steps = len(runbook.steps) if runbook else None
        rows.append({"name": path.stem, "title": title, "steps": steps})
    if output is Format.json:
        emit_json({"runbooks": rows})
        return
    for row in rows:
        stdout.print(f"{row['name']}\t{row['title']}", markup=False)
    if not rows:
        note("no runbooks/*.md here or above")


@app.command()
def lint(file: NameArgument, output: OutputOption = Format.table) -> None:
    """Check a runbook for errors; exit 1 with the line and reason of each."""
    path = room.find(file, Path.cwd())
    runbook, problems = room.read(path)
    if output is Format.json:
        listed = [{"line": problem.line, "reason": problem.reason} for problem in problems]
        emit_json({"file": str(path), "ok": runbook is not None, "problems": listed})
    else:
        for problem in problems:
            stdout.print(f"{file}:{problem.line}: {problem.reason}", markup=False)
        if runbook is not None:
            ok(f"{len(runbook.steps)} steps, no problems")
    if problems:
        raise typer.Exit(1)


@app.command()
def show(name: NameArgument, output: OutputOption = Format.table) -> None:
    """Show a runbook's parameters, steps, checks and undo scripts."""
    runbook = room.load(room.find(name, Path.cwd()))
    if output is Format.json:
        emit_json(_described(runbook))
        return
    stdout.print(f"{runbook.id}: {runbook.title}", markup=False)
    for parameter in runbook.parameters:
        origin = f"set by step {parameter.set_by}" if parameter.set_by else parameter.default
        stdout.print(f"  {parameter.name} = {origin}  {parameter.help}", markup=False)
    for number, step in enumerate(runbook.steps, start=1):
        stdout.print(f"\n{number}. {step.id}: {step.title}  [{step.repeat}]", markup=False)
        _show_script("", step.script.text)
        if step.check:
            _show_script("check: ", step.check.text)
        if step.undo:
            events = "/".join(sorted(step.undo.on))
            _show_script(f"undo on {events} until {step.undo.until}: ", step.undo.script.text)


@app.command()
def run(
    name: NameArgument,
    run_id: Annotated[
        str, typer.Argument(help="With --resume: id of the run; default: the newest.")
    ] = "",
    *,
    env: Annotated[
        str, typer.Option("--env", help="Environment of the platform; only `local` exists today.")
    ] = "local",
    minutes: Annotated[str, typer.Option("--minutes", help="Same as --set MINUTES=M.")] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Set a parameter of the runbook; repeatable."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue a stopped run: --resume [RUN_ID].")
    ] = False,
    accept_changes: Annotated[
        bool,
        typer.Option("--accept-changes", help="Resume even if the runbook's file has changed."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the steps without running them.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Answer yes to every question.")] = False,
    push: Annotated[
        bool, typer.Option("--push", help="Same as --set PUSH=1: push release tags.")
    ] = False,
    output: OutputOption = Format.table,
) -> None:
    """Run a runbook; exit 0, or with the exit code of the step that stopped it."""
    workspace = Workspace.from_env()
    store = room.RunStore(workspace.home)
    given = _given(settings or [], minutes, push=push)
    if resume:
        if given:
            raise UnusableInput("a resumed run keeps its parameters", hint="leave out --set")
        prepared = _resumed(store, name, run_id, env, accept_changes=accept_changes)
        if prepared.finished and not dry_run:
            ok(f"run {prepared.run_id} has passed already; nothing to do")
            _result(prepared.runbook, prepared.run_id, prepared.state, output)
            return
    else:
        if run_id:
            raise UnusableInput(f"unexpected argument {run_id!r}", hint="--resume RUN_ID")
        path = room.find(name, Path.cwd())
        runbook = room.load(path)
        new_id = room.new_run_id(runbook.id, datetime.now(UTC), secrets.token_hex(2))
        prepared = room.begin(
            runbook, run_id=new_id, root=room.root_of(path), environment=env, given=given
        )
    if dry_run:
        _print_plan(prepared, output)
        return
    workspace.prepare()
    note(f"run {prepared.run_id}: {escape(prepared.runbook.title)}")
    state = prepared.carry_out(
        store,
        reporter=_Progress(prepared.runbook),
        confirm=lambda question: _confirm(question, yes=yes),
        clock=lambda: datetime.now(UTC),
        variables=os.environ,
    )
    _say_end(prepared, state, name)
    _result(prepared.runbook, prepared.run_id, state, output)
    raise typer.Exit(state.exit or 0)


@app.command()
def status(
    run_id: Annotated[str, typer.Argument(help="Id of a run; default: the newest.")] = "",
    output: OutputOption = Format.table,
) -> None:
    """Show the progress of a run."""
    store = room.RunStore(Workspace.from_env().home)
    wanted = run_id or store.newest()
    state = store.state(wanted)
    now = _now(store, wanted, state)
    if output is Format.json:
        emit_json({"run_id": wanted, "state": now, **_reported(state)})
        return
    stdout.print(f"{wanted}: {now}", markup=False)
    for step_id, step in state.steps.items():
        took = "" if step.duration_s is None else f"  {step.duration_s:.1f} s"
        stdout.print(f"  {_icon(step.outcome)} {step.outcome}  {step_id}{took}", markup=False)
    if now not in ("running", room.Outcome.passed):
        note(f"go on with it: mcctl runbook run {state.runbook} --resume {wanted}")


class _Progress:
    """Tells a person how a run goes, on stderr; a closed stderr does not stop the run."""

    def __init__(self, runbook: room.Runbook) -> None:
        self._total = len(runbook.steps)
        self._new_line = True

    def step_started(self, position: int, step: room.Step, reason: str) -> None:
        why = f" ({escape(reason)})" if reason else ""
        _quietly(f"\n[bold]step {position + 1}/{self._total}  {escape(step.title)}[/bold]{why}")

    def step_skipped(self, position: int, step: room.Step, reason: str) -> None:
        _quietly(f"step {position + 1}/{self._total}  {escape(step.title)}: {escape(reason)}")

    def output(self, data: bytes) -> None:
        if not data:
            return
        self._new_line = data.endswith(b"\n")
        with contextlib.suppress(OSError):
            sys.stderr.buffer.write(data)
            sys.stderr.flush()

    def block_finished(
        self, kind: str, step: room.Step, finished: room.Finished, outcome: room.Outcome
    ) -> None:
        if not self._new_line:
            _quietly("")
            self._new_line = True
        what = step.id if kind == "step" else f"{kind} of {step.id}"
        good = outcome in (room.Outcome.passed, room.Outcome.unchecked, room.Outcome.undone)
        word = "ok" if good else "timed out" if finished.timed_out else str(outcome)
        colour = "green" if good else "yellow" if outcome is room.Outcome.waiting else "red"
        code = "" if good else f" (exit {finished.exit})"
        _quietly(
            f"[{colour}]{_icon(outcome)} {word}[/{colour}]  {escape(what)}"
            f"  {finished.duration_s:.1f} s{code}"
        )

    def note(self, text: str) -> None:
        _quietly(f"[yellow]▲ note[/yellow]  {escape(text)}")


def _quietly(text: str) -> None:
    with contextlib.suppress(OSError):
        stderr.print(text)


def _icon(outcome: room.Outcome) -> str:
    if outcome in (room.Outcome.passed, room.Outcome.unchecked):
        return "✔"
    if outcome is room.Outcome.undone:
        return "↩"
    if outcome in (room.Outcome.pending, room.Outcome.started, room.Outcome.waiting):
        return "…"
    return "✘"


def _given(settings: list[str], minutes: str, *, push: bool) -> dict[str, str]:
    given: dict[str, str] = {}
    if minutes:
        given["MINUTES"] = minutes
    if push:
        given["PUSH"] = "1"
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise UnusableInput(f"--set {key!r} is not of the form KEY=VALUE")
        if key in given:
            raise UnusableInput(f"{key} is given twice")
        given[key] = value
    return given


def _resumed(
    store: room.RunStore, name: str, run_id: str, env: str, *, accept_changes: bool
) -> room.Prepared:
    """Find the run that is meant by `NAME --resume [RUN_ID]` or by `--resume RUN_ID` alone."""
    if not run_id and name in store.ids():
        run_id = name
        path = Path(store.state(run_id).path)
    else:
        path = room.find(name, Path.cwd())
    runbook = room.load(path)
    run_id = run_id or store.newest(runbook.id)
    return room.take_up(runbook, store, run_id, environment=env, accept_changes=accept_changes)


def _confirm(question: str, *, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UnusableInput(f"{question}: there is nobody to ask", hint="answer by --yes")
    return typer.confirm(question, err=True)


def _print_plan(prepared: room.Prepared, output: Format) -> None:
    if output is Format.json:
        emit_json({"runbook": prepared.runbook.id, "dry_run": True, **_plan(prepared.plan)})
        return
    stdout.print(f"{prepared.runbook.title}: nothing is run", markup=False)
    for step in prepared.plan.undos:
        stdout.print(f"  first, undo {step.id}", markup=False)
    for number, planned in enumerate(prepared.plan.steps, start=1):
        why = f"  ({planned.reason})" if planned.reason else ""
        step = planned.step
        stdout.print(f"  {number}. {planned.action}  {step.id}: {step.title}{why}", markup=False)
        if planned.action is not room.Action.skip:
            _show_script("", step.script.text)


def _show_script(label: str, text: str) -> None:
    for line in text.rstrip().splitlines():
        stdout.print(f"     {label}{line}", markup=False)
        label = " " * len(label)


def _say_end(prepared: room.Prepared, state: room.RunState, name: str) -> None:
    failing = next(
        (
            planned.step
            for planned in prepared.plan.steps
            if state.step(planned.step.id).outcome is not room.Outcome.passed
        ),
        None,
    )
    if state.outcome is room.Outcome.passed or failing is None:
        ok(f"run {prepared.run_id} passed")
        return
    stopped = _stopped_at(prepared.runbook, state) or failing
    text = f"run {prepared.run_id} stopped at step {stopped.id}: {state.outcome}"
    cause = _cause(state)
    (warn if state.outcome is room.Outcome.waiting else fail)(
        f"{text} ({cause})" if cause else text
    )
    undone = [
        step.id for step in prepared.runbook.steps if _undo_of(state, step, room.Outcome.undone)
    ]
    if undone:
        note(f"  → taken back: {', '.join(undone)}")
    broken = [
        step.id for step in prepared.runbook.steps if _undo_of(state, step, room.Outcome.failed)
    ]
    for step_id in broken:
        fail(f"the undo of {step_id} failed: look at the platform before anything else")
    if advice := _advice(stopped, state):
        note(f"  → {escape(advice)}")
    if state.exit == exit_codes.USAGE and not broken:
        note("  → a resumed run would keep its parameters; correct them in a new one:")
        note(f"    {escape(_new_run(prepared.runbook, state, name))}")
    else:
        resume = f"mcctl runbook run {shlex.quote(name)} --resume {prepared.run_id}"
        note(f"  → go on with it: {escape(resume)}")


# What stopped the run, said before any advice: it is not for every end that a step's prose holds.
_CAUSES = {
    exit_codes.FINDING: "it found what must not be",
    exit_codes.USAGE: "what it was given cannot be used, see above",
    exit_codes.COULD_NOT_TELL: "it could not tell, or took too long",
    exit_codes.NOT_ALLOWED: "a right or a credential is missing",
    exit_codes.WAITING: "it waits for somebody",
}


def _cause(state: room.RunState) -> str:
    if state.outcome is room.Outcome.interrupted:
        return "by Ctrl-C or a signal, not by what it found"
    if state.outcome is room.Outcome.declined:
        return "a person said no, or interrupted it"
    return _CAUSES.get(state.exit or 0, "")


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
    return shlex.join(words)


def _stopped_at(runbook: room.Runbook, state: room.RunState) -> room.Step | None:
    """The last step that was begun in this run: the one that stopped it."""
    begun = [step for step in runbook.steps if state.step(step.id).started_at]
    return max(
        begun,
        key=lambda step: (state.step(step.id).started_at, runbook.index(step.id)),
        default=None,
    )


def _result(runbook: room.Runbook, run_id: str, state: room.RunState, output: Format) -> None:
    """The run's result on stdout: its outcome, and what its steps determined."""
    if output is Format.json:
        emit_json({"run_id": run_id, **_reported(state)})
        return
    stdout.print(f"{run_id}: {state.outcome}", markup=False)
    for parameter in runbook.parameters:
        if parameter.set_by and parameter.name in state.parameters:
            stdout.print(f"  {parameter.name}={state.parameters[parameter.name]}", markup=False)


def _now(store: room.RunStore, run_id: str, state: room.RunState) -> str:
    if state.outcome is not room.Outcome.started:
        return str(state.outcome)
    return "running" if store.running() == run_id else "broken off"


def _reported(state: room.RunState) -> dict[str, Any]:
    return {
        "runbook": state.runbook,
        "environment": state.environment,
        "outcome": state.outcome,
        "exit": state.exit,
        "started_at": state.started_at,
        "parameters": state.parameters,
        "steps": [
            {
                "id": step_id,
                "outcome": step.outcome,
                "exit": step.exit,
                "attempts": step.attempts,
                "duration_s": step.duration_s,
                "undo": None if step.undo is room.Outcome.pending else step.undo,
            }
            for step_id, step in state.steps.items()
        ],
    }


def _plan(plan: room.Plan) -> dict[str, Any]:
    return {
        "undo_first": [step.id for step in plan.undos],
        "steps": [
            {
                "id": planned.step.id,
                "title": planned.step.title,
                "action": planned.action,
                "reason": planned.reason,
                "script": planned.step.script.text,
            }
            for planned in plan.steps
        ],
    }


def _described(runbook: room.Runbook) -> dict[str, Any]:
    return {
        "id": runbook.id,
        "title": runbook.title,
        "sha256": runbook.sha256,
        "parameters": [
            {
                "name": parameter.name,
                "default": parameter.default,
                "set_by": parameter.set_by or None,
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
                "timeout_s": step.script.timeout_s,
                "script": step.script.text,
                "check": step.check.text if step.check else None,
                "undo": step.undo.script.text if step.undo else None,
                "if_it_fails": step.advice,
                "if_it_fails_with_exit": {str(code): said for code, said in step.advice_by_exit},
            }
            for step in runbook.steps
        ],
    }
