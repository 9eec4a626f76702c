"""`mcctl autonomy halt, resume, status`: the switch that stops every enactment at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from mc_ops import operations as room
from mc_ops.cli.operator_access import Changing, Reading, confirm_by_word
from mc_ops.cli.options import Verbs
from mc_ops.cli.output import Format, columns, emit_json, indented, note, ok, styled
from mc_ops.errors import Finding, UnusableInput

if TYPE_CHECKING:
    from rich.text import Text

app = Verbs()

_ALL = "*"
TenantOption = Annotated[str | None, typer.Option("--tenant", help="Only this tenant.")]
AllOption = Annotated[bool, typer.Option("--all", help="All tenants.")]


@app.command()
def halt(call: Changing, tenant: TenantOption = None, all_: AllOption = False) -> None:
    """Refuse new operations of a tenant, or of all tenants."""
    scope = _scope(tenant, all_)
    with call.acting() as client:
        if all_:
            note(
                "Every new operation of every tenant is refused until `mcctl autonomy resume --all`."
            )
            confirm_by_word("Halt all tenants?", "halt", yes=call.yes)
        else:
            call.confirm(f"Refuse every new operation of {scope}?")
        _tell(client.halt(scope, reason=call.reason), "halted", call.output)


@app.command()
def resume(call: Changing, tenant: TenantOption = None, all_: AllOption = False) -> None:
    """Permit operations of a tenant, or of all, again; resets the circuit breaker's count."""
    scope = _scope(tenant, all_)
    with call.acting() as client:
        if all_:
            note("A tenant that is halted by itself stays halted.")
            confirm_by_word("Resume all tenants?", "resume", yes=call.yes)
        else:
            call.confirm(f"Let {scope} enact operations again?")
        _tell(client.resume(scope, reason=call.reason), "resumed", call.output)


@app.command()
def status(call: Reading, tenant: TenantOption = None, all_: AllOption = False) -> None:
    """Show which tenants are halted, by whom and why, and the circuit breaker's counts."""
    wanted = _scope(tenant, all_) if tenant or all_ else None
    with call.client() as client:
        found = client.autonomy()
    scopes = [one for one in found["scopes"] if wanted in (None, one["scope"])]
    if tenant and (error := room.unknown_tenant(tenant, found["scopes"])):
        raise error
    if call.output is Format.table:
        note(_limits(found["breaker"]))
    everybody = [one for one in found["scopes"] if one["scope"] == _ALL and one not in scopes]
    rows = room.scope_rows([*scopes, *everybody], room.instant(found["at"]))[: len(scopes)]
    call.show({"at": found["at"], "breaker": found["breaker"], "scopes": scopes}, _lines(rows))


def _limits(breaker: Mapping[str, Any]) -> str:
    state = "on" if breaker["enabled"] else "off: it measures and halts nothing"
    return (
        f"breaker {state}; it halts a tenant when, with confidence, more than {100 * breaker['ratio']:.3g} % of at least "
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
    peer = (thrown["switch"] or {}).get("region")
    if done == "resumed" and thrown["halted"] and peer:
        raise Finding(
            f"{who}: {'resumed' if thrown['changed'] else 'not halted'} in this region, and region "
            f"{peer} still halts; nothing is enacted",
            hint=f"resume it in {peer} as well (mcctl with the MC_HOME or MC_URL of that region)",
        )
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


def _lines(rows: list[room.ScopeRow]) -> Iterator[str | Text]:
    """Each scope on a line that is never cut short; who threw its switch, and why, beneath."""
    marks = {True: styled("[red]✘ halted[/red]"), False: styled("[green]✔ on[/green]")}
    heads, *lines = columns(
        ((row.name, marks[row.halted], row.since, row.figures) for row in rows),
        heading=("SCOPE", "AUTONOMY", "SINCE", "COMPENSATED"),
    )
    yield heads
    for row, line in zip(rows, lines, strict=True):
        yield line
        yield from indented(row.thrown, 4)
        yield from indented(row.reason and f"why: {row.reason}", 4)
