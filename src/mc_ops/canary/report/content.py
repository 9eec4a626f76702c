"""What the report of a canary says, ready to be laid out; nothing is escaped yet."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mc_contract.judgement.verdict import Samples

_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
_NOT_MEASURED = "not measured"
Rows = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class ReportContent:
    """The texts and tables of a report.

    Attributes:
        verdict: `PROMOTE` or `HOLD`, as the verdict's file has it: an override changes nothing.
        title: The verdict with kind and margin.
        override: Who promoted it by hand, when and why; empty if nobody did.
        sides: Heading and rows: name, baseline, candidate.
        comparison: Name and value.
        metrics: Heading and rows of business metrics; empty if there are none.
        failures: Side, failure, count.
        run: What was run, against what: name and value.
        notes: What a reader should know.
    """

    verdict: str
    title: str
    reason: str
    override: Rows
    sides: Rows
    comparison: Rows
    metrics: Rows
    failures: Rows
    run: Rows
    notes: tuple[str, ...]

    @property
    def promote(self) -> bool:
        """Whether the verdict is PROMOTE."""
        return self.verdict == "PROMOTE"


def content_of(
    verdict: Mapping[str, Any],
    base: Samples | None,
    cand: Samples | None,
    *,
    override: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    link: str = "",
) -> ReportContent:
    """The content of a report; arguments as in `make_report`."""
    rehearsal = bool(verdict.get("rehearsal"))
    parts = [str(verdict["kind"]), *(["rehearsal"] if rehearsal else [])]
    return ReportContent(
        verdict=str(verdict["verdict"]),
        title=f"{verdict['verdict']} ({', '.join(parts)}, margin {percent(verdict['margin'])})",
        reason=str(verdict["reason"]),
        override=_override(override),
        sides=(("", "baseline", "candidate"), *_sides(verdict, base, cand)),
        comparison=tuple(_comparison(verdict)),
        metrics=() if metrics is None else tuple(_metrics(metrics)),
        failures=tuple(_failures(verdict.get("failures"))),
        run=tuple(_run(verdict, link)),
        notes=tuple(_notes(verdict, rehearsal=rehearsal)),
    )


def percent(value: object, *, signed: bool = False) -> str:
    """`0.05` as `5 %`, or `+5 %`; three digits."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return _NOT_MEASURED
    return f"{100 * value:{'+' if signed else ''}.3g} %"


def _sides(
    verdict: Mapping[str, Any], base: Samples | None, cand: Samples | None
) -> Iterable[tuple[str, ...]]:
    sides = [verdict["baseline"], verdict["candidate"]]
    yield ("requests", *(f"{side['n']:,}" for side in sides))
    yield ("failed", *(_failed(side) for side in sides))
    answered = [_answered(side) for side in (base, cand)]
    for name, share in _QUANTILES:
        yield (name, *(_quantile(values, share) for values in answered))


def _failed(side: Mapping[str, Any]) -> str:
    share = f" ({100 * side['errors'] / side['n']:.2f} %)" if side["n"] else ""
    return f"{side['errors']:,}{share}"


def _answered(side: Samples | None) -> Any:
    return np.array([]) if side is None else side.latencies_s[~np.isnan(side.latencies_s)]


def _quantile(values: Any, share: float) -> str:
    if not values.size:
        return _NOT_MEASURED
    # By nearest rank, as the judgement's p95 is
    return f"{1000 * float(np.quantile(values, share, method='inverted_cdf')):,.2f} ms"


def _comparison(verdict: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    yield "regression of p95", percent(verdict.get("regression"), signed=True)
    interval = verdict.get("interval")
    if interval:
        ends = " to ".join(percent(end, signed=True) for end in interval)
        yield "90 % interval", ends
    yield "margin (allowed)", percent(verdict["margin"])
    if verdict.get("error_bound") is not None:
        yield (
            "increase of failures, upper bound (95 %)",
            percent(verdict["error_bound"], signed=True),
        )
        yield "increase of failures allowed", percent(verdict.get("error_tolerance"))
    for name, key in (
        ("pairs planned", "planned_pairs"),
        ("instances a side", "instances"),
        ("pairs until the verdict", "decided_at_pairs"),
        ("interim analyses", "looks"),
        ("pairs needed to decide", "pairs_needed"),
    ):
        if verdict.get(key) is not None:
            yield name, f"{verdict[key]:,}"
    runbook = verdict.get("runbook") or {}
    if runbook.get("regression_percent") is not None:
        figure = f"{runbook['regression_percent']:+.2f} %"
        yield "the runbook's bare rule", f"{figure}, {runbook['verdict']} (decides nothing)"


def _metrics(judgement: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    """A row for each metric, and the score of all."""
    yield ("metric", "outcome", "baseline", "change", "90 % interval", "allowed", "why")
    for metric in judgement["metrics"]:
        critical = " (critical)" if metric["critical"] else ""
        figures = (metric[key] for key in ("baseline_level", "change", "interval", "allowed"))
        yield (
            f"{metric['name']}{critical}",
            metric["outcome"],
            *map(_figure, figures),
            metric["reason"],
        )
    score = f"score {_figure(judgement['score'])}, {_figure(judgement['pass'])} passes"
    yield "all together", judgement["outcome"], "", "", "", "", f"{judgement['reason']} ({score})"


def _figure(value: object) -> str:
    if value is None:
        return _NOT_MEASURED
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return " to ".join(map(_figure, value))
    return str(value)


def _failures(failures: object) -> Iterable[tuple[str, ...]]:
    if not isinstance(failures, Mapping):
        return
    for side, counts in failures.items():
        if isinstance(counts, Mapping):
            for name, count in counts.items():
                yield str(side), str(name), f"{count:,}" if isinstance(count, int) else str(count)


def _run(verdict: Mapping[str, Any], link: str) -> Iterable[tuple[str, str]]:
    if link:
        yield "where", link
    for side, urls in (verdict.get("urls") or {}).items():
        yield side, ", ".join(str(url) for url in urls)
    for name, key in (("began", "started_at"), ("ended", "ended_at"), ("stopped by", "stopped")):
        if verdict.get(key):
            yield name, str(verdict[key])
    for name, value in (verdict.get("parameters") or {}).items():
        yield str(name).replace("_", " "), str(value)
    lateness = verdict.get("lateness") or {}
    if lateness.get("p99_ms") is not None:
        late, limit = lateness["p99_ms"], lateness.get("limit_ms")
        yield "driver's lateness (p99)", f"{late:g} ms, limit {limit:g} ms"


def _override(override: Mapping[str, Any] | None) -> Rows:
    if override is None:
        return ()
    return (
        ("by", str(override["by"])),
        ("why", str(override["reason"])),
        ("when", str(override["at"])),
        ("ledger", f"entry {override['index']} of {override['region']}"),
        ("decision", str(override["decision"])),
    )


def _notes(verdict: Mapping[str, Any], *, rehearsal: bool) -> Iterable[str]:
    if rehearsal:
        yield (
            f"A rehearsal, margin {percent(verdict['margin'])}: not the full verdict. Too few "
            "pairs were planned to decide the 5 % margin."
        )
    if verdict.get("kind") == "smoke":
        yield "The candidate failed its smoke check; no request was compared."
    if verdict.get("method"):
        yield f"Method: {verdict['method']}."
    yield (
        "Whether the services gave these samples, and whether one side had a noisy neighbour, no "
        "report can show."
    )
