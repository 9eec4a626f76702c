"""The metric judgement: what is shown, what is not, and that it can be done again."""

from __future__ import annotations

import json
import math
import tomllib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_contract.metric_judgement.statistics import (
    Change,
    TooFew,
    correlation_length,
    paired_change,
    rank_sum_critical,
    signed_rank_critical,
    unpaired_change,
)
from mc_contract.metric_judgement.verdict import (
    FORMAT,
    Metric,
    MetricResult,
    MetricsUnusable,
    Series,
    check_selector,
    judge_metric,
    parse_config,
    rejudge_metrics,
    score_metrics,
)

RULE: dict[str, Any] = {
    "name": "errors",
    "query": "sum(rate(mc_errors_total{$side}[30s]))",
    "direction": "increase",
    "allowed_change": {"relative": 0.10},
}
START = 1_767_225_600.0  # 2026-01-01
WINDOW = {"start": "2026-01-01T00:00:00+00:00", "end": "2026-01-01T00:20:00+00:00"}


def _series(values: Any, *, shift_ms: int = 0, step_ms: int = 15_000) -> Series:
    numbers = np.asarray(values, dtype=np.float64)
    offsets = np.arange(numbers.size, dtype=np.int64) * step_ms + shift_ms
    return Series(offsets, numbers)


def _metric(**changed: Any) -> Metric:
    rules = {"name": "m", "query": "x{$side}", "direction": "increase"} | changed
    size, relative = rules.pop("allowed_change", 0.1), rules.pop("relative", True)
    allowed = {"relative" if relative else "absolute": size}
    return Metric.model_validate({**rules, "allowed_change": allowed})


def _noise(seed: int, n: int = 40, level: float = 100.0) -> Any:
    return np.random.default_rng(seed).normal(level, level / 20, n)


def _judged(base: Any, cand: Any, **changed: Any) -> MetricResult:
    return judge_metric(_metric(**changed), _series(base), _series(cand), step_s=15.0)


@pytest.mark.parametrize(
    ("direction", "factor", "outcome"),
    [
        ("increase", 1.0, "pass"),
        ("increase", 0.5, "pass"),
        ("increase", 1.3, "fail"),
        ("decrease", 0.7, "fail"),
        ("decrease", 1.3, "pass"),
        ("either", 1.3, "fail"),
        ("either", 0.7, "fail"),
        ("either", 1.0, "pass"),
        ("increase", 1.1, "inconclusive"),
    ],
)
def test_a_change_is_held_against_what_is_allowed(
    direction: str, factor: float, outcome: str
) -> None:
    """10 % is allowed: less is shown to be within, more is beyond, 10 % itself is neither."""
    result = _judged(_noise(1), factor * _noise(2), direction=direction)
    assert result.outcome == outcome, result.reason
    assert result.paired is True
    assert f"{0.1:.2%}" in result.reason


def test_allowed_change_in_the_metrics_unit() -> None:
    """An absolute allowed change needs no level: a baseline of 0 can be compared."""
    zeros, some = [0.0] * 40, np.random.default_rng(3).uniform(0, 0.002, 40)
    assert _judged(zeros, some, relative=False, allowed_change=0.005).outcome == "pass"
    relative = _judged(zeros, some)
    assert relative.outcome == "fail"
    assert "the baseline is 0" in relative.reason
    assert _judged(zeros, zeros).outcome == "pass"


def test_a_burst_is_not_equal() -> None:
    """A few points far off leave the median alone; within the allowed change is not shown."""
    base = np.ones(45)
    cand = base.copy()
    cand[[10, 11, 30]] = 20.0
    assert float(np.median(cand)) == 1.0
    assert _judged(base, cand).outcome == "inconclusive"


def test_one_wild_point_does_not_fail_a_candidate() -> None:
    """A glitch is no evidence of a change: inconclusive, not failed."""
    cand = _noise(5)
    cand[20] = 1e9
    assert _judged(_noise(4), cand).outcome == "inconclusive"


def test_pairs_cancel_what_both_sides_share() -> None:
    """Load that swings on both sides hides nothing when compared time by time."""
    swing = 100 + 80 * np.sin(np.arange(40) / 3)
    moved = swing * 1.01 + np.random.default_rng(9).normal(0, 2, 40)
    base, cand = _series(swing), _series(moved)
    paired = judge_metric(_metric(), base, cand, step_s=15.0)
    assert (paired.outcome, paired.paired) == ("pass", True)
    apart = judge_metric(_metric(), base, _series(moved, shift_ms=7), step_s=15.0)
    assert (apart.outcome, apart.paired) == ("inconclusive", False)


