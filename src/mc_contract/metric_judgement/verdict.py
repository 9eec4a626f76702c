"""The canary's metrics: is each within its allowed change, by evidence, and what do all make?

One metric: the change between the sides, estimated with an interval over time blocks
(`metric_judgement.statistics`), is held against the allowed change, like the latency judgement:

- `pass` when the interval's bad end is within the allowed change (non-inferiority);
- `fail` when a change for the worse is shown and its estimate is beyond the allowed change;
- `nodata` when a side has no value at all: its `missing` rule says what that counts as;
- `inconclusive` for all else: too few points to tell, or an interval that is too wide.

All: a weighted score by groups, as Kayenta's (a metric that did not pass by evidence adds nothing);
a critical metric that fails makes it 0. `pass` needs a score of at least the `pass` threshold and
every critical metric to pass.

Everything follows from `metrics.json` alone, so a verdict can be redone: `rejudge_metrics`. What
that does not show: that Prometheus gave these series.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mc_contract.metric_judgement.config import (
    Metric,
    MetricConfig,
    MetricsUnusable,
    check_selector,
    parse_config,
)
from mc_contract.metric_judgement.series import Series, Window, parse_series, parse_window
from mc_contract.metric_judgement.statistics import (
    LEAST_BLOCKS,
    Change,
    TooFew,
    paired_change,
    unpaired_change,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = [
    "Metric",
    "MetricConfig",
    "MetricJudgement",
    "MetricResult",
    "MetricsUnusable",
    "Series",
    "Window",
    "check_selector",
    "judge_metric",
    "judge_metrics",
    "parse_config",
    "rejudge_metrics",
    "score_metrics",
]

FORMAT = "mc-canary-metrics-1"
METHOD = (
    "change over time blocks, the wider of exact rank bounds and Student's t, 95 % one-sided; "
    "pass by non-inferiority"
)
# As Kayenta: when as many have no data, the rest is no picture of the candidate
_TOO_MANY_WITHOUT = 0.5
_PAIRED_SHARE = 0.8
_LEAST_SHARE = 0.5  # of the other side's points, where data must be there


@dataclass(frozen=True, slots=True)
class MetricResult:
    """What one metric showed.

    Attributes:
        outcome: `pass`, `fail`, `inconclusive`, or `nodata`.
        counts_as: What it adds to the score: `pass`, `fail`, `inconclusive`, or `ignored`.
        change: The comparison, in the metric's unit; None when nothing could be compared.
        allowed: The allowed change in the metric's unit; None likewise.
        points: Values of baseline and candidate that were used; None: could not be asked.
        paired: Whether the sides were compared time by time.
    """

    metric: Metric
    outcome: str
    counts_as: str
    reason: str
    points: tuple[int | None, int | None]
    change: Change | None = None
    allowed: float | None = None
    paired: bool | None = None

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON; six significant digits, so that two machines print the same."""
        change, level = self.change, self.change.level if self.change else 0.0
        return {
            "name": self.metric.name,
            "group": self.metric.group,
            "critical": self.metric.critical,
            "outcome": self.outcome,
            "counts_as": self.counts_as,
            "reason": self.reason,
            "points": {"baseline": self.points[0], "candidate": self.points[1]},
            "paired": self.paired,
            "baseline_level": _short(level) if change else None,
            "change": _short(change.estimate) if change else None,
            "interval": [_short(change.low), _short(change.high)] if change else None,
            "relative_change": _share(change.estimate, level) if change else None,
            "allowed": None if self.allowed is None else _short(self.allowed),
            "blocks": change.blocks if change else None,
            "block_points": change.block_points if change else None,
        }


