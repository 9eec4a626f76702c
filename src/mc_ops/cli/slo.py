"""`mcctl slo status`: each target of the runbook, its value, its error budget and its verdict."""

from __future__ import annotations

from typing import Annotated

import typer

from mc_ops.cli.options import Verbs
from mc_ops.cli.output import show
from mc_ops.cli.slo_access import (
    FigureOptions,
    LeastOption,
    RedteamOption,
    exit_code,
    figure_lines,
    least_replicas,
    privacy,
    source_json,
    verdict_line,
)
from mc_ops.errors import CouldNotTell, UnusableInput

app = Verbs()


@app.command()
def status(
    call: FigureOptions,
    redteam: RedteamOption = None,
    min_replicas: LeastOption = None,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Only this target, such as a2a-success; repeatable."),
    ] = None,
) -> None:
    """Show each SLO, its value and error budget. Exit 0 all met, 1 one missed, 3 unknown."""
    asked = call.asked()
    from mc_ops.slo import Measure, health, overall

    with call.open() as source:
        figures = health.slo_status(
            Measure(source, asked),
            privacy(redteam),
            least_replicas=least_replicas(min_replicas, call.env),
        )
        told = source_json(source)
    if only:
        known = {one.name for one in figures} | {one.name.split(":")[0] for one in figures}
        if unknown := [name for name in only if name not in known]:
            if unknown[0].split(":")[0] in known:
                raise CouldNotTell(
                    f'"{unknown[0][:60]}": nothing was counted for this target in the window'
                )
            raise UnusableInput(
                f'unknown target "{unknown[0][:60]}"', hint=f"known: {', '.join(sorted(known))}"
            )
        figures = [one for one in figures if {one.name, one.name.split(":")[0]} & set(only)]
    verdict = overall(figures, allow_few=call.allow_few)
    targets = [one.as_json() for one in figures]
    result = {"verdict": verdict.value, "source": told, "targets": targets}
    show(call.output, result, [*figure_lines({"": figures}), verdict_line(verdict)])
    raise typer.Exit(exit_code(verdict, figures, allow_few=call.allow_few))