def test_a_side_that_is_silent_most_of_the_time_does_not_pass() -> None:
    """A candidate that tells only its good minutes is not judged by these, where data must be there."""
    base, cand = _noise(6), _noise(7)
    told = np.arange(16)
    partly = Series(told * 15_000, cand[told])
    silent = judge_metric(_metric(), _series(base), partly, step_s=15.0)
    assert silent.outcome == "inconclusive"
    assert silent.reason == "40 and 16 points: a side was silent for over half of the time"
    # A counter that begins with the first event is there from then on, and that is no silence
    begun = judge_metric(_metric(missing="pass"), _series(base), partly, step_s=15.0)
    assert "silent" not in begun.reason


def test_times_that_are_mostly_shared_are_paired() -> None:
    """Gaps leave out their time; where too many times differ, nothing is paired."""
    base, cand = _noise(6), _noise(7)
    few_gaps = np.delete(np.arange(40), [3, 17])
    many_gaps = np.arange(0, 40, 2)
    whole = _series(base)
    for kept, paired in ((few_gaps, True), (many_gaps, False)):
        other = Series(kept * 15_000, cand[kept])
        assert judge_metric(_metric(), whole, other, step_s=15.0).paired is paired


@pytest.mark.parametrize(
    ("missing", "counts_as"), [("fail", "fail"), ("pass", "pass"), ("ignore", "ignored")]
)
def test_no_data_is_what_the_rules_say(missing: str, counts_as: str) -> None:
    """No data is an outcome of its own; it is never a pass unless the rules say so."""
    for base, cand, named in (([], [1.0], "baseline"), ([1.0], [], "candidate")):
        result = _judged(base, cand, missing=missing)
        assert (result.outcome, result.counts_as) == ("nodata", counts_as)
        assert f"no data of the {named}" in result.reason


def test_what_could_not_be_asked_is_not_no_data() -> None:
    """A Prometheus that was down says nothing, whatever missing data may count as."""
    result = judge_metric(_metric(missing="pass"), None, _series([1.0]), step_s=15.0)
    assert (result.outcome, result.counts_as) == ("inconclusive", "inconclusive")
    assert result.as_dict()["points"] == {"baseline": None, "candidate": 1}


def test_too_few_points_are_told() -> None:
    """Below the minimum, and where neighbours overlap too much, nothing is decided."""
    few = _judged(_noise(1, 9), _noise(2, 9))
    assert (few.outcome, few.change) == ("inconclusive", None)
    assert "9 and 9, at least 10 a side" in few.reason
    # a range of 5 minutes, asked every 15 s: 40 points are but 2 times 5 minutes
    overlapping = _judged(_noise(1), _noise(2), query="rate(x{$side}[5m])")
    assert overlapping.outcome == "inconclusive"
    assert "2 that do not overlap" in overlapping.reason


def test_what_is_too_rare_is_left_out_if_no_data_would_be() -> None:
    """A few operations in a run tell nothing: ignored where the rules say so, never passed."""
    for query, n in (("x{$side}", 9), ("rate(x{$side}[5m])", 40)):
        for missing, counts_as in (
            ("ignore", "ignored"),
            ("pass", "inconclusive"),
            ("fail", "inconclusive"),
        ):
            few = _judged(_noise(1, n), _noise(2, n), missing=missing, query=query)
            assert few.counts_as == counts_as
    # enough points that are all alike are no rarity
    drifting = np.arange(40.0)
    assert _judged(0 * drifting, drifting, missing="ignore").counts_as == "inconclusive"


def test_critical_values_are_those_of_the_tables() -> None:
    """Published one-sided 5 % points of Wilcoxon's two tests."""
    assert [signed_rank_critical(n) for n in (5, 6, 8, 10, 15)] == [0, 2, 5, 10, 30]
    sizes = ((5, 5), (5, 8), (8, 15), (10, 10), (15, 15))
    assert [rank_sum_critical(*both) for both in sizes] == [4, 8, 33, 27, 72]


def test_a_change_as_large_as_allowed_seldom_passes() -> None:
    """At the edge of the allowed change a pass is wrong: about one in twenty is."""
    passed = sum(
        _judged(_noise(seed), 110 / 100 * _noise(10_000 + seed)).outcome == "pass"
        for seed in range(400)
    )
    assert passed <= 32  # 8 %; 5 % is meant, and correlated noise costs a little


def test_tiny_and_huge_values_have_bounds() -> None:
    """Variances that vanish or grow beyond all measure still give finite bounds."""
    for scale in (1e-160, 1e-300, 1e100):
        base, cand = _noise(1) * scale / 200, _noise(2) * scale / 200
        for change in (paired_change, unpaired_change):
            found = change(base, cand, overlap=1)
            assert isinstance(found, Change)
            assert math.isfinite(found.low)
            assert found.low <= found.estimate <= found.high


