"""Oscillation, the documented algorithm replayed, and the smallest window that stops it."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from mc_ops.autoscaler.oscillation import oscillation, reversal_times
from mc_ops.autoscaler.record import read_csv
from mc_ops.autoscaler.replay import SYNC_S, Direction, Policy, Rules, Trace, replay
from mc_ops.autoscaler.window import smallest_window
from mc_ops.errors import UnusableInput

RULES = Rules(min_replicas=3, max_replicas=20)
HOUR = range(0, 3601, SYNC_S)
SIX_HOURS = [float(step * SYNC_S) for step in range(1441)]


def load_trace(values: list[float], replicas: int = 5) -> Trace:
    """Load in replicas' worth, one value every 15 s."""
    return Trace(0.0, tuple(values), replicas)


def sine() -> Trace:
    """Six minutes from peak to peak."""
    return load_trace([8 + 4 * math.sin(2 * math.pi * at / 360) for at in SIX_HOURS])


def cron() -> Trace:
    """A minute of work every ten."""
    return load_trace([12.0 if at % 600 < 60 else 4.0 for at in SIX_HOURS])


def noise(seed: int) -> Trace:
    """Lognormal, each value on its own."""
    draw = random.Random(seed)
    return load_trace([8 * math.exp(draw.gauss(0, 0.25)) for _ in SIX_HOURS])


# -- oscillation ----------------------------------------------------------------------------------


def test_four_reversals_in_an_hour_oscillate() -> None:
    """Up and down every five minutes is far above the threshold."""
    found = oscillation([(float(at), 3 if at % 600 < 300 else 6) for at in HOUR])
    assert found.oscillating
    assert found.enough
    assert found.reversals == 11
    assert found.reversals_per_hour == 11.0
    assert found.why == "11 reversals in the busiest hour of 60 min (4 an hour = oscillating)"


def test_a_daily_rhythm_does_not_oscillate() -> None:
    """Opposite moves that are more than 15 min apart follow the load."""
    series = [(minute * 60.0, 3 if minute % 40 < 20 else 6) for minute in range(0, 241, 20)]
    found = oscillation(series)
    assert found.enough
    assert not found.oscillating
    assert found.reversals == 0


def test_moves_exactly_a_quarter_of_an_hour_apart_count() -> None:
    """`within 15 min` includes 15 min."""
    series = [(0.0, 3), (900.0, 6), (1800.0, 3), (2700.0, 6), (3600.0, 3), (4500.0, 6)]
    assert reversal_times(series) == [1800.0, 2700.0, 3600.0, 4500.0]
    assert oscillation(series).oscillating


def test_steps_in_one_direction_are_no_reversal() -> None:
    """Growing step by step is what an HPA is for."""
    assert reversal_times([(at * 60.0, 3 + at) for at in range(30)]) == []


def test_less_than_an_hour_cannot_say_no_but_can_say_yes() -> None:
    """What has turned four times in 20 minutes oscillates, however short the series is."""
    short = oscillation([(0.0, 3), (60.0, 6), (600.0, 3), (1200.0, 3)])
    assert not short.enough
    assert short.as_dict()["oscillating"] is None
    assert "an hour of data is needed" in short.why
    quick = oscillation([(at * 200.0, 3 if at % 2 else 6) for at in range(7)])
    assert not quick.enough
    assert quick.oscillating


def test_what_nobody_looked_at_does_not_make_an_hour() -> None:
    """A sampler that was down for five hours saw no calm in them."""
    minutes = [*range(30), *range(330, 360)]
    gaps = oscillation([(at * 60.0, 3) for at in minutes], gap_s=300)
    assert not gaps.enough
    assert "an hour of data without a gap is needed" in gaps.why
    assert oscillation([(at * 60.0, 3) for at in range(61)], gap_s=300).enough


def test_the_busiest_hour_is_judged_not_the_average() -> None:
    """Twenty calm hours do not hide the one that oscillates."""
    calm = [(at * 3600.0, 3) for at in range(20)]
    wild = [(20 * 3600.0 + at * 300.0, 6 if at % 2 else 3) for at in range(13)]
    found = oscillation([*calm, *wild])
    assert found.oscillating
    assert found.reversals_per_hour == 11.0


