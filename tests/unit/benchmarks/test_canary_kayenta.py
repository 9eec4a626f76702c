"""Kayenta's public judge specifications, case by case, held against ours.

Three kinds: cases in which our metric judgement agrees; cases in which only the comparison mode
(`benchmarks/_canary_kayenta.py`) does, which docs/explanation/kayenta.md lists with the reason; and cases of things
that we do not have, listed there too. The last test asserts that none of the 94 is left out.
The numbers are Kayenta's, the tests are ours.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from _canary_kayenta import (
    effect_size,
    iqr_outliers,
    kayenta_classify,
    mann_whitney,
    rank_z,
)

from mc_contract.metric_judgement.series import series_of
from mc_contract.metric_judgement.verdict import (
    Metric,
    MetricConfig,
    MetricJudgement,
    MetricResult,
    Series,
    Window,
    judge_metric,
    parse_config,
    score_metrics,
)

HERE = Path(__file__).parent
SPECS: dict[str, Any] = json.loads((HERE / "samples" / "kayenta.json").read_bytes())
DOC = HERE.parents[2] / "docs" / "explanation" / "kayenta.md"
COUNTS = {
    "classifier": 37,
    "scorer": 13,
    "statistics": 18,
    "detector": 6,
    "transforms": 6,
    "utilities": 7,
    "mannwhitney": 7,
}

ZEROS, ONES, TENS = (0.0,) * 5, (1.0,) * 5, (10.0,) * 5
COUNT = (1.0, 2.0, 3.0, 4.0, 5.0)
UNITS, TWENTIES = (1.0, 2.2, 1.1, 2.5, 3.0), (20.0, 22.0, 21.0, 25.0, 30.0)
FIFTIES = (54.9, 54.5, 55.1, 55.6, 57.4)
OURS = {"High": "fail", "Low": "fail", "Pass": "pass", "Nodata": "nodata"}


@dataclass(frozen=True)
class Case:
    """One classifier case; `ours` when our judgement says something else than Kayenta's label."""

    name: str
    baseline: str | tuple[float, ...]
    candidate: str | tuple[float, ...]
    label: str
    direction: Any = "either"
    tolerance: float = 0.10
    confidence: float = 0.95
    sizes: tuple[float, float] | None = None
    effect: Any = "mean_ratio"
    missing: Any = "remove"
    critical: bool = False
    ours: str | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def sides(self) -> tuple[Any, Any]:
        return _numbers(self.baseline), _numbers(self.candidate)

    @property
    def allowed(self) -> float:
        """Our allowed change: Kayenta's allowed increase of the mean ratio, else 10 %."""
        if self.sizes is None or self.effect != "mean_ratio" or self.sizes[1] <= 1:
            return 0.10
        return self.sizes[1] - 1