def test_correlated_noise_makes_longer_blocks() -> None:
    """Where neighbours are alike they count as one; independent ones count each."""
    random = np.random.default_rng(8)
    white = random.normal(size=400)
    alike = np.repeat(random.normal(size=40), 10)
    assert correlation_length(white) <= 2
    assert correlation_length(alike) >= 10
    assert correlation_length(np.ones(40)) == 1
    assert isinstance(paired_change(np.zeros(40), alike[:40], overlap=1), TooFew)


@given(
    st.lists(st.tuples(*[st.floats(0, 1e6)] * 2), min_size=10, max_size=40),
    st.floats(0, 1e6),
    st.booleans(),
)
def test_more_is_never_better(
    points: list[tuple[float, float]], more: float, together: bool
) -> None:
    """Raising the candidate moves the whole interval up: fail stays, pass may be lost."""
    base, cand = np.array(points).T
    change = paired_change if together else unpaired_change
    before, after = change(base, cand, overlap=1), change(base, cand + more, overlap=1)
    if isinstance(before, Change) and isinstance(after, Change):
        if before.blocks == after.blocks:
            for one, other in (
                (before.low, after.low),
                (before.high, after.high),
                (before.estimate, after.estimate),
            ):
                assert other == pytest.approx(one + more, rel=1e-6, abs=1e-3)
        assert before.low <= before.estimate <= before.high


@given(st.lists(st.tuples(*[st.floats(-1e6, 1e6)] * 2), min_size=10, max_size=30))
def test_a_rise_of_one_is_a_fall_of_its_mirror(points: list[tuple[float, float]]) -> None:
    """`increase` judges a metric as `decrease` judges its negative."""
    base, cand = np.array(points).T
    up = _judged(base, cand, direction="increase", relative=False, allowed_change=1.0)
    down = _judged(-base, -cand, direction="decrease", relative=False, allowed_change=1.0)
    assert up.outcome == down.outcome


# --- all metrics together


def _told(outcomes: dict[str, str], **more: Any) -> Any:
    """Score metrics told as name: outcome; a name in capitals is critical."""
    rules = [RULE | {"name": name, "critical": name.isupper()} for name in outcomes]
    config = parse_config({"metric": rules, **more})
    results = [
        MetricResult(
            metric, outcome, "fail" if outcome == "nodata" else outcome, "so it is", (9, 9)
        )
        for metric, outcome in zip(config.metrics, outcomes.values(), strict=True)
    ]
    return score_metrics(config, results)


@pytest.mark.parametrize(
    ("outcomes", "more", "outcome", "score"),
    [
        ({"a": "pass", "b": "pass"}, {}, "pass", 100.0),
        ({"a": "pass", "b": "inconclusive"}, {}, "inconclusive", 50.0),
        ({"a": "pass", "b": "fail"}, {}, "fail", 50.0),
        ({"a": "pass", "b": "fail"}, {"pass": 50}, "pass", 50.0),
        ({"a": "pass", "b": "fail"}, {"pass": 60, "marginal": 40}, "marginal", 50.0),
        ({"a": "pass", "b": "pass", "C": "fail"}, {"pass": 50}, "fail", 0.0),
        ({"a": "pass", "b": "pass", "C": "inconclusive"}, {"pass": 50}, "inconclusive", 66.67),
        ({"a": "pass", "b": "nodata"}, {"pass": 50}, "inconclusive", 50.0),
        ({"a": "pass", "b": "pass", "c": "nodata"}, {"pass": 60}, "pass", 66.67),
    ],
)
def test_what_the_metrics_make_together(
    outcomes: dict[str, str], more: dict[str, Any], outcome: str, score: float
) -> None:
    """Pass takes the score and every critical metric; what is not known is told apart."""
    judged = _told(outcomes, **more)
    assert (judged.outcome, judged.score) == (outcome, score)
    assert judged.passed is (outcome == "pass")


def test_the_first_critical_failure_is_the_reason() -> None:
    """Whoever reads the verdict learns which metric it was."""
    judged = _told({"a": "pass", "B": "fail"})
    assert judged.reason == "critical metric B: so it is"


# --- the configuration


