"""`mcctl runbook`: list, show, lint, run, approve and status of executable runbooks."""

from __future__ import annotations

import os
import secrets
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from mc_contract.numbers import counted
from mc_ops import runbooks as room
from mc_ops.cli import runbook_gate
from mc_ops.cli.operator_access import AsOption
from mc_ops.cli.options import Verbs
from mc_ops.cli.output import Format, OutputOption, emit_json, note, ok, show, stdout
from mc_ops.cli.runbook_text import (
    StepProgress,
    gate_json,
    kind,
    notes,
    print_plan,
    print_result,
    print_script,
    resume_of,
    run_json,
    runbook_json,
    say_end,
    status_line,
)
from mc_ops.environments import Workspace
from mc_ops.errors import UnusableInput

app = Verbs()

NameArgument = Annotated[
    str, typer.Argument(metavar="RUNBOOK", help="Name of a runbook, or path of its file.")
]


@app.command("list")
def list_runbooks(output: OutputOption = Format.table) -> None:
    """List the runbooks of this repository."""
    rows = []
    for path in room.known_files(Path.cwd()):
        runbook, problems = room.read(path)
        title = runbook.title if runbook else f"cannot be run: {counted(len(problems), 'problem')}"
        steps = len(runbook.steps) if runbook else None
        rows.append({"name": path.stem, "title": title, "steps": steps})
    show(output, {"runbooks": rows}, [f"{row['name']}\t{row['title']}" for row in rows])
    if not rows:
        note("no runbooks/*.md here or above")


@app.command()
def lint(file: NameArgument, output: OutputOption = Format.table) -> None:
    """Check a runbook for errors; exit 1 with the line and reason of each."""
    path = room.find(file, Path.cwd())
    runbook, problems = room.read(path)
    listed = [{"line": problem.line, "reason": problem.reason} for problem in problems]
    result = {"file": str(path), "ok": runbook is not None, "problems": listed}
    show(output, result, [f"{file}:{problem.line}: {problem.reason}" for problem in problems])
    if runbook is not None:
        ok(f"{counted(len(runbook.steps), 'step')}, no problems")
    if problems:
        raise typer.Exit(1)


@app.command("show")
def show_runbook(name: NameArgument, output: OutputOption = Format.table) -> None:
    """Show a runbook's parameters, steps, checks and undo scripts."""
    runbook = room.load(room.find(name, Path.cwd()))
    if output is Format.json:
        emit_json(runbook_json(runbook))
        return
    stdout.print(f"{runbook.id}: {runbook.title}", markup=False)
    for parameter in runbook.parameters:
        origin = f"set by step {parameter.set_by}" if parameter.set_by else parameter.default
        if parameter.secret:
            origin = f"a secret, given as {room.Reference.FORM}"
        stdout.print(f"  {parameter.name} = {origin}  {parameter.help}", markup=False)
    for number, step in enumerate(runbook.steps, start=1):
        stdout.print(f"\n{number}. {step.id}: {step.title}  [{kind(step)}]", markup=False)
        for line in notes(runbook, step):
            stdout.print(f"     ({line})", markup=False)
        print_script("", step.script.text)
        if step.check:
            print_script("check: ", step.check.text)
        if step.undo:
            events = "/".join(sorted(step.undo.on))
            print_script(f"undo on {events} until {step.undo.until}: ", step.undo.script.text)


