"""`mcctl audit dead-letters list, resend`: dead letters, which are events that the SIEM refused for good."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from mc_contract.numbers import counted
from mc_ops import audit as room
from mc_ops import exit_codes
from mc_ops.cli.operator_access import Changing, Reading
from mc_ops.cli.options import Number, Verbs
from mc_ops.cli.output import columns, fail, ok, warn
from mc_ops.errors import UnusableInput

if TYPE_CHECKING:
    from rich.text import Text

    from mc_ops.service_client import OperatorClient

app = Verbs(help="List dead letters (events that the SIEM refused for good) and send them again.")

_LOOK_S = 0.5


@app.command("list")
def list_dead_letters(
    call: Reading,
    request: Annotated[
        str | None,
        typer.Option(
            "--request", help="Only dead letters of this resend request, delivered ones included."
        ),
    ] = None,
) -> None:
    """List dead letters with their reason and state."""
    with call.client() as client:
        found = list(_all(client, request))
    call.show({"dead_letters": found}, _lines(found))
    if not found:
        ok("there are no dead letters")


@app.command()
def resend(
    call: Changing,
    event: Annotated[
        list[str] | None, typer.Option("--event", help="Id of an event; repeatable.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only events refused since this time or age: 7d, 36h.")
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only events refused before this time or age.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="All dead letters.")] = False,
    wait: Annotated[
        Number, typer.Option(min=0, help="Maximum time to wait for delivery, in seconds.")
    ] = 30.0,
) -> None:
    """Send dead letters again; exit 1 if the SIEM refuses one again."""
    if [all_, bool(event), bool(since or until)].count(True) != 1:
        raise UnusableInput("name dead letters by --event, by --since and --until, or by --all")
    now = datetime.now(UTC)
    selection: dict[str, Any] = {
        "all": True if all_ else None,
        "event_ids": event or None,
        "since": room.moment(since, now) if since else None,
        "until": room.moment(until, now) if until else None,
    }
    with call.acting() as client:
        which = counted(len(event), "dead letter") if event else "all dead letters"
        call.confirm(f"Send {'those dead letters' if since or until else which} again?")
        asked = client.resend_dead_letters(reason=call.reason, **selection)
        settled = _wait(client, asked["request"], wait) if asked["request"] else []
    _tell(asked, settled, call)


def _all(client: OperatorClient, request: str | None) -> Iterator[dict[str, Any]]:
    after: str | None = None
    while True:
        page = client.dead_letters(after=after, request=request)
        yield from page["dead_letters"]
        after = page["next"]
        if after is None:
            return


def _wait(client: OperatorClient, request: str, wait_s: float) -> list[dict[str, Any]]:
    deadline = time.monotonic() + wait_s
    while True:
        letters = list(_all(client, request))
        if time.monotonic() >= deadline or not _in_state(letters, "waiting"):
            return letters
        time.sleep(_LOOK_S)


def _in_state(letters: list[dict[str, Any]], state: str) -> list[dict[str, Any]]:
    return [letter for letter in letters if letter["state"] == state]


def _tell(asked: dict[str, Any], letters: list[dict[str, Any]], call: Changing) -> None:
    taken, refused, waiting = (
        _in_state(letters, state) for state in ("taken", "refused-again", "waiting")
    )
    # Also those that another request has asked for since: they are no longer listed for this one
    unsettled = asked["asked"] - len(taken) - len(refused)
    counts = {"taken": len(taken), "refused": len(refused), "unsettled": unsettled}
    call.show({**asked, **counts, "dead_letters": letters}, _lines([*refused, *waiting]))
    if asked["waiting"]:
        warn(f"{asked['waiting']} of them wait already, for an earlier request")
    if not asked["asked"]:
        ok("nothing to send: no dead letter matches")
    elif refused:
        fail(f"{len(refused)} refused again, {len(taken)} taken, {unsettled} wait still")
        raise typer.Exit(exit_codes.FINDING)
    elif unsettled:
        warn(
            f"{len(taken)} taken; {unsettled} wait still: they are sent when the SIEM takes "
            f"events (mcctl audit dead-letters list --request {escape(asked['request'])})"
        )
        raise typer.Exit(exit_codes.COULD_NOT_TELL)
    else:
        ok(f"{counted(len(taken), 'dead letter')} sent again, and taken")


def _lines(letters: list[dict[str, Any]]) -> list[Text]:
    return columns(
        [
            (
                str(one["index"]),
                one["state"],
                f"{one['refused_at'][:19]}Z",
                one["event_id"],
                one["reason"],
            )
            for one in letters
        ],
        right=[0],
    )