def test_all_problems_of_a_configuration_are_told_at_once() -> None:
    """One message names every key, what it has and what it must have."""
    bad = {
        "pass": 120,
        "colour": "blue",
        "groups": {"a": 60, "nobody": 10},
        "metric": [
            {**RULE, "name": "one two", "direction": "up", "group": "a"},
            {**RULE, "query": "sum(x)", "allowed_change": 0.1, "missing": "maybe"},
            {**RULE, "weight": 0, "min_samples": 1.5, "critical": "yes", "extra": 1},
            7,
        ],
    }
    with pytest.raises(MetricsUnusable) as caught:
        parse_config(bad)
    for part in (
        "colour is unknown; known: groups, marginal, metric, pass, step_s",
        "pass is 120, must be a number from 0 to 100",
        'metric[0].name is "one two", must be letters, digits',
        'metric[0].direction is "up", must be increase or decrease or either',
        "metric[1].query: must have $side",
        "metric[1].allowed_change is 0.1, must be a table",
        'metric[1].missing is "maybe", must be fail or pass or ignore',
        "metric[2].weight is 0, must be a number from 1e-06 to 1e+06",
        "metric[2].min_samples is 1.5, must be a whole number",
        'metric[2].critical is "yes", must be true or false',
        "metric[2].extra is unknown",
        "metric[3] is 7, must be a table",
        "metric: the name 'errors' is there twice",
        "groups: no metric is in group 'nobody'",
    ):
        assert part in caught.value.message


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("sum(rate(x{$side}[1m]))", None),
        ('x{a="}",$side}', None),
        ("x$side", "belongs within braces"),
        ('x{a="$side"}', "stands within quotes"),
        ("x{a='$side'}", "stands within quotes"),
        ("x{a=`$side`}", "stands within quotes"),
        ('x{a="\\"",$side}', None),
        ("up{}", "must have $side"),
        ("up{} # {$side}", "must have $side"),
        ("up{} # {$side}\n", "must have $side"),
        ("# of a side\nup{$side}", None),
        ('up{a="#",$side}', None),
        ("rate(x{$side}[300])", "with its unit"),
        ("rate(x{$side}[5*1m])", "with its unit"),
        ("x{$side}[1h:5m]", None),
        ('x{a=~"[0-9]",$side}', None),
    ],
)
def test_where_the_side_may_stand(query: str, problem: str | None) -> None:
    """`$side` stands for label matchers: in braces, and in no quotes."""
    config = {"metric": [RULE | {"query": query}]}
    if problem is None:
        assert parse_config(config).metrics[0].query_for('a="b"').count('a="b"') == 1
        return
    with pytest.raises(MetricsUnusable) as caught:
        parse_config(config)
    assert problem in caught.value.message


@pytest.mark.parametrize(
    "selector",
    ['a="b"', 'a =~ "b|c" , d!="e"', 'a="quote \\" brace }"', 'a!~""'],
)
def test_selectors_are_label_matchers(selector: str) -> None:
    """What PromQL has as matchers is taken."""
    assert check_selector("baseline", selector) == selector.strip()


@pytest.mark.parametrize(
    "selector",
    ["", "a", 'a="b"} or vector(1) or x{c="d"', 'a="b",', "a='b'", 'a="b\n"', 'a="b\\"', "$side"],
)
def test_selectors_cannot_leave_their_braces(selector: str) -> None:
    """Anything that could end the braces, or is no matcher, is refused."""
    with pytest.raises(MetricsUnusable, match="the candidate's selector must be label matchers"):
        check_selector("candidate", selector)


def test_ranges_are_read_from_the_query() -> None:
    """The longest range tells how many neighbouring points overlap."""
    for query, range_s in (
        ("x{$side}[1m]", 60),
        ("x{$side}[90s] / x[1h30m]", 5400),
        ("x{$side}[1h:5m]", 3600),
    ):
        assert _metric(query=query).range_s == range_s
    assert _metric().range_s == 0


def test_one_metric_is_a_configuration() -> None:
    """All else has a usual value: everything must pass, and the only group has the weight."""
    text = """
    [[metric]]
    name = "errors"
    query = 'sum(rate(mc_requests_total{status=~"5..",$side}[1m]))'
    direction = "increase"
    allowed_change = { relative = 0.05 }
    critical = true
    """
    config = parse_config(tomllib.loads(text))
    assert (config.pass_score, config.marginal_score, config.step_s) == (100, 75, 15)
    assert config.groups == {"metrics": 100.0}
    [metric] = config.metrics
    assert (metric.critical, metric.missing, metric.min_samples) == (True, "fail", 10)
    assert (metric.allowed_change.relative, metric.allowed_change.absolute) == (0.05, None)
    assert metric.range_s == 60
    assert metric.query_for('a="b"') == 'sum(rate(mc_requests_total{status=~"5..",a="b"}[1m]))'
    assert parse_config(config.as_dict()) == config