@dataclass(frozen=True, slots=True)
class MetricJudgement:
    """What all metrics show together.

    Attributes:
        outcome: `pass`, `marginal`, `fail`, or `inconclusive`; only `pass` lets a candidate pass.
        score: 0 to 100; None when no metric counted.
    """

    outcome: str
    reason: str
    score: float | None
    groups: Mapping[str, float | None]
    config: MetricConfig
    results: tuple[MetricResult, ...]

    @property
    def passed(self) -> bool:
        """Whether the metrics let the candidate pass."""
        return self.outcome == "pass"

    def as_dict(self) -> dict[str, Any]:
        """The judgement as JSON."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "score": self.score,
            "pass": self.config.pass_score,
            "marginal": self.config.marginal_score,
            "groups": dict(self.groups),
            "metrics": [result.as_dict() for result in self.results],
            "method": METHOD,
        }

    def summary(self) -> dict[str, Any]:
        """What `verdict.json` repeats of it."""
        return {
            "outcome": self.outcome,
            "reason": self.reason,
            "score": self.score,
            "pass": self.config.pass_score,
            "metrics": {result.metric.name: result.outcome for result in self.results},
        }


def rejudge_metrics(document: Mapping[str, Any]) -> MetricJudgement:
    """Redo the judgement from what `metrics.json` holds; its own `result` is not looked at.

    Raises:
        MetricsUnusable: When the document cannot be used.
    """
    if document.get("format") != FORMAT:
        raise MetricsUnusable(f"format: expected {FORMAT}, got {document.get('format')!r}")
    raw_config, raw_series = document.get("config"), document.get("series")
    if not isinstance(raw_config, Mapping) or not isinstance(raw_series, Mapping):
        raise MetricsUnusable("config and series must be objects")
    config = parse_config(raw_config)
    windows = parse_window(document.get("window"))
    names = {metric.name for metric in config.metrics}
    if set(raw_series) != names:
        differ = ", ".join(sorted(names ^ set(raw_series)))
        raise MetricsUnusable(f"series and config do not name the same metrics: {differ}")
    sides = {
        metric.name: parse_series(metric.name, raw_series[metric.name], windows)
        for metric in config.metrics
    }
    return judge_metrics(config, sides)


def judge_metrics(
    config: MetricConfig, sides: Mapping[str, tuple[Series | None, Series | None]]
) -> MetricJudgement:
    """Judge every metric of the configuration, and all of them; pure and deterministic.

    Args:
        config: The rules.
        sides: Baseline's and candidate's series by metric name; None: could not be asked.
    """
    results = tuple(
        judge_metric(metric, *sides[metric.name], step_s=config.step_s) for metric in config.metrics
    )
    return score_metrics(config, results)


def judge_metric(
    metric: Metric, base: Series | None, cand: Series | None, *, step_s: float
) -> MetricResult:
    """Judge one metric.

    Args:
        metric: Its rules.
        base: The baseline's series, empty when there is no data; None: could not be asked.
        cand: The candidate's.
        step_s: Seconds between the points that were asked for.
    """
    points = (None if base is None else base.n, None if cand is None else cand.n)

    def found(outcome: str, reason: str, counts_as: str | None = None, **more: Any) -> MetricResult:
        return MetricResult(metric, outcome, counts_as or outcome, reason, points, **more)

    if base is None or cand is None:
        return found("inconclusive", "Prometheus could not be asked")
    without = [side for side, series in (("baseline", base), ("candidate", cand)) if not series.n]
    if without:
        counts_as = {"fail": "fail", "pass": "pass", "ignore": "ignored"}[metric.missing]
        return found(
            "nodata",
            f"no data of the {' and the '.join(without)}; counts as {counts_as}",
            counts_as,
        )
    # What is too rare to judge is left out where no data would be: that claims nothing of it
    rare = ("nodata", "ignored") if metric.missing == "ignore" else ("inconclusive", "inconclusive")
    if min(base.n, cand.n) < metric.min_samples:
        reason = f"{base.n} and {cand.n}, at least {metric.min_samples} a side"
        return found(rare[0], f"too few points to tell: {reason}", rare[1])
    if metric.missing == "fail" and min(base.n, cand.n) < _LEAST_SHARE * max(base.n, cand.n):
        # Who tells nothing in its bad minutes would be judged by its good ones
        return found(
            "inconclusive",
            f"{base.n} and {cand.n} points: a side was silent for over half of the time",
        )
    b, c, paired = _matched(base, cand, metric)
    overlap = max(1, math.ceil(metric.range_s / step_s - 1e-9))
    change = (paired_change if paired else unpaired_change)(b, c, overlap=overlap)
    if isinstance(change, TooFew):
        return found(
            rare[0] if change.points < LEAST_BLOCKS else "inconclusive",
            f"too few points to tell: {change.points} that do not overlap make {change.blocks} "
            f"independent blocks of {change.block_points}, at least {LEAST_BLOCKS} are needed; "
            "measure for longer, or over a shorter range",
            rare[1] if change.points < LEAST_BLOCKS else None,
            paired=paired,
        )
    allowed = metric.allowed_change.at(change.level)
    outcome = _held_against(metric.direction, change, allowed)
    return found(
        outcome,
        _told(metric, change, allowed, outcome),
        change=change,
        allowed=allowed,
        paired=paired,
    )


def score_metrics(config: MetricConfig, results: Sequence[MetricResult]) -> MetricJudgement:
    """What the metrics make together, by weights, groups and thresholds."""
    groups = _group_scores(config, results, also=())
    score, best = (
        _weighted(config, groups),
        _weighted(config, _group_scores(config, results, also=("inconclusive",))),
    )
    critical = [result for result in results if result.metric.critical]
    failed = [result for result in critical if result.counts_as == "fail"]
    unsure = [result for result in critical if result.counts_as == "inconclusive"]
    without = sum(result.outcome == "nodata" for result in results)
    if failed:
        outcome, score = "fail", 0.0
        reason = f"critical metric {failed[0].metric.name}: {failed[0].reason}"
    elif score is None or best is None:
        outcome, reason = "inconclusive", "no metric has data"
    elif unsure:
        outcome = "inconclusive"
        reason = f"critical metric {unsure[0].metric.name}: {unsure[0].reason}"
    elif without >= _TOO_MANY_WITHOUT * len(results):
        outcome, reason = "inconclusive", f"{without} of {len(results)} metrics have no data"
    else:
        outcome = _by_score(config, score, best)
        reason = f"score {score:g} of 100, {config.pass_score:g} passes{_not_passed(results)}"
    return MetricJudgement(outcome, reason, score, groups, config, tuple(results))


def _by_score(config: MetricConfig, score: float, best: float) -> str:
    """`best` is the score if all that is inconclusive were to pass."""
    if score >= config.pass_score:
        return "pass"
    if best >= config.pass_score:
        return "inconclusive"
    return "marginal" if best >= config.marginal_score else "fail"


def _group_scores(
    config: MetricConfig, results: Sequence[MetricResult], *, also: tuple[str, ...]
) -> dict[str, float | None]:
    """Passed weight over counted weight of each group, in percent; None when nothing counts."""
    scores: dict[str, float | None] = {}
    for group in config.groups:
        counted = [
            result
            for result in results
            if result.metric.group == group and result.counts_as != "ignored"
        ]
        weight = math.fsum(result.metric.weight for result in counted)
        passed = math.fsum(
            result.metric.weight for result in counted if result.counts_as in ("pass", *also)
        )
        scores[group] = round(100 * passed / weight, 2) if counted else None
    return scores


def _weighted(config: MetricConfig, groups: Mapping[str, float | None]) -> float | None:
    """The groups' scores by their weights; what has no data leaves its weight to the others."""
    told = [(score, config.groups[name]) for name, score in groups.items() if score is not None]
    weight = math.fsum(weight for _, weight in told)
    return round(math.fsum(score * weight for score, weight in told) / weight, 2) if told else None


