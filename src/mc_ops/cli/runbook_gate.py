"""Gates on the command line: who decides, asking at the terminal, and deciding from elsewhere."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import select
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import typer
from rich.markup import escape

from mc_ops import runbooks as room
from mc_ops.cli.operator_access import TOKEN_FILE, access_token
from mc_ops.cli.output import note, stderr
from mc_ops.environments import Workspace, credentials
from mc_ops.errors import CouldNotTell, Declined, UnusableInput

_KEY_ID = re.compile(r"mc_([0-9a-f]{12})_")
_POLL_S = 0.2


def who(workspace: Workspace, whose: str | None) -> dict[str, str]:
    """Who runs this: the system's user and host, with the principal or key id of a token they name.

    No service is asked, for it may be down: a runbook that restores it must not need it.

    Raises:
        NotAllowed, CouldNotTell: A token is named that cannot be used.
    """
    if os.environ.get(TOKEN_FILE):
        found = _KEY_ID.match(access_token(None, whose))
        return room.person(key_id=found[1] if found else "")
    if whose:
        access_token(None, whose)
        return room.person(principal=credentials.principal_of(workspace, whose))
    return room.person()


def ask(
    opened: room.Opened, settled: Callable[[], bool], by: dict[str, str]
) -> room.Decision | None:
    """Ask at the terminal, until somebody has decided; None without one, or to leave it waiting."""
    show_text(opened)
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return None
    stderr.print(
        "[bold]approve[/bold], [bold]reject[/bold] (with a reason behind it), or "
        "[bold]later[/bold] to leave the run waiting?"
    )
    while not settled():
        if not select.select([sys.stdin], [], [], _POLL_S)[0]:
            continue
        word, _, reason = sys.stdin.readline().strip().partition(" ")
        if word in ("approve", "reject"):
            return room.Decision(word == "approve", by, reason.strip())
        if word in ("later", ""):
            return None
        stderr.print("approve, reject or later")
    return None


def show_text(opened: room.Opened) -> None:
    """What a person reads before they decide."""
    whom = f"  (for {opened.assignee})" if opened.assignee else ""
    stderr.print(f"[bold]gate {escape(opened.id)}[/bold]: {escape(opened.title + whom)}")
    for line in opened.text.rstrip().split("\n"):
        stderr.print(f"  {line}", markup=False)
    stderr.print(f"  sha256 {opened.text_sha256}", markup=False)


def decide(
    store: room.RunStore, run_id: str, gate: str, decision: room.Decision, *, yes: bool
) -> room.Opened:
    """Record a decision from outside the run, after showing what it is about.

    Raises:
        UnusableInput: The run does not wait at that gate, or somebody else has decided.
        NotAllowed: Whoever started the run may not.
        Declined: The person did not confirm.
    """
    opened = _opened(store.state(run_id), run_id, gate)
    show_text(opened)
    verb = "approve" if decision.approve else "reject"
    if not yes and sys.stdin.isatty() and not typer.confirm(f"{verb} this?", err=True):
        raise Declined(f"gate {opened.id} was left waiting")
    journal = room.Journal(
        store.folder(run_id), clock=lambda: datetime.now(UTC), environment=os.environ
    )
    room.decide(room.Record(journal, room.RunState()), opened, decision)
    return opened


def _opened(state: room.RunState, run_id: str, gate: str) -> room.Opened:
    known = room.waiting(state)
    if not gate and len(known) == 1:
        return next(iter(known.values()))
    if gate in known:
        return known[gate]
    step = state.steps.get(gate)
    if step and step.decision and step.outcome is not room.Outcome.waiting:
        raise UnusableInput(f"gate {gate} is decided: {room.said(step)}")
    decided = [
        f"{step_id} was {room.said(step)}"
        for step_id, step in state.steps.items()
        if step.decision and step.outcome is not room.Outcome.waiting
    ]
    what = f"gate {gate}" if gate else "a gate"
    told = f"; {decided[-1]}" if decided else ""
    raise UnusableInput(
        f"run {run_id} does not wait at {what} ({state.outcome}{told})",
        hint=f"mcctl runbook status {run_id}",
    )


def how_to_decide(run_id: str, opened: room.Opened) -> str:
    """The command that approves, and who is meant."""
    whom = f" (for {opened.assignee})" if opened.assignee else ""
    other = ", not by whoever started the run" if opened.not_by_starter else ""
    return f"mcctl runbook approve {run_id} --gate {opened.id}{whom}{other}"


def secret_of_cluster(secret: str, key: str) -> str:
    """The value of a Secret's key, in the namespace of `MC_NAMESPACE` or else of kubectl's context.

    Raises:
        CouldNotTell: kubectl is not there, or gives none.
        UnusableInput: The Secret has no such key, or it is no text.
    """
    from mc_ops.preflight.kubernetes.cluster import kubectl  # late: most runs need no cluster

    namespace = os.environ.get("MC_NAMESPACE")
    where = ("-n", namespace) if namespace else ()
    answer = kubectl("get", "secret", secret, *where, "-o", "json")
    if answer.code != 0:
        raise CouldNotTell(f"the Secret {secret} cannot be read: {answer.said[:200]}")
    try:
        data = json.loads(answer.out).get("data") or {}
        return base64.b64decode(data[key], validate=True).decode()
    except (KeyError, ValueError, AttributeError, binascii.Error):
        raise UnusableInput(f"the Secret {secret} has no key {key} with a text") from None


def tell_waiting(run_id: str, state: room.RunState) -> None:
    """Say where a run waits, and how it goes on."""
    for opened in room.waiting(state).values():
        note(f"  → gate {opened.id}: {escape(how_to_decide(run_id, opened))}")
