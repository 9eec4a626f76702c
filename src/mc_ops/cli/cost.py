"""`mcctl cost`: what requests cost, by tenant, against targets and the bill."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_ops.cli.numeric import Number
from mc_ops.cli.options import EnvOption
from mc_ops.cli.output import Format, OutputOption, emit_json, stdout
from mc_ops.cli.scaling import oscillation_figure
from mc_ops.cli.slo_access import (
    LOCAL,
    AllowFewOption,
    OverOption,
    PricesOption,
    PrometheusOption,
    ScrapeOption,
    WindowOption,
    exit_code,
    open_source,
    parse_window,
    prices,
    print_figures,
    print_verdict,
    source_json,
)
from mc_ops.errors import UnusableInput

if TYPE_CHECKING:
    from mc_ops.slo import Costs


app = typer.Typer()


@app.command()
@app.command()
def cost(
    prometheus: PrometheusOption = None,
    scrape: ScrapeOption = None,
    over: OverOption = None,
    window: WindowOption = None,
    price_file: PricesOption = None,
    billed: Annotated[
        Number | None,
        typer.Option(
            "--bill",
            min=0.0,
            help="Amount billed for this window, to compare with the calculated cost.",
        ),
    ] = None,
    allow_few: AllowFewOption = False,
    env: EnvOption = LOCAL,
    output: OutputOption = Format.table,
) -> None:
    """Show the cost of requests for each tenant. Exit 1 above a target, 3 if unknown."""
    from mc_ops.slo import Measure, Verdict, costs, overall

    asked, priced = parse_window(window, prometheus), prices(price_file)
    if billed is not None and not math.isfinite(billed):
        raise UnusableInput(f"--bill must be a number, got {billed}")
    if billed is not None and priced is None:
        raise UnusableInput("--bill needs prices", hint="--prices FILE or MC_PRICES_FILE")
    with open_source(prometheus, scrape, over, env=env) as source:
        told = costs(Measure(source, asked), priced, billed=billed)
        origin = source_json(source)
        figures = [*told.figures, oscillation_figure(source, env)]
    applicable = any(one.verdict is not Verdict.not_applicable for one in figures)
    # Without prices nothing is judged: what was used is told, and that is all that was asked
    verdict = overall(figures, allow_few=allow_few) if applicable else Verdict.not_applicable
    if output is Format.json:
        body: dict[str, Any] = {**told.as_json(), "verdict": verdict.value, "source": origin}
        emit_json({**body, "figures": [one.as_json() for one in figures]})
    else:
        _print(told)
        print_figures(figures)
        if applicable:
            print_verdict(verdict)
    raise typer.Exit(exit_code(verdict) if applicable else 0)


def _print(told: Costs) -> None:
    money = told.currency or "cost"
    window = told.figures[0].window if told.figures else told.span
    stdout.print(f"CPU and cost, {window}", markup=False)
    heads = f"{'TENANT':<14}{'REQUESTS':>10}{'DIRECT CPU':>12}{'SHARED':>10}{'IDLE':>10}"
    stdout.print(f"{heads}{'CPU/REQ':>12}{f'{money}/REQ':>14}{money:>14}")
    for one in told.tenants:
        per_request = 1000 * one.direct_cpu_s / one.requests if one.requests > 0 else None
        cpu = "-" if per_request is None else f"{per_request:.2f} ms"
        unit = "-" if one.per_request is None else f"{one.per_request:.4g}"
        cost = "-" if one.cost is None else f"{one.cost:.4g}"
        stdout.print(
            f"{one.tenant:<14}{one.requests:>10,.0f}{one.direct_cpu_s:>10.2f} s"
            f"{one.shared_cpu_s:>8.2f} s{one.idle_cpu_s:>8.1f} s{cpu:>12}{unit:>14}{cost:>14}",
            markup=False,
        )
    used = told.capacity.process_cpu_s
    if used is not None:
        stdout.print(f"used by all replicas: {used:.2f} CPU-seconds", markup=False)
    if told.bill:
        bill = told.bill
        origin = "billed" if bill.given else "by the prices"
        stdout.print(
            f"bill {bill.amount:.6g} {money} ({origin}), tenants' sum {bill.allotted:.6g} {money}",
            markup=False,
        )
