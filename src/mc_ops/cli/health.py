"""`mcctl health day-1`: the runbook's morning check, whole: gateway, policy, speed, cost, platform."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mc_ops.cli.options import Verbs
from mc_ops.cli.output import json_text, show
from mc_ops.cli.scaling import oscillation_figure
from mc_ops.cli.slo_access import (
    FigureOptions,
    LeastOption,
    PricesOption,
    dead_replicas,
    exit_code,
    figure_lines,
    least_replicas,
    prices,
    replicas,
    source_json,
    verdict_line,
)
from mc_ops.errors import OpsError
from mc_ops.files import writing

if TYPE_CHECKING:
    from mc_ops.slo import Figure
    from mc_ops.slo.health import Section

app = Verbs()


class Part(StrEnum):
    """The sections of the morning check."""

    morning = "morning"
    policy = "policy"
    performance = "performance"
    cost = "cost"
    platform = "platform"


@app.command("day-1")
def day_1(
    call: FigureOptions,
    section: Annotated[
        list[Part] | None,
        typer.Option("--section", help="Only this section of the check; repeatable."),
    ] = None,
    price_file: PricesOption = None,
    min_replicas: LeastOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write the result as JSON to this file.")
    ] = None,
) -> None:
    """Run the daily health check. Exit 0 healthy, 1 a check failed, 3 unknown."""
    asked, priced = call.asked(), prices(price_file)
    from mc_ops.slo import Measure, costs, overall
    from mc_ops.slo import health as room
    from mc_ops.slo.levels import replicas as counted

    parts = set(section or Part)
    sections: list[Section] = []
    with call.open() as source:
        measure = Measure(source, asked)
        if Part.morning in parts:
            sections.append(room.morning(measure))
        if Part.policy in parts:
            sections.append(room.policy(measure))
        if Part.performance in parts:
            sections.append(room.performance(measure))
        if Part.cost in parts:
            figures = costs(measure, priced).figures
            count = counted(measure, least_replicas(min_replicas, call.env))
            sections.append(room.cost(figures, count, oscillation_figure(source, call.env)))
        if Part.platform in parts:
            sections.append(room.platform(measure, _replicas_health(call.scrape, call.env)))
        told = source_json(source)
    every = [one for part in sections for one in part.figures]
    verdict = overall(every, allow_few=call.allow_few)
    report = {"verdict": verdict.value, "source": told, "sections": _json(sections)}
    if out:
        text = json_text(report)
        with writing(out):
            out.write_text(text, encoding="utf-8")
    lines = figure_lines({part.title: part.figures for part in sections})
    show(call.output, report, [*lines, "", verdict_line(verdict)])
    raise typer.Exit(exit_code(verdict, every, allow_few=call.allow_few))


def _replicas_health(scrape: list[str] | None, env: str) -> list[Figure]:
    """Each replica's /health; unknown where Prometheus sees replicas that cannot be reached here."""
    from mc_ops.slo import health as room

    try:
        known, dead = replicas(scrape, env=env), dead_replicas(scrape, env=env)
    except OpsError as error:
        return [room.nobody_asked(error.message)]
    return room.replicas_health(known, dead)


def _json(sections: list[Section]) -> list[dict[str, object]]:
    return [
        {
            "name": part.name,
            "title": part.title,
            "checks": [one.as_json() for one in part.figures],
        }
        for part in sections
    ]
