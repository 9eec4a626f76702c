"""`mcctl break-glass`: an operator's way into one tenant's data, opened by two, for minutes."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape

from mc_ops.cli.numeric import Whole
from mc_ops.cli.operator_access import (
    AsOption,
    ReasonOption,
    UrlOption,
    YesOption,
    acting_client,
    confirm,
    operator_client,
    require_said,
)
from mc_ops.cli.output import Format, OutputOption, emit_json, ok, stdout

app = typer.Typer(no_args_is_help=True)
GrantArgument = Annotated[str, typer.Argument(metavar="GRANT", help="Id of the grant.")]


@app.command()
def request(
    reason: ReasonOption,
    tenant: Annotated[str, typer.Option("--tenant", help="Tenant whose data is accessed.")],
    minutes: Annotated[
        Whole, typer.Option("--minutes", help="Duration in minutes from the approval, 1 to 240.")
    ] = 30,
    whose: AsOption = None,
    yes: YesOption = False,
    url: UrlOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Request access to a tenant's data; another operator must approve it."""
    with acting_client(url, whose) as client:
        confirm(f"Ask for a way into {tenant}'s data, for {minutes} minutes?", yes=yes)
        grant = client.ask_break_glass(tenant, minutes=minutes, reason=reason)
    _tell(grant, "asked for; another operator approves it within half an hour", output)


@app.command()
def approve(
    grant_id: GrantArgument,
    reason: ReasonOption,
    whose: AsOption = None,
    yes: YesOption = False,
    url: UrlOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Approve another operator's request; name yourself with --as or MC_TOKEN_FILE.

    Exit 1 if it is your own request or no longer pending.
    """
    require_said(whose, "an approval")
    with acting_client(url, whose) as client:
        confirm(f"Open a tenant's data by grant {grant_id}?", yes=yes)
        grant = client.approve_break_glass(grant_id, reason=reason)
    _tell(grant, "open", output)


@app.command()
def end(
    grant_id: GrantArgument,
    reason: ReasonOption,
    whose: AsOption = None,
    yes: YesOption = False,
    url: UrlOption = None,
    output: OutputOption = Format.table,
) -> None:
    """End a grant early. Exit 1 if it has ended already."""
    with acting_client(url, whose) as client:
        confirm(f"Close grant {grant_id}?", yes=yes)
        grant = client.end_break_glass(grant_id, reason=reason)
    _tell(grant, "closed", output)


@app.command("list")
def list_grants(
    whose: AsOption = None, url: UrlOption = None, output: OutputOption = Format.table
) -> None:
    """List the newest grants, active and ended."""
    with operator_client(url, whose) as client:
        found = client.grants()["grants"]
    if output is Format.json:
        emit_json({"grants": found})
        return
    if not found:
        stdout.print("no grant was ever asked for")
    for grant in found:
        _print(grant)


@app.command()
def task(
    task_id: Annotated[str, typer.Argument(metavar="TASK", help="Id of the task.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Tenant of the task.")],
    whose: AsOption = None,
    url: UrlOption = None,
) -> None:
    """Print a task of a tenant as JSON; needs an active grant and is recorded."""
    with acting_client(url, whose) as client:
        emit_json(client.tenant_task(tenant, task_id))


def _tell(grant: dict[str, Any], done: str, output: Format) -> None:
    if output is Format.json:
        emit_json(grant)
        return
    ok(f"{escape(grant['tenant'])}: {done}")
    _print(grant)


def _print(grant: dict[str, Any]) -> None:
    until = f" until {grant['expires_at']}" if grant["expires_at"] else ""
    stdout.print(f"{grant['id']}  {grant['state']}{until}", markup=False)
    approved = f", approved by {grant['approved_by']}" if grant["approved_by"] else ""
    stdout.print(
        f"    {grant['tenant']}, {grant['minutes']} min, asked for by {grant['asked_by']}{approved}",
        markup=False,
    )
    stdout.print(f"    why: {grant['reason']}", markup=False)
