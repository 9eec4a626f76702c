"""The SLO room: the runbook's targets as measured figures, with verdicts that can be unknown.

    with PrometheusClient("http://127.0.0.1:9090") as client:
        measure = Measure(PrometheusSource(client))
        figure = measure.ratio(targets.A2A)
        figure.value, figure.verdict, figure.budget

A `Source` is Prometheus, or the replicas' own `/metrics`. `docs/reference/slo.md` says how each figure is
made, `docs/reference/delta.md` what the operations delta has.
"""

from __future__ import annotations

from mc_ops.slo import delta, delta_files, health, targets
from mc_ops.slo.cost import Costs, costs
from mc_ops.slo.delta_text import markdown, moved
from mc_ops.slo.figure import Budget, Figure, Share, Verdict, overall
from mc_ops.slo.measure import Measure
from mc_ops.slo.prices import Prices, read_prices
from mc_ops.slo.privacy import OLDEST, block_rate, newest
from mc_ops.slo.prometheus_source import PrometheusSource
from mc_ops.slo.scrape_source import ScrapeSource
from mc_ops.slo.shown import shown
from mc_ops.slo.source import Source, Window
from mc_ops.slo.trend import Direction, Trend, counted, trend

__all__ = [
    "OLDEST",
    "Budget",
    "Costs",
    "Direction",
    "Figure",
    "Measure",
    "Prices",
    "PrometheusSource",
    "ScrapeSource",
    "Share",
    "Source",
    "Trend",
    "Verdict",
    "Window",
    "block_rate",
    "costs",
    "counted",
    "delta",
    "delta_files",
    "health",
    "markdown",
    "moved",
    "newest",
    "overall",
    "read_prices",
    "shown",
    "targets",
    "trend",
]