CLASSIFIER = (
    Case(
        "Mann-Whitney Classifier Test: Pass Metric", "ten", "ten again", "Pass", ours="inconclusive"
    ),
    Case("Mann-Whitney Classifier Test: High Metric", "ten", "twenty", "High"),
    Case("Mann-Whitney Classifier Test: Low Metric", "twenty-baseline", "ten again", "Low"),
    Case(
        "Mann-Whitney Classifier Directional Test: Increase",
        "twenty-baseline",
        "ten again",
        "Pass",
        direction="increase",
    ),
    Case(
        "Mann-Whitney Classifier Directional Test: Decrease",
        "ten",
        "twenty",
        "Pass",
        direction="decrease",
    ),
    Case(
        "Mann-Whitney Classifier Directional Test: High Metric",
        "ten",
        "twenty",
        "High",
        direction="increase",
    ),
    Case(
        "Mann-Whitney Classifier Directional Test: Low Metric",
        "twenty-baseline",
        "ten again",
        "Low",
        direction="decrease",
    ),
    Case(
        "Mann-Whitney Classifier Test: High Metric (Large Input)",
        "mostly zero",
        "fewer zero",
        "High",
    ),
    Case(
        "Mann-Whitney Classifier Test - Mean Ratio Effect Size: High",
        UNITS,
        TWENTIES,
        "High",
        sizes=(0.8, 1.2),
    ),
    Case(
        "Mann-Whitney Classifier Test - Mean Ratio Effect Size: Low",
        "twenty-baseline",
        "ten again",
        "Low",
        direction="decrease",
        sizes=(0.8, 1.2),
    ),
    Case(
        "Mann-Whitney Classifier Test - Mean Ratio Effect Size: Pass",
        TWENTIES,
        (10.0, 12.2, 10.1, 12.5, 23.0),
        "Pass",
        sizes=(0.5, 1.0),
        ours="fail",
    ),
    Case(
        "Mann-Whitney Classifier Test - Mean Ratio Effect Size: Pass (Large Input)",
        "mostly zero",
        "fewer zero",
        "Pass",
        sizes=(1.0, 5.0),
        ours="inconclusive",
    ),
    Case(
        "Mann-Whitney Classifier Test - CLES Effect Size: Pass",
        "cles-pass-baseline",
        "cles-pass-candidate",
        "Pass",
        tolerance=0.2,
        confidence=0.98,
        sizes=(0.5, 0.8),
        effect="cles",
        ours="fail",
    ),
    Case(
        "Mann-Whitney Classifier Test - CLES Effect Size: High",
        "cles-high-baseline",
        "cles-high-candidate",
        "High",
        tolerance=0.2,
        confidence=0.98,
        sizes=(0.2, 0.8),
        effect="cles",
    ),
    Case(
        "Mann-Whitney Classifier Test - CLES Effect Size: Low",
        "cles-low-baseline",
        "cles-low-candidate",
        "Low",
        tolerance=0.2,
        confidence=0.98,
        sizes=(0.2, 0.8),
        effect="cles",
    ),
    Case(
        "Mann-Whitney Classifier Test - Critical Effect Size: Critical High",
        UNITS,
        TWENTIES,
        "High",
        critical=True,
    ),
    Case(
        "Mann-Whitney Classifier Test - Critical Effect Size: Critical Low",
        (10.0, 20.2, 10.1, 20.5, 30.0),
        (2.0, 2.0, 2.0, 2.0, 3.0),
        "Low",
        critical=True,
    ),
    Case(
        "Mann-Whitney Classifier Test - Critical Effect Size: High",
        UNITS,
        TWENTIES,
        "High",
        sizes=(1.0, 5.0),
        ours="fail",
        critical=True,
    ),
    Case(
        "Mann-Whitney Classifier Test - Critical Effect Size: Pass",
        UNITS,
        TWENTIES,
        "Pass",
        sizes=(1.0, 13.0),
        ours="inconclusive",
    ),
    Case(
        "Mann-Whitney Classifier Test - Critical Effect Size: Critical High (Default Thresholds)",
        UNITS,
        TWENTIES,
        "High",
        critical=True,
    ),
    Case(
        "Mann-Whitney Tied Observations",
        (1.0, 1.0),
        (1.0, 1.0, 1.0),
        "Pass",
        direction="decrease",
        ours="inconclusive",
    ),
    Case(
        "Mann-Whitney Identical Populations",
        (5.0, 4.0, 3.0, 2.0, 1.0),
        COUNT,
        "Pass",
        direction="decrease",
        ours="inconclusive",
    ),
    Case(
        "Mann-Whitney Leading Zero Identical Population",
        ONES,
        (0.0, 1.0, 1.0, 1.0, 1.0),
        "Pass",
        direction="decrease",
        ours="inconclusive",
    ),
    Case("Mann-Whitney Missing Experiment Data", COUNT, (), "Nodata", direction="decrease"),
    Case(
        "Mann-Whitney Missing Experiment Data: Critical Metric",
        COUNT,
        (),
        "Nodata",
        direction="decrease",
        critical=True,
    ),
    Case(
        "Mann-Whitney Missing Experiment Data with NaN Replacement",
        COUNT,
        (),
        "Pass",
        direction="decrease",
        ours="nodata",
        missing="replace",
    ),
    Case("Mann-Whitney Missing Data: Reason String", (), (), "Nodata", direction="decrease"),
    Case(
        "Mann-Whitney Majority Tied Observations",
        ONES,
        (1.0, 1.0, 1.0, 1.0, 10.0),
        "Pass",
        ours="inconclusive",
    ),
    Case("Mann-Whitney Tied Ranks", ONES, TENS, "High"),
    Case("Mann-Whitney Tied Ranks With Zeros", ZEROS, TENS, "High"),
    Case(
        "Mann-Whitney Zero Mean: High Metric with Effect Size",
        ZEROS,
        FIFTIES,
        "High",
        sizes=(0.8, 1.2),
    ),
    Case(
        "Mann-Whitney Zero Mean: Low Metric with Effect Size",
        FIFTIES,
        ZEROS,
        "Low",
        sizes=(0.8, 1.2),
    ),
    Case(
        "Mann-Whitney Zero Mean: Critical Metric",
        "ten zeros",
        "ten small",
        "High",
        missing="replace",
        critical=True,
    ),
    Case("Mann-Whitney Zero Mean: Pass Metric", ZEROS, ZEROS, "Pass", sizes=(0.8, 1.2)),
    Case(
        "Mean Inequality Classifier Test: High Metric",
        COUNT,
        (10.0, 20.0, 30.0, 40.0, 50.0),
        "High",
    ),
    Case(
        "Mean Inequality Classifier Test: Low Metric", (10.0, 20.0, 30.0, 40.0, 50.0), COUNT, "Low"
    ),
    Case("Mean Inequality Classifier Test: Pass Metric", COUNT, COUNT, "Pass"),
)

