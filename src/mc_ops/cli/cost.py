"""`mcctl cost`: what requests cost, by tenant, against targets and the bill."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from mc_ops.cli.options import Number, Verbs
from mc_ops.cli.output import columns, show
from mc_ops.cli.scaling import oscillation_figure
from mc_ops.cli.slo_access import (
    FigureOptions,
    PricesOption,
    exit_code,
    figure_lines,
    prices,
    source_json,
    verdict_line,
)
from mc_ops.errors import UnusableInput

if TYPE_CHECKING:
    from rich.text import Text

    from mc_ops.slo import Costs
    from mc_ops.slo.cost import TenantCost


app = Verbs()


@app.command()
def cost(
    call: FigureOptions,
    price_file: PricesOption = None,
    billed: Annotated[
        Number | None,
        typer.Option(
            "--bill",
            min=0.0,
            help="Amount billed for this window, to compare with the calculated cost.",
        ),
    ] = None,
) -> None:
    """Show the cost of requests for each tenant. Exit 1 above a target, 3 if unknown."""
    asked, priced = call.asked(), prices(price_file)
    from mc_ops.slo import Measure, Verdict, costs, overall

    if billed is not None and not math.isfinite(billed):
        raise UnusableInput(f"--bill must be a number, got {billed}")
    if billed is not None and priced is None:
        raise UnusableInput("--bill needs prices", hint="--prices FILE or MC_PRICES_FILE")
    with call.open() as source:
        told = costs(Measure(source, asked), priced, billed=billed)
        origin = source_json(source)
        figures = [*told.figures, oscillation_figure(source, call.env)]
    applicable = any(one.verdict is not Verdict.not_applicable for one in figures)
    # Without prices nothing is judged: what was used is told, and that is all that was asked
    verdict = overall(figures, allow_few=call.allow_few) if applicable else Verdict.not_applicable
    body = {**told.as_json(), "verdict": verdict.value, "source": origin}
    lines = [
        *_lines(told),
        *figure_lines({"": figures}),
        *([verdict_line(verdict)] if applicable else []),
    ]
    show(call.output, {**body, "figures": [one.as_json() for one in figures]}, lines)
    raise typer.Exit(exit_code(verdict, figures, allow_few=call.allow_few) if applicable else 0)


def _lines(told: Costs) -> Iterator[str | Text]:
    money = told.currency or "cost"
    yield f"CPU and cost, {told.figures[0].window if told.figures else told.span}"
    heads = ("TENANT", "REQUESTS", "DIRECT CPU", "SHARED", "IDLE", "CPU/REQ", f"{money}/REQ", money)
    yield from columns(map(_cells, told.tenants), heading=heads, right=range(1, len(heads)))
    used = told.capacity.process_cpu_s
    if used is not None:
        yield f"used by all replicas: {used:.2f} CPU-seconds"
    if told.bill:
        bill = told.bill
        origin = "billed" if bill.given else "by the prices"
        yield f"bill {bill.amount:.6g} {money} ({origin}), tenants' sum {bill.allotted:.6g} {money}"


def _cells(one: TenantCost) -> tuple[str, ...]:
    per_request = 1000 * one.direct_cpu_s / one.requests if one.requests > 0 else None
    return (
        one.tenant,
        f"{one.requests:,.0f}",
        f"{one.direct_cpu_s:.2f} s",
        f"{one.shared_cpu_s:.2f} s",
        f"{one.idle_cpu_s:.1f} s",
        "-" if per_request is None else f"{per_request:.2f} ms",
        "-" if one.per_request is None else f"{one.per_request:.4g}",
        "-" if one.cost is None else f"{one.cost:.4g}",
    )
