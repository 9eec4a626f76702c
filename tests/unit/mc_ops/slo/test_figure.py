"""A figure is met, missed or unknown, and unknown is never taken for met."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_ops.slo import Figure, Share, Verdict, overall, shown
from mc_ops.slo.figure import budget_of, judge
from mc_ops.slo.quantile import at_most, quantile

A2A = Share(0.99, strict=True)


def figure(verdict, *, few=False):
    return Figure("n", "t", None, "ratio", "", Verdict(verdict), "", "", few=few)


def test_nothing_happened_is_unknown_and_not_a_hundred_percent():
    """No traffic leaves a success rate unknown."""
    told = judge(A2A, 0, 0)
    assert told.verdict is Verdict.unknown
    assert told.few
    assert told.reason == "nothing happened in this time"


@pytest.mark.parametrize(
    ("share", "good", "total", "verdict"),
    [
        (A2A, 991, 1000, "met"),
        (A2A, 990, 1000, "missed"),  # more than 99 %, and this is 99 % exactly
        (Share(0.95), 95, 100, "met"),  # at least 95 %
        (Share(0.95), 94, 100, "missed"),
        (A2A, 99, 99, "unknown"),  # 100 % of 99: the next bad one would decide
        (A2A, 98, 99, "unknown"),
        (A2A, 5, 10, "missed"),  # few, and yet surely below
        (A2A, 0, 2, "unknown"),  # two of two failed: not before there are three
        (A2A, 0, 3, "missed"),
        (Share(0.995, strict=True), 6, 7, "unknown"),
        (Share(0.995, strict=True), 199, 199, "unknown"),
        (Share(0.995, strict=True), 200, 200, "met"),
    ],
)
def test_a_share_is_judged_by_its_target(share, good, total, verdict):
    """Above, below and at a target, with enough events and too few."""
    assert judge(share, good, total).verdict == verdict


def test_few_events_are_told_with_their_bounds():
    """Ten of ten can be 74 % as well: the bounds of Clopper and Pearson say so."""
    told = judge(A2A, 10, 10)
    assert told.bounds == pytest.approx((0.7411, 1.0), abs=1e-4)
    assert "10 of the 100 events" in told.reason


def test_the_budget_tells_what_is_left_and_how_fast_it_goes():
    """Of 1,000 events ten may be bad: four were, six are left, and the burn rate is 0.4."""
    budget = budget_of(A2A, 996, 1000)
    assert (budget.bad, budget.allowed) == (4, 0.01)
    assert budget.left == pytest.approx(6)
    assert budget.burn_rate == pytest.approx(0.4)
    assert budget_of(A2A, 0, 0) is None


@given(
    st.integers(0, 3000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
    st.sampled_from([0.95, 0.99, 0.995]),
    st.booleans(),
)
def test_one_more_bad_event_never_makes_it_better(counts, at_least, strict):
    """The verdict is monotone in the count of bad events."""
    total, good = counts
    share = Share(at_least, strict)
    order = [Verdict.missed, Verdict.unknown, Verdict.met]
    if good:
        worse = judge(share, good - 1, total).verdict
        assert order.index(worse) <= order.index(judge(share, good, total).verdict)


@pytest.mark.parametrize(
    ("verdicts", "allow_few", "expected"),
    [
        (["met", "not-applicable"], False, "met"),
        (["met", "unknown", "missed"], False, "missed"),
        (["met", "unknown"], False, "unknown"),
        (["met", "few"], False, "unknown"),
        (["met", "few"], True, "met"),
        (["few"], True, "unknown"),  # nothing at all could be told
        (["not-applicable"], True, "unknown"),
        (["met", "unknown", "few"], True, "unknown"),
    ],
)
def test_the_worst_verdict_is_the_overall_one(verdicts, allow_few, expected):
    """Missed before unknown before met; too few events may be waved through, gaps may not."""
    figures = [figure("unknown", few=True) if one == "few" else figure(one) for one in verdicts]
    assert overall(figures, allow_few=allow_few) == expected


def test_a_quantile_is_prometheus_own():
    """Of 100 observations, 90 up to 0.1 s and 10 up to 0.2 s, the 95th is half-way between."""
    told = quantile(0.95, {0.1: 90, 0.2: 100, math.inf: 100})
    assert told.value == pytest.approx(0.15)


def test_a_quantile_above_every_edge_says_so():
    """What lies in the last bucket has no value, only a lower bound."""
    told = quantile(0.95, {0.1: 50, 0.2: 60, math.inf: 100})
    assert told.value is None
    assert told.above == 0.2


@pytest.mark.parametrize("buckets", [{}, {0.1: 5}, {0.1: 0, math.inf: 0}])
def test_no_observations_have_no_quantile(buckets):
    """Nor has a histogram without its last bucket."""
    assert quantile(0.95, buckets).value is None


@given(st.lists(st.floats(0.001, 0.99), min_size=1, max_size=200))
def test_a_quantile_lies_in_the_bucket_of_the_nearest_rank(values):
    """The straight line stays inside of the bucket that holds the 95th percentile."""
    edges = (0.1, 0.2, 0.25, 0.35, 1.0)
    buckets = {edge: float(sum(v <= edge for v in values)) for edge in (*edges, math.inf)}
    rank = sorted(values)[-(-95 * len(values) // 100) - 1]
    upper = next(edge for edge in edges if rank <= edge)
    lower = max((edge for edge in edges if edge < upper), default=0.0)
    value = quantile(0.95, buckets).value
    assert lower - 1e-9 <= value <= upper + 1e-9
    assert at_most(upper, buckets) == buckets[upper]


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "ratio", "-"),
        (0.99999, "ratio", "99.9990 %"),  # not rounded up to a hundred
        (1.0, "ratio", "100.00 %"),
        (0.995, "ratio", "99.50 %"),
        (12.345, "ms", "12.3 ms"),
        (1.234e-6, "EUR", "1.234e-06 EUR"),
        (1234, "count", "1,234"),
    ],
)
def test_figures_are_written_for_people(value, unit, text):
    """A miss is never rounded up to a hundred percent."""
    assert shown(value, unit) == text