# Of other suites: what our own judgement gives, and what only the comparison mode has
AGREED_ELSEWHERE: set[str] = set()
COMPARED_ELSEWHERE: set[str] = set()


def _agreed(*names: str) -> None:
    AGREED_ELSEWHERE.update(names)


def _compared(*names: str) -> None:
    COMPARED_ELSEWHERE.update(names)


def _numbers(told: str | tuple[float, ...]) -> Any:
    return np.array(SPECS["series"][told] if isinstance(told, str) else told, dtype=np.float64)


def _series(values: Any) -> Series:
    return Series(np.arange(len(values), dtype=np.int64) * 1000, values)


def _judged(case: Case) -> MetricResult:
    metric = Metric.model_validate(
        {
            "name": "m",
            "query": "x{$side}",
            "direction": case.direction,
            "allowed_change": {"relative": case.allowed},
            "min_samples": 2,
            "critical": case.critical,
        }
    )
    base, cand = (_series(side) for side in case.sides)
    return judge_metric(metric, base, cand, step_s=1.0)


@pytest.mark.parametrize(
    "case", [case for case in CLASSIFIER if "Inequality" not in case.name], ids=str
)
def test_comparison_mode_says_what_kayenta_says(case: Case) -> None:
    """Every Mann-Whitney case gets Kayenta's own label."""
    low, high = case.sizes or (None, None)
    found = kayenta_classify(
        *case.sides,
        direction=case.direction,
        tolerance=case.tolerance,
        confidence=case.confidence,
        effect=case.effect,
        allowed_decrease=low,
        allowed_increase=high,
        missing=case.missing,
    )
    assert found == case.label


@pytest.mark.parametrize("case", CLASSIFIER, ids=str)
def test_our_judgement_agrees_or_is_listed(case: Case) -> None:
    """Ours says the like of Kayenta's label, or what docs/explanation/kayenta.md says that it says."""
    result = _judged(case)
    assert result.outcome == (case.ours or OURS[case.label])
    assert result.reason
    if case.ours is not None:
        assert _listed()[case.name][1] == f"`{case.ours}`"


@pytest.mark.parametrize("case", [case for case in CLASSIFIER if case.critical], ids=str)
def test_a_critical_metric_fails_all(case: Case) -> None:
    """What Kayenta calls critical fails the whole canary: score 0."""
    judged = score_metrics(_config(("m", "g", {"critical": True})), [_judged(case)])
    assert (judged.outcome, judged.score) == ("fail", 0.0)


def _config(
    *metrics: tuple[str, str, dict[str, Any]], groups: dict[str, float] | None = None
) -> MetricConfig:
    rules = [
        {
            "name": name,
            "group": group,
            "query": "x{$side}",
            "direction": "increase",
            "allowed_change": {"relative": 0.1},
            **more,
        }
        for name, group, more in metrics
    ]
    return parse_config({"metric": rules, "groups": groups or {}})