@pytest.mark.parametrize(
    ("series", "said"),
    [
        ([], "is empty"),
        ([(1.0, 3), (0.0, 3)], "not in time order"),
        ([(0.0, -1)], "below 0"),
        ([(math.nan, 1)], "no number"),
    ],
)
def test_a_series_that_is_none_is_refused(series: list[tuple[float, int]], said: str) -> None:
    """Nothing is concluded from broken input."""
    with pytest.raises(UnusableInput, match=said):
        oscillation(series)


# -- the algorithm --------------------------------------------------------------------------------


def replicas(trace: Trace, rules: Rules) -> list[int]:
    """The counts alone."""
    return [count for _, count in replay(trace, rules)]


def test_within_the_tolerance_nothing_moves() -> None:
    """A ratio from 0.9 to 1.1 keeps the replicas; beyond it, it is rounded up."""
    assert replicas(load_trace([10.9, 9.1], 10), RULES) == [10, 10]
    assert replicas(load_trace([11.1], 10), RULES) == [12]


def test_each_direction_has_its_own_tolerance() -> None:
    """`behavior.scaleUp.tolerance` and `.scaleDown.tolerance` (Kubernetes 1.33)."""
    eager = replace(RULES, up=replace(RULES.up, tolerance=0.02)).with_window(0)
    assert replicas(load_trace([10.5, 9.95], 10), eager) == [11, 11]


def test_upwards_at_once_but_at_most_double_or_four() -> None:
    """Default policies up: the larger of 100 % and 4 pods in 15 s."""
    assert replicas(load_trace([19.0] * 4, 3), RULES) == [7, 14, 19, 19]


def test_downwards_by_the_highest_of_the_window() -> None:
    """A recommendation counts while it is younger than 300 s: 20 syncs."""
    found = replicas(load_trace([10.0] + [4.0] * 25, 10), RULES)
    assert found[:20] == [10] * 20
    assert found[20:] == [4] * 6


def test_never_out_of_the_bounds() -> None:
    """Minimum and maximum hold whatever the load is."""
    idle = RULES.with_window(0)
    assert replicas(load_trace([0.0], 5), idle) == [3]
    assert replicas(load_trace([500.0] * 5, 5), RULES)[-1] == 20


def test_a_policy_of_one_pod_a_minute_slows_the_way_down() -> None:
    """`pods` in `period_s` counts what was moved in that period."""
    slow = Rules(min_replicas=1, down=Direction((Policy(60, pods=1),), 0))
    found = replicas(load_trace([2.0] * 9, 6), slow)
    assert found == [5, 5, 5, 5, 4, 4, 4, 4, 3]


def test_the_least_of_policies_and_none_at_all() -> None:
    """`Min` takes the policy that changes least; `Disabled` forbids the direction."""
    both = (Policy(SYNC_S, pods=1), Policy(SYNC_S, percent=50))
    cautious = Rules(down=Direction(both, 0, select="Min"))
    assert replicas(load_trace([1.0], 8), cautious) == [7]
    assert replicas(load_trace([1.0], 8), Rules(down=Direction(both, 0))) == [4]
    never = Rules(down=Direction(both, 0, select="Disabled"))
    assert replicas(load_trace([1.0] * 50, 8), never) == [8] * 50


@given(
    demand=st.lists(st.integers(0, 40), min_size=1, max_size=300),
    first=st.integers(1, 40),
    wider=st.integers(0, 40),
)
@settings(max_examples=examples(150), deadline=None)
def test_the_replicas_alone_tell_of_every_longer_window(
    demand: list[int], first: int, wider: int
) -> None:
    """Where nothing but the window holds replicas back, theirs replay as the load does."""
    free = Rules(min_replicas=0, up=Direction((Policy(15, pods=1000),), 0)).without_tolerance()
    begun = demand[0]
    truth = load_trace([float(value) for value in demand], begun)
    narrow, wide = first * SYNC_S, (first + wider) * SYNC_S
    seen = replay(truth, free.with_window(narrow))
    known = Trace.from_replicas(seen, window_s=narrow)
    assert replay(known, free.with_window(narrow)) == seen
    assert replay(known, free.with_window(wide)) == replay(truth, free.with_window(wide))


def test_a_shorter_window_cannot_be_told_from_replicas() -> None:
    """What the window hid is not in the series."""
    trace = Trace.from_replicas([(0.0, 3), (600.0, 6)], window_s=300)
    with pytest.raises(UnusableInput, match="below the 300 s"):
        replay(trace, RULES.with_window(285))


