"""What halts autonomy, where a verb tells how the platform does: nothing else shows that operations are refused."""

from __future__ import annotations

from collections.abc import Mapping
from shlex import quote
from typing import Any

from rich.markup import escape

from mc_ops import operations as room
from mc_ops.cli.operator_access import access_token
from mc_ops.cli.output import note, warn
from mc_ops.environments import Environment, EnvironmentStatus, State
from mc_ops.environments.workspace import HOST, SECOND
from mc_ops.errors import OpsError

_ALL = "*"
_TIMEOUT_S = 5.0


def told_halts(environment: Environment, found: EnvironmentStatus) -> list[dict[str, Any]] | None:
    """Warn of each halt; what `halts_of` tells, or None as well if that is not to be had, which is noted."""
    try:
        halts = halts_of(environment, found)
    except OpsError as error:
        hint = f"; {error.hint}" if error.hint else ""
        note(escape(f"whether autonomy is halted is not known: {error.message}{hint}"))
        return None
    for one in halts or ():
        warn(escape(halt_text(one)))
    return halts


def halt_text(one: Mapping[str, Any]) -> str:
    """A halt on one line."""
    return f"{one['told']}; when a person has looked: {one['resume']}"


def halts_of(environment: Environment, found: EnvironmentStatus) -> list[dict[str, Any]] | None:
    """Each halt of all tenants or of one, by every region that serves here; None: none serves.

    Raises:
        OpsError: a region does not tell.
    """
    regions = _serving(environment, found)
    if not regions:
        return None
    from mc_ops.service_client import OperatorClient  # late: nothing is asked of what does not run

    halts = []
    for second, url in regions.items():
        token = access_token(url, None)
        with OperatorClient(url, token=token, timeout_s=_TIMEOUT_S) as client:
            said = client.autonomy()
        own = [one for one in said["scopes"] if one["halted"] and one["by"] == one["scope"]]
        rows = room.scope_rows(own, room.instant(said["at"]))
        for one, row in zip(own, rows, strict=True):
            peer = one["switch"].get("region")
            if peer and len(regions) > 1:
                continue  # that region tells it itself
            halts.append(
                {
                    "scope": one["scope"],
                    "told": f"{second}{row.name}: autonomy {row.thrown}: {row.reason}",
                    **{key: one["switch"].get(key) for key in ("at", "principal", "source")},
                    "reason": one["switch"]["reason"],
                    "region": peer,
                    "resume": _resume(environment, one["scope"], second, peer),
                }
            )
    return halts


def _serving(environment: Environment, found: EnvironmentStatus) -> dict[str, str]:
    """The URL of each region that can be asked, by what its name has in front."""
    run = [p for p in found.everything if p.state is State.running and p not in found.failing]
    if environment.name != "local":
        return {"": found.url} if run else {}
    return {
        one.name.removesuffix("edge").replace("/", ": "): f"http://{HOST}:{one.port}"
        for one in run
        if one.name.rpartition("/")[2] == "edge"
    }


def _resume(environment: Environment, scope: str, second: str, peer: str | None) -> str:
    whose = "--all" if scope == _ALL else f"--tenant {quote(scope)}"
    command = f"mcctl autonomy resume {whose} --reason TEXT"
    if peer:
        return f"{command}, in region {peer}"
    home = environment.workspace.home / SECOND
    return f"MC_HOME={quote(str(home))} {command}" if second else command