def _scored(
    *told: tuple[str, str], groups: dict[str, float] | None = None, missing: str = "fail"
) -> MetricJudgement:
    """Score metrics, told as (group, outcome); an outcome in capitals is of a critical metric."""
    metrics = [
        (f"m{at}", group, {"critical": True} if outcome.isupper() else {"missing": missing})
        for at, (group, outcome) in enumerate(told)
    ]
    config = _config(*metrics, groups=groups)
    counts = {"fail": "fail", "pass": "pass", "ignore": "ignored"}
    results = [
        MetricResult(
            metric,
            outcome.lower(),
            counts[metric.missing] if outcome.lower() == "nodata" else outcome.lower(),
            "told",
            (9, 9),
        )
        for metric, (_, outcome) in zip(config.metrics, told, strict=True)
    ]
    return score_metrics(config, results)


SCORER: dict[str, tuple[tuple[tuple[str, str], ...], dict[str, float] | None, str, float]] = {
    "Single Metric Pass": ((("g", "pass"),), None, "fail", 100.0),
    "Single Metric Fail": ((("g", "fail"),), None, "fail", 0.0),
    "Single group Nodata": ((("g", "nodata"),), None, "fail", 0.0),
    "One Group, Two Metrics": ((("g", "pass"), ("g", "fail")), None, "fail", 50.0),
    "One Group, Three Metrics": (
        (("g", "pass"), ("g", "fail"), ("g", "fail")),
        None,
        "fail",
        33.33,
    ),
    "Two Groups, Three Metrics": (
        (("a", "pass"), ("a", "pass"), ("b", "fail")),
        {"a": 75, "b": 25},
        "fail",
        75.0,
    ),
    "Two Groups, Three Metrics (Equal Weight)": (
        (("a", "pass"), ("a", "fail"), ("b", "fail")),
        {"a": 50, "b": 50},
        "fail",
        25.0,
    ),
    "Two Groups, Three Metrics (Equal Weight), one NoData": (
        (("a", "pass"), ("a", "nodata"), ("b", "fail")),
        {"a": 50, "b": 50},
        "ignore",
        50.0,
    ),
    "Two Metrics, one good (normal), one fail (critical)": (
        (("g", "pass"), ("g", "FAIL")),
        None,
        "fail",
        0.0,
    ),
    "Two Metrics, one low (normal), one good (critical)": (
        (("g", "fail"), ("g", "PASS")),
        None,
        "fail",
        50.0,
    ),
    "Two Metrics, one good (normal), one nodata (critical)": (
        (("g", "pass"), ("g", "NODATA")),
        None,
        "fail",
        0.0,
    ),
    "Two Groups (Unequal Weight), Four Metrics": (
        (("a", "fail"), ("a", "fail"), ("a", "pass"), ("b", "fail")),
        {"a": 15, "b": 85},
        "fail",
        5.0,
    ),
}
_agreed(*(f"Weighted Sum Group Scorer: {name}" for name in SCORER))


@pytest.mark.parametrize("name", SCORER)
def test_our_score_is_kayentas(name: str) -> None:
    """The weighted sum over groups gives the same number."""
    told, groups, missing, score = SCORER[name]
    assert _scored(*told, groups=groups, missing=missing).score == score


def test_a_group_without_data_is_not_a_group_that_passed() -> None:
    """Kayenta counts a group without data as 100; ours counts it as failed, or leaves it out."""
    told = (("a", "pass"), ("a", "pass"), ("b", "nodata"))
    assert _scored(*told).score == 50.0
    left_out = _scored(*told, missing="ignore")
    assert (left_out.score, dict(left_out.groups)) == (100.0, {"a": 100.0, "b": None})


_agreed(
    "Effect Size: Mean Ratio (No Effect)",
    "Effect Size: Mean Ratio (Summary Stats)",
    "Effect Size: Mean Ratio (High)",
    "Effect Size: Mean Ratio (Low)",
    "Effect Size: Mean Ratio (Zero Mean)",
)


