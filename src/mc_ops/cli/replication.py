"""`mcctl replication`: how two regions replicate to each other, as their databases know it; and mend it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich.markup import escape
from rich.text import Text

from mc_ops import exit_codes
from mc_ops.cli.options import EnvOption, Verbs
from mc_ops.cli.output import Format, OutputOption, columns, ok, show, warn
from mc_ops.environments import Environment, open_regions
from mc_ops.environments.administered import report_of, said_by
from mc_ops.environments.drill_lock import require_no_drill
from mc_ops.errors import CouldNotTell, UnusableInput

app = Verbs()

_SILENT_S = 10.0  # heartbeats come each second


@app.command()
def status(output: OutputOption = Format.table, env: EnvOption = "local") -> None:
    """Show both directions, the lag and the digests of what is replicated; exit 1 on a problem.

    On a machine with two regions both are asked, and their digests are compared.
    """
    reports = [_report(environment) for environment in open_regions(env)]
    digests = [report["digests"] for report in reports]
    differing = sorted(
        kind
        for kind in {kind for each in digests for kind in each}
        if any(each.get(kind) != digests[0].get(kind) for each in digests)
    )
    show(output, {"regions": reports, "differing": differing}, _lines(reports))
    problems = [f"{one['region']}: {what}" for one in reports for what in one["problems"]]
    problems += [
        f"{one['region']}: nothing has come from {one['peer']} for {one['lag_s']:.0f} s: is the link cut?"
        for one in reports
        if _is_silent(one["lag_s"]) and not one["problems"]
    ]
    for problem in problems:
        warn(escape(problem))
    if differing:
        warn(f"not the same in both regions: {', '.join(differing)}; within the lag that may be so")
    if problems or differing:
        raise typer.Exit(exit_codes.FINDING)
    if len(reports) > 1:
        ok("both regions replicate, and have the same")


@app.command()
def repair(output: OutputOption = Format.table, env: EnvOption = "local") -> None:
    """Mend lost slots, subscriptions that ended with a restore and refused rows; on a machine with two regions in both.

    Nothing is removed: rows that are there are skipped. What is copied again takes its time: `status` shows it.
    """
    regions = open_regions(env)
    require_no_drill(regions[0].workspace.home)
    reports = [_done(environment, "mended", "repair") for environment in reversed(regions)]
    rows = [
        (
            one["region"],
            one["peer"],
            "anew" if one["anew"] else "kept",
            str(one["told"]),
            str(one["refused"]),
        )
        for one in reports
    ]
    heading = ("REGION", "PEER", "SUBSCRIPTION", "TOLD", "REFUSED")
    show(output, {"regions": reports}, columns(rows, heading=heading))
    problems = [one for one in reports if one["why"] or one["refused"]]
    for one in problems:
        warn(escape(f"{one['region']}: {one['why'] or 'rows of the peer are refused still'}"))
    if problems:
        raise typer.Exit(exit_codes.FINDING)
    ok("repaired; mcctl replication status says when both have the same")


def _report(environment: Environment) -> dict[str, Any]:
    return _done(environment, "looked at", "status", "--digests")


def _done(environment: Environment, what: str, *verb: str) -> dict[str, Any]:
    done = environment.administer("replication", *verb)
    if done.returncode != exit_codes.OK:
        kind = UnusableInput if done.returncode == exit_codes.USAGE else CouldNotTell
        raise kind(
            f"replication of {environment.workspace.home} cannot be {what}: {said_by(done)[0].removeprefix('error: ')}",
            hint="does its database run? mcctl status; `mcctl up --regions 2` starts two regions; "
            "docs/how-to/regions.md sets others up",
        )
    return report_of(done)


def _lines(reports: Sequence[Mapping[str, Any]]) -> list[Text]:
    rows = []
    lags_s = {one["region"]: one["lag_s"] for one in reports}
    for one in reports:
        gets = bool(one["subscription"] and one["subscription"]["works"])
        gives = bool(one["slot"] and one["slot"]["active"])
        lag = "-" if one["lag_s"] is None else f"{one['lag_s']:.1f} s"
        states = [
            _state(works, lags_s.get(taker))
            for works, taker in ((gets, one["region"]), (gives, one["peer"]))
        ]
        rows.append((one["region"], one["peer"], *states, lag))
    return columns(rows, heading=("REGION", "PEER", "FROM PEER", "TO PEER", "LAG"))


def _state(works: bool, lag_s: float | None) -> str:
    """What a direction does: a connection over a link that is cut is open, and carries nothing."""
    return ("silent" if _is_silent(lag_s) else "streaming") if works else "stopped"


def _is_silent(lag_s: float | None) -> bool:
    return lag_s is not None and lag_s >= _SILENT_S
