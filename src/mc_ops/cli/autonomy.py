"""`mcctl autonomy halt, resume, status`: the switch that stops every enactment at once."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.markup import escape

from mc_ops import operations as room
from mc_ops.cli.operator_access import (
    AsOption,
    ReasonOption,
    UrlOption,
    YesOption,
    acting_client,
    confirm,
    confirm_by_word,
    operator_client,
)
from mc_ops.cli.output import Format, OutputOption, emit_json, note, ok, stdout
from mc_ops.errors import UnusableInput

app = typer.Typer(no_args_is_help=True)

_ALL = "*"
_INDENT = "    "
_LEAST_WIDTH = 20
TenantOption = Annotated[str | None, typer.Option("--tenant", help="Tenant.")]
AllOption = Annotated[bool, typer.Option("--all", help="All tenants.")]


@app.command()
def halt(
    reason: ReasonOption,
    tenant: TenantOption = None,
    all_: AllOption = False,
    whose: AsOption = None,
    yes: YesOption = False,
    url: UrlOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Refuse new operations of a tenant, or of all tenants."""
    scope = _scope(tenant, all_)
    with acting_client(url, whose) as client:
        if all_:
            note("Every operation of every tenant will be refused until somebody resumes them.")
            confirm_by_word("Halt all tenants?", "halt", yes=yes)
        else:
            confirm(f"Refuse every new operation of {scope}?", yes=yes)
        _tell(client.halt(scope, reason=reason), "halted", output)


@app.command()
def resume(
    reason: ReasonOption,
    tenant: TenantOption = None,
    all_: AllOption = False,
    whose: AsOption = None,
    yes: YesOption = False,
    url: UrlOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Permit operations of a tenant, or of all, again; resets the circuit breaker's count."""
    scope = _scope(tenant, all_)
    with acting_client(url, whose) as client:
        if all_:
            note("A tenant that is halted by itself stays halted.")
            confirm_by_word("Resume all tenants?", "resume", yes=yes)
        else:
            confirm(f"Let {scope} enact operations again?", yes=yes)
        _tell(client.resume(scope, reason=reason), "resumed", output)


@app.command()
def status(
    tenant: TenantOption = None,
    all_: AllOption = False,
    whose: AsOption = None,
    url: UrlOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Show which tenants are halted, by whom and why, and the circuit breaker's counts."""
    wanted = _scope(tenant, all_) if tenant or all_ else None
    with operator_client(url, whose) as client:
        found = client.autonomy()
    scopes = [one for one in found["scopes"] if wanted in (None, one["scope"])]
    if tenant and (error := room.unknown_tenant(tenant, found["scopes"])):
        raise error
    if output is Format.json:
        emit_json({"at": found["at"], "breaker": found["breaker"], "scopes": scopes})
        return
    note(_limits(found["breaker"]))
    everybody = [one for one in found["scopes"] if one["scope"] == _ALL and one not in scopes]
    rows = room.scope_rows([*scopes, *everybody], room.instant(found["at"]))[: len(scopes)]
    _print(rows)


def _limits(breaker: Mapping[str, Any]) -> str:
    state = "on" if breaker["enabled"] else "off: it measures and halts nothing"
    return (
        f"breaker {state}; it halts when surely more than {100 * breaker['ratio']:.3g} % of at least "
        f"{breaker['min_operations']} operations in {breaker['window_s'] / 3600:.3g} h were compensated"
    )


def _scope(tenant: str | None, all_: bool) -> str:
    if all_ == bool(tenant):
        raise UnusableInput("name one tenant with --tenant, or all of them with --all")
    return _ALL if all_ else str(tenant)


def _tell(thrown: dict[str, Any], done: str, output: Format) -> None:
    if output is Format.json:
        emit_json(thrown)
        return
    who = "all tenants" if thrown["scope"] == _ALL else escape(thrown["scope"])
    if thrown["changed"]:
        ok(f"{who}: {done} now")
        return
    switch = thrown["switch"]
    at = "" if switch is None else f"{room.instant(switch['at']):%Y-%m-%d %H:%M:%SZ}"
    if thrown["halted"]:
        ok(f"{who}: halted already since {at}; nothing was changed")
    else:
        resumed = f" (it was resumed {at})" if at else ""
        ok(f"{who}: had no halt of its own to resume{resumed}; nothing was changed")


def _print(rows: list[room.ScopeRow]) -> None:
    """Each scope on a line that is never cut short; who threw its switch, and why, beneath."""
    names = [len(name) for name in ("SCOPE", *(row.name for row in rows))]
    since = [len(text) for text in ("SINCE", *(row.since for row in rows))]
    name_width, since_width = max(names), max(since)
    stdout.print(f"{'SCOPE':{name_width}}  AUTONOMY  {'SINCE':{since_width}}  COMPENSATED")
    for row in rows:
        mark = "[red]✘ halted[/red]" if row.halted else "[green]✔ on[/green]    "
        name = escape(f"{row.name:{name_width}}")
        stdout.print(f"{name}  {mark}  {row.since:{since_width}}  {row.figures}")
        for line in (row.thrown, row.reason and f"why: {row.reason}"):
            _print_beneath(line)


def _print_beneath(line: str) -> None:
    # A pipe gets it on one line; a terminal would break it inside of words
    width = stdout.width - len(_INDENT) if stdout.is_terminal else len(line)
    for part in textwrap.wrap(line, max(_LEAST_WIDTH, width)):
        stdout.print(f"{_INDENT}{part}", markup=False)