@pytest.mark.parametrize("target", [0.0, -1.0, math.nan])
def test_a_target_must_be_above_0(target: float) -> None:
    """A load in units of nothing is no load."""
    with pytest.raises(UnusableInput, match="above 0"):
        Trace.from_load([(0.0, 1.0)], target=target, replicas=3)


def test_a_load_beyond_all_numbers_is_refused() -> None:
    """Not a traceback in the middle of the replay."""
    with pytest.raises(UnusableInput, match="beyond all numbers"):
        Trace.from_load([(0.0, 1e300)], target=1e-300, replicas=3)


def test_a_record_of_months_is_refused() -> None:
    """It would take hours, and the day on which it oscillates is what is wanted."""
    with pytest.raises(UnusableInput, match="30 days long, the limit is 7"):
        Trace.from_replicas([(0.0, 3), (30 * 86_400.0, 3)], window_s=300)


def test_a_load_is_read_at_every_sync_by_its_last_value() -> None:
    """Points need not be 15 s apart."""
    trace = Trace.from_load([(0.0, 2.1), (40.0, 4.2), (60.0, 7.0)], target=0.7, replicas=3)
    assert trace.demand == pytest.approx((3.0, 3.0, 3.0, 6.0, 10.0))


# -- the window -----------------------------------------------------------------------------------


def test_the_known_windows_of_sine_and_cron_come_out() -> None:
    """The measured figures of the method, from series made here: 270 s and 555 s."""
    assert smallest_window(sine(), RULES).seconds == 270
    found = smallest_window(cron(), RULES)
    assert found.seconds == 555
    # The method's own figure of this is 11.7 in the mean over a run; ours is the busiest hour.
    assert found.before == 12.0
    assert len(reversal_times(replay(cron(), RULES))) / 6 == pytest.approx(11.7, abs=0.4)
    assert found.after == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_noise_needs_more_than_the_runbook_s_guess(seed: int) -> None:
    """How much depends on the noise (the method's gave 630 s): 600 s would not do for this one."""
    found = smallest_window(noise(seed), RULES)
    assert found.seconds is not None
    assert 600 < found.seconds <= 3600
    assert found.after is not None
    assert found.after <= 1
    guess = oscillation(replay(noise(seed), RULES.with_window(600)))
    assert guess.reversals_per_hour > 1


def test_the_window_is_the_smallest() -> None:
    """One sync less would leave more than one reversal an hour."""
    for trace in (sine(), cron(), noise(0)):
        found = smallest_window(trace, RULES.with_window(0))
        assert found.seconds
        less = oscillation(replay(trace, RULES.with_window(found.seconds - SYNC_S)))
        assert less.reversals_per_hour > 1


def test_from_replicas_alone_the_window_errs_by_the_rise_to_the_safe_side() -> None:
    """One sync more than with the load: the policy let the replicas rise in two steps."""
    seen = replay(cron(), RULES)
    found = smallest_window(Trace.from_replicas(seen, window_s=300), RULES)
    assert found.before == 12.0
    assert found.seconds == 555 + SYNC_S
    free = replace(RULES, up=Direction((Policy(SYNC_S, pods=20),), 0))
    at_once = Trace.from_replicas(replay(cron(), free), window_s=300)
    assert smallest_window(at_once, free).seconds == 555


def test_no_window_stops_what_turns_in_spite_of_the_longest() -> None:
    """Somebody scales by hand: with 3600 s already set the HPA itself would not go down so soon."""
    by_hand = [(at * 300.0, 3 if at % 2 else 6) for at in range(13)]
    longest = RULES.with_window(3600)
    found = smallest_window(Trace.from_replicas(by_hand, window_s=3600), longest)
    assert found.seconds is None
    assert found.after is None
    assert "no window stops it: the API's longest, 3600 s, leaves 11 reversals" in found.why


def test_a_series_as_data_frames_and_spreadsheets_write_it() -> None:
    """A count as `3.0`, a blank line, CRLF; a count that is none is refused by its line."""
    read = read_csv("time,replicas\r\n0,3.0\r\n \r\n60,4\r\n")
    assert read.replicas == ((0.0, 3), (60.0, 4))
    with pytest.raises(UnusableInput, match="line 2: replicas must be a whole number"):
        read_csv("time,replicas\n0,3.5\n")
    with pytest.raises(UnusableInput, match="line 2: "):
        read_csv("time,replicas\n0,3\u20284\n")
