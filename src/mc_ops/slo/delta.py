"""The operations delta: the runbook's figures over a period, and how they moved since the last.

    {"timestamp", "period", "metrics": {name: number or null}, "figures": {name: {"unit",
     "source", "window", "verdict", "reason", ...}}, "trend": {...}}

`metrics` has the runbook's names first and nothing but numbers and nulls, so that the runbook's
`jq .metrics.p95_latency_ms` works; a null has its reason under `figures`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from mc_ops.errors import UnusableInput
from mc_ops.slo import targets
from mc_ops.slo.burn import burn
from mc_ops.slo.cost import Costs
from mc_ops.slo.delta_files import KIND, Previous
from mc_ops.slo.figure import Figure, Heading, Judged, Verdict
from mc_ops.slo.measure import Measure
from mc_ops.slo.shown import shown
from mc_ops.slo.source import Window
from mc_ops.slo.trend import METRIC as TREND_METRIC
from mc_ops.slo.trend import counted

SCHEMA_VERSION = 1

LOWER_IS_BETTER = frozenset(
    {"p95_latency_ms", "error_budget_burn", "cost_per_request", "compensation_rate"}
)
NEITHER = frozenset({"cpu_ms_per_request", "requests", "policy_deny_share"})
"""What moved, without being better or worse for it."""


def window_of(period: str) -> Window:
    """The window of a period such as `day-7`.

    Raises:
        UnusableInput: the period is not `day-N`; the window has to be given then.
    """
    found = re.fullmatch(r"day-([1-9][0-9]{0,2})", period, re.ASCII)
    if not found or int(found[1]) > 366:
        raise UnusableInput(
            f'period "{period[:40]}" does not say how long it is',
            hint="day-1, day-7, ... does; else give --window",
        )
    return Window.parse(f"{found[1]}d")


def measured(measure: Measure, window: Window, costs: Costs, privacy: Figure) -> dict[str, Figure]:
    """Every figure of a delta by its name, the runbook's six first."""
    a2a = measure.ratio(targets.A2A)
    unit = costs.figures[0]
    return {
        "p95_latency_ms": measure.p95_ms(window),
        "error_budget_burn": burn(measure, window),
        "cost_per_request": unit,
        "privacy_block_rate": privacy,
        "autonomy_success_rate": measure.ratio(targets.AUTONOMY),
        "compensation_rate": measure.compensation(),
        "a2a_success_rate": a2a,
        "siem_delivery_rate": measure.ratio(targets.SIEM),
        "policy_deny_share": _denials(measure, window),
        "cpu_ms_per_request": _cpu(unit),
        "requests": _requests(costs, unit),
    }


def _denials(measure: Measure, window: Window) -> Figure:
    found = counted(measure, (window,))
    heading = Heading("policy-deny-share", "denials among policy decisions", "not set")
    if found is None:
        return measure.absent(heading, TREND_METRIC, window)
    whole = found[-1]
    judged = Judged(Verdict.not_applicable)
    if whole.share is None:
        judged = Judged(Verdict.unknown, "no decision in this time", few=True)
    return replace(measure.figure(heading, whole.share, judged, window), events=whole.decisions)


def _cpu(unit: Figure) -> Figure:
    value = unit.detail.get("direct_cpu_ms_per_request")
    reason = "no tenant made a request in this time"
    return _untargeted(unit, "cpu-ms-per-request", "CPU of a request", value, "ms", reason)


def _requests(costs: Costs, unit: Figure) -> Figure:
    value = round(sum(one.requests for one in costs.tenants), 3) if costs.tenants else None
    reason = "nothing was counted in this time"
    return _untargeted(unit, "requests", "tenants' requests", value, "count", reason)


def _untargeted(
    beside: Figure, name: str, title: str, value: float | None, unit: str, reason: str
) -> Figure:
    """A figure without a target, of the same time; `reason` is told where it is not known."""
    verdict, reason = (Verdict.unknown, reason) if value is None else (Verdict.not_applicable, "")
    return Figure(
        name, title, value, unit, "not set", verdict, beside.window, beside.source, reason
    )


def document(
    figures: Mapping[str, Figure],
    *,
    period: str,
    window: Window,
    now: datetime,
    source: Mapping[str, Any],
    previous: Previous | None,
) -> dict[str, Any]:
    """The whole delta as JSON."""
    metrics = {name: _rounded(figure.value) for name, figure in figures.items()}
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": KIND,
        "timestamp": f"{now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "period": period,
        "window": window.text,
        "metrics": metrics,
        "source": dict(source),
        "figures": {
            name: {key: value for key, value in figure.as_json().items() if key != "value"}
            for name, figure in figures.items()
        },
        "trend": _trend(
            metrics, {name: one.unit for name, one in figures.items()}, previous, period
        ),
    }


def _rounded(value: float | None) -> float | None:
    """Nine significant digits: more are noise, and differ from machine to machine."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.9g}")


def _trend(
    metrics: Mapping[str, float | None],
    units: Mapping[str, str],
    previous: Previous | None,
    period: str,
) -> dict[str, Any]:
    if previous is None:
        return {"previous": None, "reason": f"there is no earlier delta of {period}", "metrics": {}}
    # What was told in another unit (another currency, for one) cannot be compared
    told = {
        name: value
        for name, value in previous.told["metrics"].items()
        if name in units and previous.unit(name) == units[name]
    }
    return {
        "previous": {
            "file": previous.path.name,
            "sha256": previous.sha256,
            "timestamp": previous.told["timestamp"],
            "period": previous.told["period"],
        },
        "metrics": {
            name: _moved(name, told.get(name), value, units[name])
            for name, value in metrics.items()
        },
    }


def _moved(name: str, before: Any, after: float | None, unit: str) -> dict[str, Any]:
    if not _number(before) or after is None:
        known = before if _number(before) else None
        return {"before": known, "difference": None, "direction": "unknown"}
    difference = after - before
    if shown(before, unit) == shown(after, unit):  # what is printed alike is called the same
        direction = "unchanged"
    elif name in NEITHER:
        direction = "up" if difference > 0 else "down"
    else:
        direction = "better" if (difference < 0) == (name in LOWER_IS_BETTER) else "worse"
    return {"before": before, "difference": _rounded(difference), "direction": direction}


def _number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # JSON has integers of any size
        return False
