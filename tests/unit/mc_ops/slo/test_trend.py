"""Whether denials rise is told by a test with floors, not by eye."""

from __future__ import annotations

import pytest
from tests.fake_replica import replica

from mc_ops.slo import Measure, ScrapeSource, Window, trend
from mc_ops.slo.trend import Denials, policy_figures


def windows(hour, day):
    """Denials and decisions of the last hour, and of the day that ends with it."""
    return tuple(
        Denials(Window.parse(text), text, denies, decisions, None)
        for text, (denies, decisions) in (("1h", hour), ("24h", day))
    )


@pytest.mark.parametrize(
    ("hour", "day", "direction"),
    [
        ((60, 1000), (100, 24_000), "rising"),  # 6 % where it was 0.2 %
        ((10, 1000), (240, 24_000), "steady"),  # 1 % all day
        ((2, 1000), (400, 24_000), "falling"),  # 0.2 % where it was 1.7 %
        ((3, 1000), (3, 24_000), "steady"),  # three in an otherwise clean day are no trend
        ((19, 1000), (19, 24_000), "steady"),  # the floor: fewer than twenty
        ((20, 1000), (20, 24_000), "rising"),
        ((110, 10_000), (2300, 230_000), "steady"),  # significant or not: a tenth more is no rise
        ((600, 10_000), (1150, 24_000), "rising"),
        ((60, 99), (100, 24_000), "unknown"),  # too few decisions now
        ((60, 1000), (60, 1000), "unknown"),  # and none before: a new deployment
        ((0, 0), (0, 0), "unknown"),
    ],
)
def test_the_last_hour_is_compared_with_the_day_before_it(hour, day, direction):
    """Rising needs a difference that is surely there, is large enough, and has enough denials."""
    assert trend(windows(hour, day)).direction == direction


def test_six_times_the_traffic_is_no_trend():
    """The share is compared, not the count."""
    assert trend(windows((60, 6000), (300, 30_000))).direction == "steady"


def test_extrapolated_counts_may_contradict_each_other():
    """Each window is extrapolated by itself: an hour with a denial more than its day is no error."""
    told = trend(windows((101.4, 1000.2), (100.1, 2000.4)))
    assert told.direction == "rising"


def test_one_span_has_no_trend_and_says_so():
    """Replicas tell counts since their start; they are not taken for a trend."""
    with replica() as one:
        one.decided(allow=900, deny=5)
        some, moved = policy_figures(Measure(ScrapeSource({"blue-1": one.url})))
    assert (some.value, some.verdict) == (5, "met")
    assert moved.verdict == "not-applicable"
    assert "--prometheus does" in moved.reason


@pytest.mark.parametrize(
    ("allow", "deny", "verdict"), [(900, 0, "missed"), (50, 0, "unknown"), (0, 1, "met")]
)
def test_no_denial_among_many_decisions_is_a_finding(allow, deny, verdict):
    """Policy that never denies may be no policy; among a few decisions it means nothing."""
    with replica() as one:
        one.decided(allow=allow, deny=deny)
        some, _ = policy_figures(Measure(ScrapeSource({"blue-1": one.url})))
    assert some.verdict == verdict
