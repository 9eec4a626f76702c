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
from rich.text import Text

from mc_ops import exit_codes
from mc_ops import operations as room
from mc_ops.cli.operator_access import Changing, Reading, YesOption, confirm
from mc_ops.cli.options import Verbs, Whole
from mc_ops.cli.output import SCHEMA_VERSION, Format, columns, note, ok, stdout, styled, warn
from mc_ops.errors import CouldNotTell, Finding

app = Verbs()

IdArgument = Annotated[str, typer.Argument(help="Id of the operation.", metavar="OPERATION")]
_COLOURS = {
    "completed": "[green]✔ completed[/green]",
    "resolved": "[green]✔ resolved[/green]",
    "running": "[cyan]… running[/cyan]",
    "compensated": "[yellow]↩ compensated[/yellow]",
    "failed": "[red]✘ failed[/red]",
    "stuck": "[red]✘ stuck[/red]",
}
_STUCK = "stuck"
_UNKNOWN = "-"
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
    call: Reading,
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
) -> None:
    """List operations, newest first."""
    now = datetime.now(UTC)
    started_since = None if since is None else room.since_text(since, now)
    with call.client() as client:
        found = client.operations(
            tenant=tenant,
            state=state,
            since=started_since,
            limit=str(limit),
            before=before,
        )
        if tenant and not found["operations"]:
            # Only now: one that the catalogue has lost may still have operations
            error = room.unknown_tenant(tenant, client.autonomy()["scopes"])
            if error is not None:
                raise error
    call.show(found, _lines(found["operations"], now))
    if call.output is Format.table and not found["operations"]:
        note("no operations")
    elif call.output is Format.table and found["next"]:
        note(f"more: --before '{escape(found['next'])}'")


@app.command()
def show(id: IdArgument, call: Reading) -> None:
    """Show an operation and its timeline from the ledger."""
    with call.client() as client:
        found = client.operation(id)
    about = room.describe(found["operation"], datetime.now(UTC), found["timeline"])
    call.show(found, [*about, "", *room.timeline_lines(found["timeline"])])
    if call.output is Format.table and found["operation"]["state"] == _STUCK:
        warn(
            f"an effect still stands; `mcctl operations resolve {escape(id)} "
            "--mode retry --reason ...` tries to undo it again"
        )


@app.command()
def watch(id: IdArgument, call: Reading) -> None:
    """Follow an operation until it ends: exit 0 completed, 1 compensated, stuck or failed.

    With --output json, prints one object per line for each change.
    """
    state = ""
    with call.client() as client:
        for news in room.follow(partial(client.operation, id)):
            state = str(news.operation["state"])
            _tell(news.lines, news.operation, call.output)
    if call.output is Format.table:
        stdout.print(_COLOURS.get(state, escape(state)))
    raise typer.Exit(_WATCH_CODES.get(state, exit_codes.FINDING))


@app.command()
def cancel(
    id: IdArgument,
    call: Reading,
    reason: Annotated[str, typer.Option("--reason", help="Reason; recorded in the ledger.")] = "",
    yes: YesOption = False,
) -> None:
    """Stop an operation before its next step and undo its effects."""
    with call.acting() as client:
        operation = client.operation(id)["operation"]
        note(_sentence(operation))
        confirm("Cancel it, and undo what it has done?", yes=yes)
        asked = client.cancel(id, reason=reason)
    call.show(asked, ())
    ok(f"asked to cancel; `mcctl operations watch {escape(id)}` follows it")


@app.command()
def resolve(
    id: IdArgument,
    call: Changing,
    mode: Annotated[
        Mode,
        typer.Option(
            help="retry: try the undo again; accept: close it, as it was handled manually."
        ),
    ],
) -> None:
    """Resolve a stuck operation: exit 0 resolved, 1 if an effect is still not undone."""
    with call.acting() as client:
        operation = client.operation(id)["operation"]
        note(_sentence(operation))
        if operation["state"] != _STUCK:
            raise Finding(_unresolvable(str(operation["state"])))
        if mode is Mode.accept:
            call.confirm("Nothing is called. Have its effects been handled manually?")
        else:
            call.confirm("Try again to undo its remaining effects?")
        found = client.resolve(id, mode=mode, reason=call.reason)
    call.show(found, ())
    _judge(found["resolution"], id)


def _judge(resolution: Mapping[str, Any], id: str) -> None:
    """Say how a resolution ended.

    Raises:
        Finding: an effect still stands.
        CouldNotTell: the service does not say how it ended.
    """
    standing = ", ".join(str(one) for one in resolution.get("standing") or ())
    hint = f"`mcctl operations show {id}` shows the details"
    match resolution.get("resolved"):
        case True if standing:
            ok(f"resolved; effects that remain: {escape(standing)}")
        case True:
            ok("resolved")
        case False:
            raise Finding(
                f"still stuck; effects that remain: {standing or 'not reported'}", hint=hint
            )
        case _:
            raise CouldNotTell("the service did not report how the resolution ended", hint=hint)


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


def _lines(operations: list[dict[str, Any]], now: datetime) -> list[str | Text]:
    """A line an operation; two where the terminal is too narrow. Nothing is ever cut short."""
    headings = ("ID", "TENANT", "OPERATION", "STATE", "STARTED", "EFFECTS UNDONE", "ENGINE")
    lines = columns((_cells(one, now) for one in operations), heading=headings)
    if not operations:
        return []
    if not stdout.is_terminal or max(line.cell_len for line in lines) <= stdout.width:
        return [*lines]
    pairs: list[str | Text] = []
    for one in operations:
        known, tenant, operation, state, started, undone, engine = _cells(one, now)
        pairs.append(Text.assemble(known, "  ", state, f", started {started}"))
        effects = "" if undone == _UNKNOWN else f", effects undone: {undone}"
        pairs.append(f"    {operation} of {tenant}{effects}{engine and ', '}{engine}")
    return pairs


def _cells(one: Mapping[str, Any], now: datetime) -> tuple[str, str, str, Text, str, str, str]:
    effects = one.get("effects")
    return (
        one["id"],
        one["tenant"],
        one["operation"],
        styled(_COLOURS.get(one["state"], escape(str(one["state"]))))
        + (" (canceled)" if one.get("canceled") else ""),
        room.ago(room.instant(one["started_at"]), now),
        _UNKNOWN if effects is None else f"{one.get('effects_undone')} of {effects}",
        room.engine_text(one.get("engine")),
    )
