"""`mcctl operations list, show, watch, cancel, resolve`: the operations of all tenants."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from mc_ops import exit_codes
from mc_ops import operations as room
from mc_ops.cli.numeric import Whole
from mc_ops.cli.operator_access import (
    AsOption,
    ReasonOption,
    UrlOption,
    YesOption,
    acting_client,
    confirm,
    operator_client,
)
from mc_ops.cli.output import (
    SCHEMA_VERSION,
    Format,
    OutputOption,
    emit_json,
    note,
    ok,
    stdout,
    warn,
)
from mc_ops.errors import CouldNotTell, Finding

app = typer.Typer(no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(help="Id of the operation.", metavar="ID")]
_COLOURS = {
    "completed": "[green]✔ completed[/green]",
    "resolved": "[green]✔ resolved[/green]",
    "running": "[cyan]… running[/cyan]",
    "compensated": "[yellow]↩ compensated[/yellow]",
    "failed": "[red]✘ failed[/red]",
    "stuck": "[red]✘ stuck[/red]",
}
_STUCK = "stuck"
_WIDEST = 10_000
_WATCH_CODES = {"completed": exit_codes.OK, "resolved": exit_codes.OK}


class State(StrEnum):
    """The states that `list` knows."""

    running = "running"
    completed = "completed"
    compensated = "compensated"
    stuck = "stuck"
    resolved = "resolved"
    failed = "failed"


class Mode(StrEnum):
    """How a stuck operation is resolved."""

    retry = "retry"
    accept = "accept"


@app.command("list")
def list_(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant.")] = None,
    state: Annotated[State | None, typer.Option(help="Only operations in this state.")] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Only operations started since this age or time: 30m, 24h, 7d."),
    ] = None,
    limit: Annotated[Whole, typer.Option(min=1, max=500, help="Maximum number of rows.")] = 50,
    before: Annotated[
        str | None, typer.Option(help="Continue after a page: its `next` value.")
    ] = None,
    whose: AsOption = None,
    url: UrlOption = None,
    output: OutputOption = Format.table,
) -> None:
    """List operations, newest first."""
    now = datetime.now(UTC)
    with operator_client(url, whose) as client:
        found = client.operations(
            tenant=tenant,
            state=state,
            since=None if since is None else room.since_text(since, now),
            limit=str(limit),
            before=before,
        )
        if tenant and not found["operations"]:
            # Only now: one that the catalogue has lost may still have operations
            error = room.unknown_tenant(tenant, client.autonomy()["scopes"])
            if error is not None:
                raise error
    if output is Format.json:
        emit_json(found)
        return
    if not found["operations"]:
        note("no operations")
        return
    _print_list(found["operations"], now)
    if found["next"]:
        note(f"more: --before '{escape(found['next'])}'")


@app.command()
def show(
    id: IdArgument,
    whose: AsOption = None,
    url: UrlOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Show an operation and its timeline from the ledger."""
    with operator_client(url, whose) as client:
        found = client.operation(id)
    if output is Format.json:
        emit_json(found)
        return
    for line in room.describe(found["operation"], datetime.now(UTC), found["timeline"]):
        stdout.print(line, markup=False)
    stdout.print()
    for line in room.timeline_lines(found["timeline"]):
        stdout.print(line, markup=False)
    if found["operation"]["state"] == "stuck":
        warn(
            f"an effect still stands; `mcctl operations resolve {escape(id)} "
            "--mode retry --reason ...` tries to undo it again"
        )


