"""`mcctl home list, show, move`: which region enacts for a tenant, and moving that by a person."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from mc_ops import exit_codes
from mc_ops.cli.operator_access import Changing, Reading, confirm_by_word
from mc_ops.cli.options import Number, Verbs
from mc_ops.cli.output import columns, note, ok, warn
from mc_ops.environments import Workspace
from mc_ops.environments.drill_lock import require_no_drill
from mc_ops.errors import UnusableInput

if TYPE_CHECKING:
    from rich.text import Text

    from mc_ops.service_client import OperatorClient

app = Verbs()

_LOOK_S = 0.5
_SILENT_S = 5.0
_NO_HOMES = {
    None: "there is one region: it is every tenant's home",
    "person": "`mcctl home move --force` gives a tenant its first",
}
_NONE: dict[str, Any] = {"region": None, "term": 0, "bound_for": None}
TenantOption = Annotated[str, typer.Option("--tenant", help="Tenant whose home it is.")]


@app.command("list")
def list_homes(call: Reading) -> None:
    """List tenants with their home region, and when each region renewed its lease."""
    with call.client() as client:
        told = client.homes()
    if told["decided_by"] is None:
        note(f"there is one region, {escape(told['region'])}: it is every tenant's home")
    elif told["decided_by"] == "person":
        note("a person decides which region is a tenant's home: no region takes one by itself")
    for one in told["regions"]:
        age_s = one["renewed_s_ago"]
        say = note if age_s < _SILENT_S else warn
        say(f"region {escape(one['region'])} renewed its lease, or was heard, {age_s:g} s ago")
    call.show(told, _lines(told["homes"]))


@app.command()
def show(tenant: TenantOption, call: Reading) -> None:
    """Show a tenant's home: since which term, who decided it, and why."""
    with call.client() as client:
        home = _home(client.homes(), tenant)
    call.show(home, _lines([home]))


@app.command()
def move(
    tenant: TenantOption,
    to: Annotated[str, typer.Option("--to", help="Region that is to be the home.")],
    call: Changing,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Make the region that is asked the home now, though nobody knows whether the former home "
            "has stopped; where a person decides, and for the first home of a tenant.",
        ),
    ] = False,
    wait: Annotated[
        Number, typer.Option(min=0, help="Maximum time to wait for the move, in seconds.")
    ] = 30.0,
) -> None:
    """Move a tenant's home to another region; exit 3 if it has not arrived in time."""
    if call.url is None:
        require_no_drill(Workspace.from_env().home)
    with call.acting() as client:
        told = client.homes()
        known = {one["tenant"] for one in told["homes"]}
        home = _NONE | {"tenant": tenant} if force and tenant not in known else _home(told, tenant)
        if to not in (names := [one["region"] for one in told["regions"]]):
            raise UnusableInput(
                f"unknown region {to[:64]!r}; nothing was moved", hint=f"known: {', '.join(names)}"
            )
        (_plan_force if force else _plan)(told, home, to)
        confirm_by_word(f"Move the home of {tenant} to {to}?", to, yes=call.yes)
        client.move_home(tenant, to=to, reason=call.reason, force=force)
        arrived = _arrival(client, home, to, wait)
    call.show(arrived, _lines([arrived]))
    if arrived["region"] != to or arrived["bound_for"]:
        warn(f"{escape(to)} has not taken it yet: nobody enacts for {escape(tenant)} until then")
        raise typer.Exit(exit_codes.COULD_NOT_TELL)
    ok(f"{escape(to)} is the home of {escape(tenant)}, in term {arrived['term']}")


def _plan(told: Mapping[str, Any], home: Mapping[str, Any], to: str) -> None:
    """Say what the move does, and what may be lost by it."""
    former = str(home["region"])
    note(f"{escape(home['tenant'])}: from {escape(former)} (term {home['term']}) to {escape(to)}")
    note("1. the former home begins no further effect; operations are refused for some 4 s")
    note(f"2. {escape(to)} takes the home with the next term, and enacts")
    note(
        f"3. operations that {escape(former)} has under way are ended by {escape(to)} as far as they have "
        "been replicated; without replication they stay there unfinished, and their effects so far stand"
    )
    _warn_of_loss(told, former)


def _plan_force(told: Mapping[str, Any], home: Mapping[str, Any], to: str) -> None:
    """Say what is done at once, and what nobody can know then."""
    tenant, former = escape(home["tenant"]), home["region"]
    if former is None:
        note(
            f"{tenant}: {escape(to)} becomes the first home; no other is known to {escape(told['region'])}"
        )
        warn("if the other region has one that has not come here yet, both enact until it has")
        return
    note(
        f"{tenant}: {escape(to)} takes the home from {escape(former)} now, with a term above {home['term']}"
    )
    if former != to:
        warn(
            f"whether {escape(former)} has stopped is not known here: if it runs, it enacts as well, in its "
            "older term, until this order has come to it; see that it is dead, or cut it off from receivers"
        )
    _warn_of_loss(told, former)


def _warn_of_loss(told: Mapping[str, Any], former: str) -> None:
    ages_s = {one["region"]: one["renewed_s_ago"] for one in told["regions"]}
    if ages_s.get(former, 0.0) > _SILENT_S:
        warn(
            f"{escape(former)} has not been heard for {ages_s[former]:g} s: what it recorded and "
            "has not replicated is not known here: tasks, charges of budgets, halts"
        )


def _arrival(
    client: OperatorClient, before: Mapping[str, Any], to: str, wait_s: float
) -> dict[str, Any]:
    deadline = time.monotonic() + wait_s
    while True:
        home = _home(client.homes(), before["tenant"])
        if (home["region"] == to and home["term"] > before["term"]) or time.monotonic() >= deadline:
            return home
        time.sleep(_LOOK_S)


def _home(told: Mapping[str, Any], tenant: str) -> dict[str, Any]:
    for home in told["homes"]:
        if home["tenant"] == tenant:
            return dict(home)
    names = ", ".join(one["tenant"] for one in told["homes"])
    hint = f"known: {names}" if names else _NO_HOMES.get(told["decided_by"], "ask again")
    raise UnusableInput(f"no home is kept of tenant {tenant[:64]!r}", hint=hint)


def _lines(homes: Sequence[Mapping[str, Any]]) -> list[Text]:
    return columns(
        [
            (
                one["tenant"],
                f"{one['region']} -> {one['bound_for']}" if one["bound_for"] else one["region"],
                str(one["term"]),
                one["from_region"] or "-",
                one["principal"],
                one["reason"],
            )
            for one in homes
        ],
        heading=("TENANT", "HOME", "TERM", "BEFORE", "DECIDED BY", "WHY"),
        right=[2],
    )