@pytest.mark.parametrize(
    ("baseline", "candidate", "ratio"),
    [(ONES, ONES, 1.0), (ONES, TENS, 10.0), ((100.0,) * 5, TENS, 0.1), (ZEROS, TENS, None)],
)
def test_mean_ratio(
    baseline: tuple[float, ...], candidate: tuple[float, ...], ratio: float | None
) -> None:
    """The ratio of means, which our relative change is less one; none for a baseline of 0."""
    base, cand = _numbers(baseline), _numbers(candidate)
    size = effect_size(base, cand, "mean_ratio")
    ours = _judged(Case("", baseline, candidate, "")).as_dict()["relative_change"]
    if ratio is None:
        assert math.isnan(size)
        assert ours is None
    else:
        assert size == pytest.approx(ratio)
        assert ours + 1 == pytest.approx(ratio)


_compared(
    "CLES Effect Size: Identical",
    "CLES Effect Size: Different (No Overlap)",
    "CLES Effect Size: High Metric",
    "CLES Effect Size: Low Metric",
)


@pytest.mark.parametrize(
    ("baseline", "candidate", "size"),
    [
        (COUNT, COUNT, 0.5),
        ("cles-apart-control", "cles-apart", 0.0),
        ("cles-high-control", "cles-high", 0.771),
        ("cles-low-control", "cles-low", 0.12),
    ],
)
def test_common_language_effect(baseline: Any, candidate: Any, size: float) -> None:
    """The share of pairs in which the candidate is higher."""
    found = effect_size(_numbers(baseline), _numbers(candidate), "cles")
    assert found == pytest.approx(size, abs=0.001)


_compared(
    "IQR Detection",
    "IQR Detect Two Sided",
    "IQR Empty Data",
    "IQR NIST Test",
    "IQR Outlier Removal",
)


@pytest.mark.parametrize(
    ("values", "outliers"),
    [
        ((21.0, 23.0, 24.0, 25.0, 50.0, 29.0, 23.0, 21.0), [4]),
        ((1.0, 1.0, 1.0, 5.0, -1.0, -1.0, -1.0, -5.0), [3, 7]),
        ((), []),
        ("nist", [89]),
    ],
)
def test_outliers_by_quartiles(values: Any, outliers: list[int]) -> None:
    """Values 1.5 quartile distances beyond the quartiles, and no others, are outliers."""
    assert np.flatnonzero(iqr_outliers(_numbers(values), 1.5)).tolist() == outliers


def test_outliers_are_kept_unless_told() -> None:
    """One wild value is part of the mean, and of the effect size, unless outliers are removed."""
    base = np.random.default_rng(1).normal(10, 1, 40)
    cand = np.concatenate((base[:39] + 3, [1e6]))
    assert kayenta_classify(base, cand, allowed_increase=1.5) == "High"
    assert kayenta_classify(base, cand, allowed_increase=1.5, outlier_factor=3.0) == "Pass"


_agreed("Remove Single NaN", "Remove Multiple NaN")


@pytest.mark.parametrize(
    ("values", "left"),
    [((0.0, 1.0, None, 1.0, 0.0), [0.0, 1.0, 1.0, 0.0]), ((None, None, None), [])],
)
def test_gaps_are_removed(values: tuple[float | None, ...], left: list[float]) -> None:
    """What Prometheus gave as NaN is no value."""
    series = series_of(range(len(values)), values, Window(0.0, 10.0))
    assert series.values.tolist() == left


_compared("Replace NANs")


def test_gaps_are_replaced_in_comparison_mode_only() -> None:
    """Kayenta can take a missing value as 0: a candidate that went silent is then Low."""
    base, cand = _numbers(TWENTIES), np.full(5, np.nan)
    assert kayenta_classify(base, cand, direction="decrease", confidence=0.95) == "Nodata"
    found = kayenta_classify(base, cand, direction="decrease", confidence=0.95, missing="replace")
    assert found == "Low"


_compared(*SPECS["names"]["mannwhitney"])


def test_rank_z() -> None:
    """The test's z with corrections for ties and continuity, to six digits."""
    x, y = _numbers("near a thirtieth"), _numbers("near a thirtieth-baseline")
    assert rank_z(x, y) == pytest.approx(-1.229416, abs=1e-6)
    assert rank_z(x, y, 5.0) == pytest.approx(-35.80606, abs=1e-6)
    assert NormalDist().inv_cdf(0.01) == pytest.approx(-2.326348, abs=1e-6)


