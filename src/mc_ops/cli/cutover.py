"""What a cutover is backed by: a finished canary whose candidate is what is to serve.

`--run` names the canary. Without it the newest one since the last cutover that compared this
colour counts; where there is none, as after a fresh start or on the way back, the plan says so.
`--without-canary` goes on whatever canaries say, and says that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mc_ops.cli.ledger_access import ledger_key
from mc_ops.environments import (
    Colour,
    Environment,
    Instance,
    Workspace,
    credentials,
    open_environment,
)
from mc_ops.errors import CouldNotTell, Finding, UnusableInput
from mc_ops.files import write_atomically

if TYPE_CHECKING:
    from mc_contract.canary_override import Override
    from mc_ops.canary.override import Judged

_CANARY = "CANARY"  # the tenant whose requests have no effect
_ANYWAY = "or cut over without a canary: --without-canary"


@dataclass(frozen=True, slots=True)
class Backing:
    """What a cutover leans on.

    Attributes:
        told: In words, for the plan.
        judged: The canary; None where there is none, or none is wanted.
        token: Shown to replicas of another machine, which tell strangers nothing.
    """

    told: str
    judged: Judged | None = None
    token: str | None = None

    def hold(self, instances: Sequence[Instance]) -> None:
        """Refuse replicas that are not, process by process, those that were compared.

        Raises:
            Finding: they are others.
            CouldNotTell: they do not say, or the canary recorded nothing.
        """
        if self.judged is not None:
            hold_now(self.judged, [instance.url for instance in instances], self.token)


def backing(environment: Environment, to: Colour, run: str | None, *, without: bool) -> Backing:
    """What a cutover to `to` leans on.

    Args:
        environment: Whose replicas and runs they are.
        to: The colour that is to serve.
        run: The canary that is named; None: the newest one since the last cutover.
        without: Whether none is wanted.

    Raises:
        Finding: the canary says HOLD, and nobody overrode it.
        CouldNotTell, UnusableInput: there is no verdict to be had of it.
    """
    from mc_ops.canary.candidate import last_cutover, newest_about
    from mc_ops.canary_folder import find_canary

    if without and run:
        raise UnusableInput("--run and --without-canary exclude each other", hint="give one")
    if without:
        return Backing("not backed by a canary (--without-canary)")
    workspace = environment.workspace
    urls = [one.url for one in environment.instances(to)]
    folder = (
        find_canary(run, workspace.runs)
        if run
        else newest_about(workspace.runs, urls, last_cutover(workspace.home))
    )
    if folder is None:
        return Backing(f"not backed by a canary: none compared {to} since the last cutover")
    judged, verdict = decided(str(folder), workspace)
    told = f"backed by the canary {judged.run}: {verdict}"
    return Backing(told, judged, token_shown_to(environment))


def decided(run: str, workspace: Workspace) -> tuple[Judged, str]:
    """A canary that lets its candidate serve, and its verdict in words.

    Raises:
        Finding: it says HOLD, and nobody overrode it.
        CouldNotTell, UnusableInput: there is no verdict to be had of it.
    """
    from mc_ops.cli.canary_override import verdict_line

    judged, found = read_decision(run, workspace, None)
    line = verdict_line(judged, found)
    if not judged.promote and found is None:
        raise Finding(
            f"{judged.run}: {line}",
            hint=f"mcctl canary override {judged.run} --reason ... lets it serve; {_ANYWAY}",
        )
    return judged, line


def read_decision(
    run: str, workspace: Workspace, key: Path | None
) -> tuple[Judged, Override | None]:
    """A canary judged again, and its override if it has one.

    Raises:
        Finding: it is a failed smoke check.
        UnusableInput: there is no such canary, or its files do not hold.
    """
    from mc_ops.canary.override import FailedSmoke, judge_again, override_in
    from mc_ops.canary_folder import find_canary

    try:
        judged = judge_again(find_canary(run, workspace.runs))
    except FailedSmoke as error:
        raise Finding(f"HOLD (smoke): {error.message}", hint=error.hint) from error
    found = None
    if not judged.promote and (judged.folder / "override.json").exists():
        found = override_in(judged, ledger_key(key))
    if found and found.run != judged.run:  # files of another run, put here
        raise UnusableInput(
            f"the override is of run {found.run}, and this is {judged.run}",
            hint="name the run that was overridden",
        )
    return judged, found


def hold_candidate(judged: Judged, env: str = "local") -> None:
    """Refuse a canary whose candidate is no longer what was compared.

    Raises:
        Finding: it was exchanged; the message says what differs.
        CouldNotTell: that cannot be told.
    """
    from mc_ops.canary.candidate import compared, same_places
    from mc_ops.canary_folder import urls_of

    urls, token = list(urls_of(judged.told, "candidate")), None
    colour = compared(judged)[0]["colour"]
    if colour in tuple(Colour):
        environment = open_environment(env)
        every = [one.url for one in environment.instances(Colour(colour))]
        if same_places(every, urls):  # else it was another platform's, or none of it runs
            urls, token = every, token_shown_to(environment)
    hold_now(judged, urls, token)


def hold_now(judged: Judged, urls: Sequence[str], token: str | None) -> None:
    """Ask what runs at the addresses, and hold it against what was compared."""
    from mc_ops.canary.candidate import hold
    from mc_ops.service_client.running import look

    hold(judged, look({"candidate": urls}, token)["candidate"])


def token_shown_to(environment: Environment) -> str | None:
    """The canary's token, if the workspace has one: replicas tell more to who is known than to strangers.

    On this machine they tell everybody, and a token that is not needed is not sent.
    """
    if environment.name == "local":
        return None
    try:
        return credentials.tenant_token(environment.workspace, _CANARY)
    except (CouldNotTell, UnusableInput):
        return None


def remember(workspace: Workspace, source: Colour | None, to: Colour, told: str) -> None:
    """Write down when traffic was moved, and what that was backed by."""
    from mc_ops.canary.candidate import CUTOVER

    at = datetime.now(UTC).isoformat(timespec="milliseconds")
    record = {"at": at, "from": source, "to": to, "backed_by": told}
    try:
        write_atomically(workspace.home / CUTOVER, json.dumps(record, indent=2) + "\n")
    except OSError as error:
        raise CouldNotTell(
            f"traffic goes to {to}, but that could not be recorded: {error.strerror}"
        ) from error
