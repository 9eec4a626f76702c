"""Figures of this moment, from gauges: lag, backlog, halted, stuck, and how many replicas tell."""

from __future__ import annotations

from dataclasses import replace

from mc_ops.slo import targets
from mc_ops.slo.figure import Figure, Heading, Judged, Verdict
from mc_ops.slo.measure import Measure


def replication_lag(measure: Measure) -> Figure:
    """The worst peer's replication lag."""
    heading = Heading("replication-lag", "replication lag", "< 120 s", "s")
    metric = "mc_replication_lag_seconds"
    lags = measure.source.levels(metric, ("peer",))
    if not lags:
        if measure.source.stopped(metric):
            judged = Judged(Verdict.unknown, "a peer's lag was told within a day, and is not now")
        else:
            judged = Judged(Verdict.not_applicable, "no replica tells of a peer region")
        return measure.now(heading, None, judged)
    peer, worst = max(lags.items(), key=lambda item: item[1])
    met = worst < targets.MOST_REPLICATION_LAG_S
    judged = Judged(Verdict.met if met else Verdict.missed, "" if met else f"peer {peer[0]}")
    detail = {key[0]: value for key, value in sorted(lags.items())}
    return replace(measure.now(heading, worst, judged), detail=detail)


def level(measure: Measure, name: str, title: str, metric: str, most: float, unit: str) -> Figure:
    """A gauge that every replica tells alike, summed over its tenants, against a limit."""
    target = f"<= {most:g} s" if unit == "s" else f"<= {most:g}" if most else "0"
    heading = Heading(name, title, target, unit)
    rows = measure.source.levels(metric, ("tenant",))
    if not rows:
        judged = Judged(Verdict.unknown, f"{measure.source.name} does not tell {metric}")
        return measure.now(heading, None, judged)
    value = sum(rows.values())
    named = ", ".join(f"{key[0]} {level:g}" for key, level in sorted(rows.items()) if level)
    met = value <= most
    judged = Judged(Verdict.met if met else Verdict.missed, "" if met else named.strip())
    return measure.now(heading, value, judged)


def halted(measure: Measure) -> Figure:
    """Scopes that are halted: none should be, in the morning."""
    rows = measure.source.levels("mc_autonomy_halted", ("tenant",))
    heading = Heading("autonomy-halted", "autonomy halted", "0", "count")
    if not rows:
        judged = Judged(Verdict.unknown, f"{measure.source.name} does not tell mc_autonomy_halted")
        return measure.now(heading, None, judged)
    who = [key[0] if key[0] != "*" else "all" for key, on in sorted(rows.items()) if on > 0]
    judged = Judged(Verdict.missed if who else Verdict.met, ", ".join(who))
    return measure.now(heading, float(len(who)), judged)


def replicas(measure: Measure, least: int) -> Figure:
    """How many replicas tell their metrics now, against the HPA's minimum."""
    capacity = measure.source.capacity(measure.window(targets.LATENCY_WINDOW))
    value: float | None = float(capacity.replicas)
    if capacity.replicas == 0:  # none of this platform is known here: nothing was counted
        value, judged = None, Judged(Verdict.unknown, "no replica tells its metrics here")
    else:
        judged = Judged(Verdict.met if capacity.replicas >= least else Verdict.missed)
    return measure.now(Heading("replicas", "replicas", f">= {least}", "count"), value, judged)
