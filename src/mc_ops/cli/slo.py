"""`mcctl slo status`: each target of the runbook, its value, its error budget and its verdict."""

from __future__ import annotations

from typing import Annotated

import typer

from mc_ops.cli.options import EnvOption
from mc_ops.cli.output import Format, OutputOption, emit_json
from mc_ops.cli.slo_access import (
    LOCAL,
    AllowFewOption,
    LeastOption,
    OverOption,
    PrometheusOption,
    RedteamOption,
    ScrapeOption,
    WindowOption,
    exit_code,
    least_replicas,
    open_source,
    parse_window,
    print_figures,
    print_verdict,
    privacy,
    source_json,
)
from mc_ops.errors import CouldNotTell, UnusableInput

app = typer.Typer(no_args_is_help=True)


@app.command()
def status(
    prometheus: PrometheusOption = None,
    scrape: ScrapeOption = None,
    over: OverOption = None,
    window: WindowOption = None,
    redteam: RedteamOption = None,
    min_replicas: LeastOption = None,
    allow_few: AllowFewOption = False,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Only this target, such as a2a-success; repeatable."),
    ] = None,
    env: EnvOption = LOCAL,
    output: OutputOption = Format.table,
) -> None:
    """Show each SLO, its value and error budget. Exit 0 all met, 1 one missed, 3 unknown."""
    from mc_ops.slo import Measure, health, overall

    asked = parse_window(window, prometheus)
    with open_source(prometheus, scrape, over, env=env) as source:
        figures = health.slo_status(
            Measure(source, asked),
            privacy(redteam),
            least_replicas=least_replicas(min_replicas, env),
        )
        told = source_json(source)
    if only:
        known = {one.name for one in figures} | {one.name.split(":")[0] for one in figures}
        if unknown := [name for name in only if name not in known]:
            if unknown[0].split(":")[0] in known:
                raise CouldNotTell(f'"{unknown[0][:60]}": nothing was counted of it in this time')
            raise UnusableInput(
                f'unknown target "{unknown[0][:60]}"', hint=f"known: {', '.join(sorted(known))}"
            )
        figures = [one for one in figures if {one.name, one.name.split(":")[0]} & set(only)]
    verdict = overall(figures, allow_few=allow_few)
    if output is Format.json:
        emit_json(
            {
                "verdict": verdict.value,
                "source": told,
                "targets": [one.as_json() for one in figures],
            }
        )
    else:
        print_figures(figures)
        print_verdict(verdict)
    raise typer.Exit(exit_code(verdict))