# Over 60 lines because its options are: they are the interface, and stand where typer reads them
@app.command()
def run(
    name: NameArgument,
    run_id: Annotated[
        str,
        typer.Argument(
            metavar="[RUN_ID]", help="With --resume: id of the run; default: the newest."
        ),
    ] = "",
    *,
    env: Annotated[
        str | None,
        typer.Option(
            "--env", help="As elsewhere; default: `local`, with --resume the run's environment."
        ),
    ] = None,
    minutes: Annotated[str, typer.Option("--minutes", help="Same as --set MINUTES=M.")] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set a parameter of the runbook; a secret one by reference, such as "
            "env:NAME or file:PATH; repeatable.",
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
    yes: Annotated[
        bool, typer.Option("--yes", help="Answer yes to every question; approves no gate.")
    ] = False,
    push: Annotated[
        bool, typer.Option("--push", help="Same as --set PUSH=1: push release tags.")
    ] = False,
    whose: AsOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Run a runbook; exit 0, or with the exit code of the step that stopped it."""
    workspace = Workspace.from_env()
    store = room.RunStore(workspace.home)
    given = _given(settings or [], minutes, push=push)
    by = runbook_gate.who(workspace, whose)
    if resume:
        prepared = _resumed(
            store, name, run_id, env, accept_changes=accept_changes, given=given, by=by
        )
        if prepared.finished and not dry_run:
            ok(f"run {prepared.run_id} has passed already; nothing to do")
            logs = str(store.folder(prepared.run_id) / "logs")
            print_result(prepared.runbook, prepared.run_id, prepared.state, logs, output)
            return
    else:
        if run_id:
            raise UnusableInput(f"unexpected argument {run_id!r}", hint="--resume RUN_ID")
        path = room.find(name, Path.cwd())
        runbook = room.load(path)
        new_id = room.new_run_id(runbook.id, datetime.now(UTC), secrets.token_hex(2))
        prepared = room.begin(
            runbook,
            run_id=new_id,
            root=room.root_of(path),
            environment=env or "local",
            given=given,
            by=by,
        )
    if dry_run:
        print_plan(prepared, output)
        return
    workspace.prepare()
    note(f"run {prepared.run_id}: {escape(prepared.runbook.title)}")
    state = prepared.carry_out(
        store,
        reporter=StepProgress(prepared.runbook),
        confirm=lambda question: _confirm(question, yes=yes),
        ask=lambda opened, settled: runbook_gate.ask(opened, settled, by),
        clock=lambda: datetime.now(UTC),
        sources=room.Sources(os.environ, runbook_gate.secret_of_cluster),
    )
    say_end(prepared, state, name)
    logs = str(store.folder(prepared.run_id) / "logs")
    print_result(prepared.runbook, prepared.run_id, state, logs, output)
    raise typer.Exit(state.exit or 0)


@app.command()
def approve(
    run_id: Annotated[
        str, typer.Argument(metavar="RUN_ID", help="Id of a run that waits at a gate.")
    ],
    *,
    gate: Annotated[
        str, typer.Option("--gate", help="Id of the gate; default: the one it waits at.")
    ] = "",
    reason: Annotated[str, typer.Option("--reason", help="Why; recorded in the journal.")] = "",
    reject: Annotated[
        bool, typer.Option("--reject", help="Reject: the run ends with exit 1, and is undone.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    whose: AsOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Approve, or reject, what a run's gate says; the run goes on when it is resumed."""
    workspace = Workspace.from_env()
    store = room.RunStore(workspace.home)
    decision = room.Decision(not reject, runbook_gate.who(workspace, whose), reason)
    opened = runbook_gate.decide(store, run_id, gate, decision, yes=yes)
    state = store.state(run_id)
    step = state.step(opened.id)
    result = {"run_id": run_id, **gate_json(opened.id, step)}
    show(output, result, [f"gate {opened.id} of {run_id}: {room.said(step)}"])
    if store.running() != run_id:
        note(f"go on with it: {escape(resume_of(state))}")


@app.command()
def status(
    run_id: Annotated[
        str, typer.Argument(metavar="[RUN_ID]", help="Id of a run; default: the newest.")
    ] = "",
    output: OutputOption = Format.table,
) -> None:
    """Show the progress of a run."""
    store = room.RunStore(Workspace.from_env().home)
    wanted = run_id or store.newest()
    state = store.state(wanted)
    now = _now(store, wanted, state)
    steps = [status_line(step_id, step) for step_id, step in state.steps.items()]
    show(output, {"run_id": wanted, "state": now, **run_json(state)}, [f"{wanted}: {now}", *steps])
    if output is Format.table:
        for opened in room.waiting(state).values():
            note(f"gate {opened.id}: {escape(runbook_gate.how_to_decide(wanted, opened))}")
    if output is Format.table and now not in ("running", room.Outcome.passed):
        note(f"go on with it: {escape(resume_of(state))}")


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
    store: room.RunStore,
    name: str,
    run_id: str,
    env: str | None,
    *,
    accept_changes: bool,
    given: dict[str, str],
    by: dict[str, str],
) -> room.Prepared:
    """Find the run that is meant by `NAME --resume [RUN_ID]` or by `--resume RUN_ID` alone."""
    if not run_id and name in store.ids():
        run_id = name
        path = Path(store.state(run_id).path)
    else:
        path = room.find(name, Path.cwd())
    runbook = room.load(path)
    run_id = run_id or store.newest(runbook.id)
    return room.take_up(
        runbook,
        store,
        run_id,
        environment=env or store.state(run_id).environment,
        accept_changes=accept_changes,
        given=given,
        by=by,
    )


def _confirm(question: str, *, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        raise UnusableInput(
            f"{question}: standard input is not a terminal", hint="answer with --yes"
        )
    return typer.confirm(question, err=True)


def _now(store: room.RunStore, run_id: str, state: room.RunState) -> str:
    if state.outcome is not room.Outcome.started:
        return str(state.outcome)
    return "running" if store.running() == run_id else "broken off"