@app.command()
def watch(
    id: IdArgument,
    whose: AsOption = None,
    url: UrlOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Follow an operation until it ends: exit 0 completed, 1 compensated, stuck or failed.

    With --output json, prints one object per line for each change.
    """
    state = ""
    with operator_client(url, whose) as client:
        for news in room.follow(partial(client.operation, id)):
            state = str(news.operation["state"])
            _tell(news.lines, news.operation, output)
    if output is Format.table:
        stdout.print(_COLOURS.get(state, escape(state)))
    raise typer.Exit(_WATCH_CODES.get(state, exit_codes.FINDING))


@app.command()
def cancel(
    id: IdArgument,
    reason: Annotated[str, typer.Option("--reason", help="Reason; recorded in the ledger.")] = "",
    whose: AsOption = None,
    yes: YesOption = False,
    url: UrlOption = None,
) -> None:
    """Stop an operation before its next step and undo its effects."""
    with acting_client(url, whose) as client:
        operation = client.operation(id)["operation"]
        note(_sentence(operation))
        confirm("Cancel it, and undo what it has done?", yes=yes)
        client.cancel(id, reason=reason)
    ok(f"asked to cancel; `mcctl operations watch {escape(id)}` follows it")


@app.command()
def resolve(
    id: IdArgument,
    mode: Annotated[
        Mode,
        typer.Option(
            help="retry: try the undo again; accept: close it, as it was handled manually."
        ),
    ],
    reason: ReasonOption,
    whose: AsOption = None,
    yes: YesOption = False,
    url: UrlOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Resolve a stuck operation: exit 0 resolved, 1 if an effect is still not undone."""
    with acting_client(url, whose) as client:
        operation = client.operation(id)["operation"]
        note(_sentence(operation))
        if operation["state"] != _STUCK:
            raise Finding(_unresolvable(str(operation["state"])))
        if mode is Mode.accept:
            confirm("Nothing will be called. Were its effects dealt with by hand?", yes=yes)
        else:
            confirm("Try again to undo what stands?", yes=yes)
        found = client.resolve(id, mode=mode, reason=reason)
    if output is Format.json:
        emit_json(found)
    _judge(found["resolution"], id)


def _judge(resolution: Mapping[str, Any], id: str) -> None:
    """Say how a resolution ended.

    Raises:
        Finding: an effect still stands.
        CouldNotTell: the service does not say how it ended.
    """
    standing = ", ".join(str(one) for one in resolution.get("standing") or ())
    hint = f"`mcctl operations show {id}` tells how it went"
    match resolution.get("resolved"):
        case True if standing:
            ok(f"resolved; left as it stands: {escape(standing)}")
        case True:
            ok("resolved")
        case False:
            raise Finding(f"still stuck: {standing or 'what stands is not told'}", hint=hint)
        case _:
            raise CouldNotTell("the service does not say how the resolution ended", hint=hint)


def _unresolvable(state: str) -> str:
    if state == "resolved":
        return "the operation has been resolved already"
    return f"the operation is {state}; only a stuck one can be resolved"


def _tell(lines: tuple[str, ...], operation: Mapping[str, Any], output: Format) -> None:
    if output is Format.table:
        for line in lines:
            stdout.print(line, markup=False)
    elif lines:
        told = {"schema_version": SCHEMA_VERSION, "operation": dict(operation), "lines": lines}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def _sentence(operation: dict[str, Any]) -> str:
    text = f"{operation['operation']} of {operation['tenant']}, {operation['state']}"
    where = room.engine_text(operation.get("engine"))
    return escape(f"{text}, {where}" if where else text)


def _print_list(operations: list[dict[str, Any]], now: datetime) -> None:
    """A line an operation; two where the terminal is too narrow. Nothing is ever cut short."""
    table = _table(operations, now)
    wanted = stdout.measure(table, options=stdout.options.update(width=_WIDEST)).maximum
    if stdout.is_terminal and wanted > stdout.width:
        for one in operations:
            started = room.ago(room.instant(one["started_at"]), now)
            stdout.print(f"{escape(one['id'])}  {_state(one)}, started {started}")
            undone = "" if one.get("effects") is None else f", effects undone: {_undone(one)}"
            engine = room.engine_text(one.get("engine"))
            rest = f"{one['operation']} of {one['tenant']}{undone}{engine and ', '}{engine}"
            stdout.print(f"    {rest}", markup=False)
        return
    table.width = wanted  # else rich fits it into 80 columns of a pipe
    stdout.print(table)


def _state(one: Mapping[str, Any]) -> str:
    canceled = " (canceled)" if one.get("canceled") else ""
    return _COLOURS.get(one["state"], escape(str(one["state"]))) + canceled


def _undone(one: Mapping[str, Any]) -> str:
    return "-" if one.get("effects") is None else f"{one.get('effects_undone')} of {one['effects']}"


def _table(operations: list[dict[str, Any]], now: datetime) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("ID", "TENANT", "OPERATION", "STATE", "STARTED", "EFFECTS UNDONE", "ENGINE"):
        table.add_column(heading, no_wrap=True)
    for one in operations:
        table.add_row(
            escape(one["id"]),
            escape(one["tenant"]),
            escape(one["operation"]),
            _state(one),
            room.ago(room.instant(one["started_at"]), now),
            _undone(one),
            escape(room.engine_text(one.get("engine"))),
        )
    return table