@pytest.mark.parametrize(
    ("x", "y", "confidence", "low", "high", "estimate"),
    [
        ((10.0, 20.0, 30.0, 40.0), (1.0, 2.0, 3.0, 4.0), 0.95, 6.0, 39.0, 22.5),
        (
            "near a thirtieth",
            "near a thirtieth-baseline",
            0.98,
            -1.4808028936386108e-5,
            1.808255910873413e-5,
            1.808255910873413e-5,
        ),
        (
            "halves",
            "halves-baseline",
            0.95,
            -0.500002521696696,
            -3.486287505871302e-5,
            -0.4999393907180323,
        ),
        (
            "more halves",
            "more halves-baseline",
            0.98,
            -0.4999173250549087,
            -6.912685789769486e-6,
            -3.45044082729315e-5,
        ),
        (
            "fewer zero",
            "mostly zero",
            0.95,
            3.521755377702165e-5,
            2.02456461662334e-5,
            2.6279243045155653e-5,
        ),
    ],
)
def test_mann_whitney_interval(
    x: Any, y: Any, confidence: float, low: float, high: float, estimate: float
) -> None:
    """R's interval and estimate; the estimate of two of them hangs on R's own root finder."""
    found = mann_whitney(_numbers(x), _numbers(y), confidence=confidence)
    assert found.low == pytest.approx(low, abs=1e-6)
    assert found.high == pytest.approx(high, abs=1e-6)
    assert found.estimate == pytest.approx(estimate, abs=1e-4)


def test_mann_whitney_in_between() -> None:
    """The bounds of the search, and the z at them."""
    x, y = _numbers("fewer zero"), _numbers("mostly zero")
    least, most = x.min() - y.max(), x.max() - y.min()
    assert (least, most) == pytest.approx((-3.124999999999986, 5.555555555555557), abs=1e-6)
    z = NormalDist().inv_cdf(0.975)
    assert z == pytest.approx(1.9599639845400536, abs=1e-6)
    assert rank_z(x, y, least) - z == pytest.approx(17.090968923762254, abs=1e-6)
    assert rank_z(x, y, most) - z == pytest.approx(-20.997687930433106, abs=1e-6)


def test_many_samples_need_no_matrix() -> None:
    """30,000 a side are judged without the 900 million differences; a slower side is High."""
    random = np.random.default_rng(5)
    base, cand = random.lognormal(-3, 1, 30_000), 1.1 * random.lognormal(-3, 1, 30_000)
    assert kayenta_classify(base, cand) == "High"
    assert kayenta_classify(cand, base) == "Pass"
    assert kayenta_classify(base, base[::-1]) == "Pass"


def _listed() -> dict[str, list[str]]:
    """The rows of docs/explanation/kayenta.md's tables by case: comparison mode, ours, why."""
    rows = re.findall(r"^\| (.+?) \|$", DOC.read_text(encoding="utf-8"), re.MULTILINE)
    cells = [row.split(" | ") for row in rows]
    names = {name for suite in SPECS["names"].values() for name in suite}
    return {name: rest for name, *rest in cells if name in names}


def test_no_case_is_left_out() -> None:
    """Each of the 94 agrees in a test above, or stands in docs/explanation/kayenta.md with a reason; not both."""
    names = SPECS["names"]
    assert {suite: len(cases) for suite, cases in names.items()} == COUNTS
    every = {name for suite in names.values() for name in suite}
    assert len(every) == sum(COUNTS.values()) == 94
    agreed = AGREED_ELSEWHERE | {case.name for case in CLASSIFIER if case.ours is None}
    listed = _listed()
    assert agreed & listed.keys() == set()
    assert agreed | listed.keys() == every
    compared = COMPARED_ELSEWHERE | {case.name for case in CLASSIFIER if case.ours is not None}
    assert compared == {name for name, cells in listed.items() if cells[0] == "agrees"}
    assert all(len(cells) == 3 and cells[2] for cells in listed.values())
    assert f"**{len(agreed)}** agree" in DOC.read_text(encoding="utf-8")
    assert f"**{len(listed)}** do not" in DOC.read_text(encoding="utf-8")
