"""`mcctl break-glass`: an operator's way into one tenant's data, opened by two, for minutes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.markup import escape

from mc_contract.numbers import counted
from mc_ops.cli.operator_access import Access, Changing, Reading, require_said
from mc_ops.cli.options import Verbs, Whole
from mc_ops.cli.output import Format, emit_json, ok

app = Verbs()
GrantArgument = Annotated[str, typer.Argument(metavar="GRANT", help="Id of the grant.")]


@app.command()
def request(
    call: Changing,
    tenant: Annotated[str, typer.Option("--tenant", help="Tenant whose data is accessed.")],
    minutes: Annotated[
        Whole, typer.Option("--minutes", help="Duration in minutes from the approval, 1 to 240.")
    ] = 30,
) -> None:
    """Request access to a tenant's data; another operator must approve it."""
    with call.acting() as client:
        call.confirm(f"Request access to the data of {tenant} for {counted(minutes, 'minute')}?")
        grant = client.ask_break_glass(tenant, minutes=minutes, reason=call.reason)
    _tell(grant, "requested; another operator must approve it within half an hour", call)


@app.command()
def approve(grant_id: GrantArgument, call: Changing) -> None:
    """Approve another operator's request; name yourself with --as or MC_TOKEN_FILE.

    Exit 1 if it is your own request or no longer pending.
    """
    require_said(call.whose, "an approval")
    with call.acting() as client:
        call.confirm(
            f"Approve grant {grant_id}, which gives another operator access to a tenant's data?"
        )
        grant = client.approve_break_glass(grant_id, reason=call.reason)
    _tell(grant, "access is granted", call)


@app.command()
def end(grant_id: GrantArgument, call: Changing) -> None:
    """End a grant early. Exit 1 if it has ended already."""
    with call.acting() as client:
        call.confirm(f"End grant {grant_id}?")
        grant = client.end_break_glass(grant_id, reason=call.reason)
    _tell(grant, "access has ended", call)


@app.command("list")
def list_grants(call: Reading) -> None:
    """List the newest grants, active and ended."""
    with call.client() as client:
        found = client.grants()["grants"]
    lines = [line for grant in found for line in _lines(grant)]
    call.show({"grants": found}, lines or ["no grant exists"])


@app.command()
def task(
    task_id: Annotated[str, typer.Argument(metavar="TASK", help="Id of the task.")],
    tenant: Annotated[str, typer.Option("--tenant", help="Tenant of the task.")],
    call: Access,
) -> None:
    """Print a task of a tenant as JSON; needs an active grant and is recorded."""
    with call.acting() as client:
        emit_json(client.tenant_task(tenant, task_id))


def _tell(grant: dict[str, Any], done: str, call: Reading) -> None:
    if call.output is Format.table:
        ok(f"{escape(grant['tenant'])}: {done}")
    call.show(grant, _lines(grant))


def _lines(grant: dict[str, Any]) -> Iterator[str]:
    until = f" until {grant['expires_at']}" if grant["expires_at"] else ""
    yield f"{grant['id']}  {grant['state']}{until}"
    approved = f", approved by {grant['approved_by']}" if grant["approved_by"] else ""
    asked = f"requested by {grant['asked_by']}{approved}"
    yield f"    {grant['tenant']}, {grant['minutes']} min, {asked}"
    yield f"    why: {grant['reason']}"