def _matched(
    base: Series, cand: Series, metric: Metric
) -> tuple[NDArray[np.float64], NDArray[np.float64], bool]:
    """The values to compare, and whether they are paired: by offset from each side's start."""
    _, in_base, in_cand = np.intersect1d(
        base.offsets_ms, cand.offsets_ms, assume_unique=True, return_indices=True
    )
    wanted = max(metric.min_samples, _PAIRED_SHARE * max(base.n, cand.n))
    if in_base.size >= wanted:
        return base.values[in_base], cand.values[in_cand], True
    return base.values, cand.values, False


def _held_against(direction: str, change: Change, allowed: float) -> str:
    up_bad, down_bad = direction != "decrease", direction != "increase"
    shown_worse = (up_bad and change.low > 0 and change.estimate > allowed) or (
        down_bad and change.high < 0 and change.estimate < -allowed
    )
    if shown_worse:
        return "fail"
    within = (not up_bad or change.high <= allowed) and (not down_bad or change.low >= -allowed)
    return "pass" if within else "inconclusive"


def _told(metric: Metric, change: Change, allowed: float, outcome: str) -> str:
    level, share = abs(change.level), metric.allowed_change.relative
    if share is not None and level:
        low, middle, high = (x / level for x in (change.low, change.estimate, change.high))
        what = f"{middle:+.2%} (90 % interval {low:+.2%} to {high:+.2%})"
        limit = f"{share:.2%}"
    else:
        what = f"{change.estimate:+.4g} (90 % interval {change.low:+.4g} to {change.high:+.4g})"
        limit = f"{allowed:.4g}"
        if share is not None and outcome != "pass":
            limit += ", since the baseline is 0: an absolute change can be allowed instead"
    word = {
        "pass": "shown to be within the allowed change",
        "fail": "beyond the allowed change",
        "inconclusive": "not shown to be within the allowed change",
    }[outcome]
    bad = "change" if metric.direction == "either" else metric.direction
    return f"{what}: {word} (allowed {bad} {limit})"


def _not_passed(results: Sequence[MetricResult]) -> str:
    names = [
        f"{result.metric.name} {result.outcome}" for result in results if result.outcome != "pass"
    ]
    return f"; {', '.join(names)}" if names else ""


def _share(value: float, of: float) -> float | None:
    """`value / |of|`; None where that has no finite value: JSON knows no other."""
    share = value / abs(of) if of else math.inf
    return _short(share) if math.isfinite(share) else None


def _short(value: float) -> float:
    return float(f"{value:.6g}")
