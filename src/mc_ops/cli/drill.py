"""`mcctl drill run`: break the running platform for real, under load, and measure RTO and RPO.

stdout is the result, progress goes to stderr. Exit 0: the targets are met, 1: they are not, 2: usage,
3: could not tell (the platform does not answer, the drill is blind), 5: declined or interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.markup import escape

from mc_contract.drill import SCENARIOS
from mc_contract.numbers import counted
from mc_ops import backups, exit_codes
from mc_ops import drills as room
from mc_ops.cli.operator_access import YesOption, confirm_by_word
from mc_ops.cli.options import EnvOption, Number, Verbs, Whole
from mc_ops.cli.output import (
    Format,
    OutputOption,
    columns,
    emit_json,
    note,
    print_check,
    show,
    stdout,
)
from mc_ops.environments import credentials, startable_regions
from mc_ops.environments.workspace import is_second
from mc_ops.errors import UnusableInput

_RATE, _LEAST_RATE = 25.0, 20.0  # 20 a second show an RTO to 50 ms
_MOST_RATE, _MOST_S = 500.0, 600.0
_TENANTS = ("TENANT_001", "TENANT_002", "TENANT_003")
_VERDICTS = {
    True: ("pass", "met", exit_codes.OK),
    False: ("fail", "not met", exit_codes.FINDING),
    None: ("unknown", "could not tell", exit_codes.COULD_NOT_TELL),
}

app = Verbs()


# Over 60 lines because its options are: they are the interface, and stand where typer reads them
@app.command()
def run(
    scenario: Annotated[
        str, typer.Option("--scenario", help=f"What is broken: {', '.join(SCENARIOS)}.")
    ],
    tenant: Annotated[
        list[str] | None,
        typer.Option(
            "--tenant",
            help="Tenant whose requests are measured; repeatable. Default: all sample tenants.",
        ),
    ] = None,
    rate: Annotated[
        Number,
        typer.Option(
            "--rate",
            max=_MOST_RATE,
            help=f"Requests per second of each tenant; at least {_LEAST_RATE:g}.",
        ),
    ] = _RATE,
    operations: Annotated[
        Number,
        typer.Option(
            "--operations",
            min=1,
            max=_MOST_RATE,
            help="Operations per second of each tenant that may; with two regions.",
        ),
    ] = 5.0,
    before: Annotated[
        Number,
        typer.Option("--before", min=2, max=_MOST_S, help="Seconds of load before the fault."),
    ] = 5.0,
    freeze: Annotated[
        Number, typer.Option("--freeze", min=1, max=_MOST_S, help="Seconds that `freeze` lasts.")
    ] = 5.0,
    cut: Annotated[
        Number, typer.Option("--cut", min=5, max=_MOST_S, help="Seconds that `link-cut` lasts.")
    ] = 60.0,
    max_rto: Annotated[
        Number, typer.Option("--max-rto", min=0, max=_MOST_S, help="RTO target in seconds.")
    ] = 60.0,
    max_lost: Annotated[
        Whole | None,
        typer.Option(
            "--max-lost",
            min=0,
            help="RPO target: acknowledged writes of a tenant lost. Default: 0; with two regions one "
            "second's of a tenant that does not wait for the other region; in `restore` of one region what the "
            "WAL archive may lack.",
        ),
    ] = None,
    times: Annotated[
        Whole,
        typer.Option("--times", min=1, max=100, help="So many drills, alternating sides."),
    ] = 1,
    results: Annotated[
        Path, typer.Option("--results", help="File to which the lines of RTO and RPO are added.")
    ] = Path("out/dr-drill-results.txt"),
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Output folder; default: a new one in MC_HOME/runs."),
    ] = None,
    yes: YesOption = False,
    env: EnvOption = "local",
    output: OutputOption = Format.table,
) -> None:
    """Break the platform, bring it back, and measure RTO and RPO for each tenant.

    The platform must run. It is broken for real, and up again when the command ends, also when it is
    interrupted.
    """
    if scenario not in SCENARIOS:
        raise UnusableInput(f"unknown scenario {scenario!r}", hint=f"known: {', '.join(SCENARIOS)}")
    if rate < _LEAST_RATE:
        raise UnusableInput(
            f"--rate is {rate:g}, and less than {_LEAST_RATE:g} a second show an RTO to no better than {1 / _LEAST_RATE:g} s, "
            "nor what the control loses",
            hint="for less load name one --tenant, or fewer --operations",
        )
    if env != "local":
        raise UnusableInput(
            f"a drill breaks a platform on this machine; it cannot break one of --env {env} yet",
            hint="run it where `mcctl up` started the platform",
        )
    regions = startable_regions(env)
    workspace = regions[0].workspace
    if is_second(workspace.home):
        raise UnusableInput(
            f"{workspace.home} is a second region, and a drill is of both",
            hint=f"run it with MC_HOME={workspace.home.parent}",
        )
    plan = room.Plan(
        scenario=scenario,
        tokens={
            name: credentials.tenant_token(workspace, name)
            for name in dict.fromkeys(tenant or _TENANTS)
        },
        rate_per_s=rate,
        before_s=before,
        freeze_s=freeze,
        cut_s=cut,
        most_rto_s=max_rto,
        most_lost=max_lost or 0,
    )
    if plan.restores:
        regions[0].database()  # one that is not ours is refused before anything is asked
        plan = replace(plan, operator=credentials.tenant_token(workspace, "OPERATOR"))
        if max_lost is None:
            plan = replace(plan, most_lost=math.ceil(plan.writes_per_s * backups.usual_wal_s()))
    region = regions[0].region()
    if len(regions) > 1:
        operator, administrator = (
            credentials.tenant_token(workspace, name) for name in ("OPERATOR", "ADMINISTRATOR")
        )
        plan = room.between_regions(
            replace(plan, operator=operator, operations_per_s=operations, puts_back=times == 1),
            regions,
            administrator,
        )
        if max_lost is None:
            plan = replace(plan, most_lost=math.ceil(plan.writes_per_s))
        region = plan.home
    elif plan.cuts:
        raise UnusableInput(
            "link-cut cuts two regions from each other, and one runs here",
            hint="start two: mcctl up --regions 2",
        )
    for line in plan.lines():
        note(escape(line))
    confirm_by_word(f"This breaks region {region} for real.", region, yes=yes)
    folder = out or workspace.runs / f"drill-{datetime.now(UTC):%Y%m%dT%H%M%SZ}" / "drill"
    if times > 1:
        several = room.run_drills(regions, plan, folder, times, lambda line: note(escape(line)))
        for one in several:
            room.append_results(results, one.results())
        _tell_all(several, output)
    finished = room.run_drill(regions, plan, folder, lambda line: note(escape(line)))
    room.append_results(results, finished.results())
    status, word, code = _VERDICTS[finished.figures["met"]]
    if output is Format.json:
        emit_json({**finished.as_dict(), "files": str(folder)})
    else:
        for row in _table(finished.figures):
            stdout.print(row)
        for line in finished.lines():
            stdout.print(line, markup=False)
        print_check(status, f"drill {scenario}", _told(finished, word))
        stdout.print(f"files  {folder}; {results}", markup=False)
    raise typer.Exit(code)


def _tell_all(finished: Sequence[room.Finished], output: Format) -> NoReturn:
    """The table of several drills, and the exit code of all."""
    told = room.summary(finished)
    rows = [
        (
            name,
            *(_median(one[part]) for part in ("rto_s", "detection_s", "lease_s", "move_s")),
            "-" if one["rto_s"] is None else _seconds(one["rto_s"]["max"]),
            _seconds(one["rpo_s"]),
            *(str(one[count]) for count in ("never", "acknowledged", "lost", "lost_for_good")),
        )
        for name, one in told["tenants"].items()
    ]
    heading = (
        "tenant", "median RTO", "detection", "lease", "move", "max RTO", "max RPO", "never", "acknowledged",
        "lost", "for good",
    )  # fmt: skip
    show(output, told, columns(rows, heading=heading, right=range(1, len(heading))))
    status, word, code = _VERDICTS[told["met"]]
    if output is not Format.json:
        print_check(status, counted(told["drills"], "drill"), "; ".join([word, *told["problems"]]))
    raise typer.Exit(code)


def _median(value: dict[str, float] | None) -> str:
    return "-" if value is None else _seconds(value["median"])


def _table(figures: dict[str, Any]) -> list[Any]:
    rows = [
        (
            name,
            _seconds(one["rto_s"]),
            _seconds(one["rto_from_failure_s"]),
            _seconds(one["rpo_s"]),
            str(one["lost"]),
            *(str(one[outcome]) for outcome in ("acknowledged", "refused", "failed", "maybe")),
        )
        for name, one in {**figures["tenants"], "control": figures["control"]}.items()
    ]
    heading = (
        "tenant", "RTO", "from failure", "RPO", "lost", "acknowledged", "refused", "failed", "maybe",
    )  # fmt: skip
    return columns(rows, heading=heading, right=range(1, len(heading)))


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f} s"


def _told(finished: room.Finished, word: str) -> str:
    if finished.problem:
        return f"{word}: {finished.problem}"
    if finished.figures["blind"]:
        return f"{word}: the control shows nothing of the fault, so the drill would not see a loss"
    course = finished.course
    return (
        f"{word}: RTO at most {course.most_rto_s:g} s, at most {course.most_lost} acknowledged writes "
        "of a tenant lost"
    )