@pytest.mark.parametrize(
    "allowed",
    [{}, {"relative": 0.1, "absolute": 0.1}, {"relative": -0.1}, {"relative": float("nan")}],
)
def test_one_change_is_allowed(allowed: dict[str, float]) -> None:
    """Relative or absolute, not both, and a number."""
    with pytest.raises(MetricsUnusable, match="allowed_change"):
        parse_config({"metric": [RULE | {"allowed_change": allowed}]})


def test_groups_without_a_weight_share_the_rest() -> None:
    """As in Kayenta, weights are of 100; those who name all must reach it."""
    rules = [RULE | {"name": name, "group": name} for name in "abc"]
    groups = parse_config({"metric": rules, "groups": {"a": 60}}).groups
    assert groups == {"a": 60.0, "b": 20.0, "c": 20.0}
    for wrong in ({"a": 50, "b": 20, "c": 20}, {"a": 90, "b": 10}):
        with pytest.raises(MetricsUnusable, match="groups: "):
            parse_config({"metric": rules, "groups": wrong})


def test_a_critical_metric_must_have_data() -> None:
    """PROMOTE takes every critical metric by evidence, so no data can't stand for one."""
    with pytest.raises(MetricsUnusable, match="is critical, so missing must be fail"):
        parse_config({"metric": [RULE | {"critical": True, "missing": "ignore"}]})


# --- the file


def _document(factor: float = 1.0, **rules: Any) -> dict[str, Any]:
    config = parse_config({"metric": [RULE | rules]})
    times = [START + 30 + 15 * at for at in range(60)]
    sides = {
        side: {"times": times, "values": (scale * _noise(seed, 60)).tolist()}
        for side, seed, scale in (("baseline", 1, 1.0), ("candidate", 2, factor))
    }
    return {
        "format": FORMAT,
        "window": {"baseline": WINDOW, "candidate": WINDOW},
        "config": config.as_dict(),
        "series": {"errors": sides},
    }


def test_a_judgement_can_be_done_again_from_its_file() -> None:
    """What was written is judged the same when it is read."""
    document = _document()
    found = rejudge_metrics(document)
    assert found.outcome == "pass"
    again = rejudge_metrics(json.loads(json.dumps(document)))
    assert again.as_dict() == found.as_dict()
    json.dumps(found.as_dict(), allow_nan=False)
    assert rejudge_metrics(_document(1.5)).outcome == "fail"


def test_gaps_are_no_values() -> None:
    """A ratio without any request is NaN in Prometheus and null in the file."""
    document = _document()
    values = document["series"]["errors"]["candidate"]["values"]
    values[5] = None
    result = rejudge_metrics(document).results[0]
    assert result.points == (60, 59)
    assert result.outcome == "pass"


def _broken(path: str, value: Any) -> dict[str, Any]:
    document = _document()
    at: Any = document
    *keys, last = path.split("/")
    for key in keys:
        at = at[key]
    at[last] = value
    return document


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("format", "other", "format: expected"),
        ("series", {}, "do not name the same metrics: errors"),
        ("series", [], "must be objects"),
        ("series/errors", {"baseline": None}, "expected baseline and candidate"),
        ("series/errors/baseline", {"times": [1]}, "expected times and values"),
        ("series/errors/baseline/times", [START + 60] * 60, "must rise"),
        ("series/errors/baseline/times", [1.0] * 60, "must rise, and lie within the window"),
        ("series/errors/baseline/values", [1.0], "60 times for 1 values"),
        ("series/errors/baseline/values", [True] * 60, "must be numbers"),
        ("series/errors/baseline/values", [10**400] * 60, "must be numbers"),
        ("series/errors/baseline/values", [math.inf] * 60, "must be numbers"),
        ("window/candidate/end", "2026-01-01T00:20:00", "with a time zone"),
        ("window/candidate/end", "2025-01-01T00:20:00Z", "start first"),
        ("window", None, "window of the baseline"),
        ("config/metric", [], "of 1 to 100"),
    ],
)
def test_a_file_that_cannot_be_is_refused(path: str, value: Any, problem: str) -> None:
    """A file from a stranger is read strictly; the message says where it is wrong."""
    with pytest.raises(MetricsUnusable) as caught:
        rejudge_metrics(_broken(path, value))
    assert problem in caught.value.message


def test_change_beyond_any_float_is_told_as_null() -> None:
    """A baseline next to nothing makes a relative change that JSON cannot hold."""
    found = _judged(np.full(40, 1e-320), np.full(40, 1.0))
    assert found.outcome == "fail"
    assert found.as_dict()["relative_change"] is None
    json.dumps(found.as_dict(), allow_nan=False)
