"""What counts say of a rate agrees with exact arithmetic and with published values."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from mc_contract.judgement.statistics import _incomplete_beta
from mc_contract.proportions import binomial_tail, newcombe, rate_lower, rate_upper


def _exact_tail(events, trials, rate):
    p = Fraction(rate)
    return float(
        sum(
            math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(events, trials + 1)
        )
    )


@given(st.integers(1, 80), st.data(), st.integers(1, 99))
def test_the_tail_is_the_exact_binomial(trials, data, percent):
    """Against rational arithmetic, on either side of the middle."""
    events = data.draw(st.integers(0, trials))
    rate = Fraction(percent, 100)
    exact = _exact_tail(events, trials, rate)
    found = binomial_tail(events, trials, float(rate))
    assert found == pytest.approx(exact, rel=1e-9, abs=1e-15)


@settings(max_examples=examples(200))
@given(st.integers(1, 5000), st.data(), st.floats(0.001, 0.999))
def test_the_tail_is_the_incomplete_beta_function(trials, data, rate):
    """P(X >= k) = I_p(k, n - k + 1), by an implementation of another kind."""
    events = data.draw(st.integers(1, trials))
    expected = _incomplete_beta(events, trials - events + 1, rate)
    assert binomial_tail(events, trials, rate) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(
    ("events", "trials", "confidence", "bound"),
    [
        (10, 100, 0.975, 0.04900469),  # the textbook's two-sided 95 % interval, 4.90 to 17.62 %
        (1, 50, 0.95, 1 - 0.95 ** (1 / 50)),  # closed form for one
        (7, 7, 0.95, 0.05 ** (1 / 7)),  # closed form for all
        (0, 1000, 0.95, 0.0),
    ],
)
def test_the_bound_has_its_known_values(events, trials, confidence, bound):
    """Clopper-Pearson, where its values are known otherwise."""
    assert rate_lower(events, trials, confidence) == pytest.approx(bound, abs=1e-8)


@pytest.mark.parametrize(("missed", "trials"), [(0, 598), (1, 947), (2, 1258), (3, 1549)])
def test_the_bound_is_clopper_and_pearsons(missed, trials):
    """The known numbers of trials for 99.5 % with 95 % confidence, and one fewer is too few."""
    assert rate_lower(trials - missed, trials) >= 0.995
    assert rate_lower(trials - 1 - missed, trials - 1) < 0.995


@given(st.integers(1, 400), st.data())
def test_bounds_hold_the_rate_and_grow_with_it(trials, data):
    """The lower bound is at most the rate, the upper at least; one more event raises both."""
    events = data.draw(st.integers(0, trials - 1))
    assert rate_lower(events, trials) <= events / trials <= rate_upper(events, trials)
    assert rate_lower(events, trials) <= rate_lower(events + 1, trials)
    assert rate_upper(events, trials) <= rate_upper(events + 1, trials)


def test_no_trial_proves_nothing():
    """With none, the lower bound is 0 and the upper 1."""
    assert (rate_lower(0, 0), rate_upper(0, 0)) == (0.0, 1.0)
    with pytest.raises(ValueError, match="3 events in 2 trials"):
        rate_upper(3, 2)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [((48, 80, 56, 70), (0.0524, 0.3339)), ((3, 10, 9, 10), (0.1705, 0.8090))],
)
def test_newcombe_published_examples(
    counts: tuple[int, int, int, int], expected: tuple[float, float]
) -> None:
    """Bounds are those of Newcombe 1998, table II, method 10 (two-sided 95 %)."""
    assert newcombe(*counts, alpha=0.025) == pytest.approx(expected, abs=6e-5)
