"""The report of a canary: a picture, a page that stands alone, and a summary in Markdown.

    report = make_report(told, base, cand)
    write_files(report, folder)          # report.png, report.html, summary.md

It shows what the verdict's file says and what the samples give; it decides nothing. Text that
came from elsewhere (URLs, reasons, failures) is escaped wherever it is shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mc_contract.judgement.verdict import Samples, history
from mc_ops.canary.report.page import page
from mc_ops.canary.report.picture import Subject, draw
from mc_ops.canary.report.summary import summary
from mc_ops.files import writing

PICTURE, PAGE, SUMMARY = "report.png", "report.html", "summary.md"
_QUANTILES = (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
_NOT_MEASURED = "not measured"
Rows = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """Three files' content."""

    picture: bytes
    page: str
    summary: str


@dataclass(frozen=True, slots=True)
class Told:
    """A report's words, ready to be laid out; nothing is escaped yet.

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


def make_report(
    verdict: Mapping[str, Any],
    base: Samples | None,
    cand: Samples | None,
    *,
    override: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    link: str = "",
) -> Report:
    """Draw and lay out.

    Args:
        verdict: What `verdict.json` has, or `Judgement.as_dict()`; figures may be null.
        base: The baseline's samples; None where nothing was compared (a failed smoke check).
        cand: The candidate's.
        override: `by`, `at`, `reason`, `index`, `decision` of an override that the ledger proves.
        metrics: The metrics' judgement (`MetricJudgement.as_dict()`), if there is one.
        link: Where this was run, such as the URL of a workflow's run.
    """
    told = words(verdict, base, cand, override=override, metrics=metrics, link=link)
    looks = (
        history(
            base,
            cand,
            margin=verdict["margin"],
            planned_pairs=verdict.get("planned_pairs"),
            instances=verdict.get("instances", 1),
        )
        if base is not None and cand is not None
        else []
    )
    by_hand = [f"overridden by {override['by']}: {override['reason']}"] if override else []
    picture = draw(
        Subject(
            title=f"Canary: {told.title}",
            promote=told.promote,
            reason=(told.reason, *by_hand),
            base=base,
            cand=cand,
            looks=looks,
            margin=float(verdict["margin"]),
            planned_pairs=verdict.get("planned_pairs"),
            decided_at_pairs=verdict.get("decided_at_pairs"),
            verdict=told.verdict,
        )
    )
    return Report(picture, page(told, picture), summary(told))


def write_files(report: Report, folder: Path) -> list[Path]:
    """Write the three files; those of an earlier report are replaced.

    Raises:
        CouldNotTell: one cannot be written.
    """
    files = {
        folder / PICTURE: report.picture,
        folder / PAGE: report.page.encode(),
        folder / SUMMARY: report.summary.encode(),
    }
    with writing(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path, content in files.items():
            path.write_bytes(content)
    return list(files)


def words(
    verdict: Mapping[str, Any],
    base: Samples | None,
    cand: Samples | None,
    *,
    override: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Any] | None = None,
    link: str = "",
) -> Told:
    """What the report says; arguments as in `make_report`."""
    rehearsal = bool(verdict.get("rehearsal"))
    parts = [str(verdict["kind"]), *(["rehearsal"] if rehearsal else [])]
    return Told(
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
    told = [verdict["baseline"], verdict["candidate"]]
    yield ("requests", *(f"{side['n']:,}" for side in told))
    yield ("failed", *(_failed(side) for side in told))
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
        yield "its 90 % interval", ends
    yield "margin (allowed)", percent(verdict["margin"])
    if verdict.get("error_bound") is not None:
        yield "more failures, at most (95 % bound)", percent(verdict["error_bound"], signed=True)
        yield "more failures allowed", percent(verdict.get("error_tolerance"))
    for name, key in (
        ("pairs planned", "planned_pairs"),
        ("instances a side", "instances"),
        ("pairs on which it fell", "decided_at_pairs"),
        ("looks at the samples", "looks"),
        ("pairs that would decide it", "pairs_needed"),
    ):
        if verdict.get(key) is not None:
            yield name, f"{verdict[key]:,}"
    runbook = verdict.get("runbook") or {}
    if runbook.get("regression_percent") is not None:
        figure = f"{runbook['regression_percent']:+.2f} %"
        yield "the runbook's bare rule", f"{figure}, {runbook['verdict']} (decides nothing)"


def _metrics(told: Mapping[str, Any]) -> Iterable[tuple[str, ...]]:
    """A row for each metric, and the score of all."""
    yield ("metric", "outcome", "baseline", "change", "its 90 % interval", "allowed", "why")
    for one in told["metrics"]:
        critical = " (critical)" if one["critical"] else ""
        figures = (one[key] for key in ("baseline_level", "change", "interval", "allowed"))
        yield f"{one['name']}{critical}", one["outcome"], *map(_figure, figures), one["reason"]
    score = f"score {_figure(told['score'])}, {_figure(told['pass'])} passes"
    yield "all together", told["outcome"], "", "", "", "", f"{told['reason']} ({score})"


def _figure(value: object) -> str:
    if value is None:
        return _NOT_MEASURED
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return " to ".join(_figure(one) for one in value)
    return str(value)


def _failures(told: object) -> Iterable[tuple[str, ...]]:
    if not isinstance(told, Mapping):
        return
    for side, found in told.items():
        if isinstance(found, Mapping):
            for name, count in found.items():
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


def _override(told: Mapping[str, Any] | None) -> Rows:
    if told is None:
        return ()
    return (
        ("by", str(told["by"])),
        ("why", str(told["reason"])),
        ("when", str(told["at"])),
        ("ledger", f"entry {told['index']} of {told['region']}"),
        ("decision", str(told["decision"])),
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
