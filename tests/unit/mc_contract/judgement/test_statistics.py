"""The statistics agree with published values and with their laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mc_contract.judgement.statistics import (
    log_e_value,
    p95,
    runbook_p95,
    student_t_cdf,
    student_t_quantile,
)


@pytest.mark.parametrize(
    ("p", "df", "expected"),
    [
        (0.95, 1, 6.3138),
        (0.975, 1, 12.7062),
        (0.99, 3, 4.5407),
        (0.95, 14, 1.7613),
        (0.975, 10, 2.2281),
        (0.99, 49, 2.4049),
        (0.95, 120, 1.6577),
    ],
)
def test_student_t_quantile_known_values(p: float, df: int, expected: float) -> None:
    """Quantiles are those of printed t tables."""
    assert student_t_quantile(p, df) == pytest.approx(expected, abs=6e-5)


@given(st.floats(-30, 30), st.integers(1, 200))
def test_student_t_cdf_symmetric(t: float, df: int) -> None:
    """The distribution is symmetric about 0."""
    assert student_t_cdf(t, df) + student_t_cdf(-t, df) == pytest.approx(1, abs=1e-12)


@given(st.floats(-30, 30))
@example(3.4195733842e-09)
def test_student_t_cdf_one_degree_is_cauchy(t: float) -> None:
    """With one degree of freedom it is Cauchy's, which has a closed form."""
    assert student_t_cdf(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, abs=1e-9)


def test_p95_is_smallest_with_19_of_20_at_or_below() -> None:
    """p95 of 1..20 is 19, of 1..100 is 95; the runbook's formula is one rank lower."""
    for n, ours, runbook in ((20, 19, 18 + 1), (100, 95, 95), (30, 29, 28)):
        values = np.arange(1.0, n + 1)
        assert (p95(values), runbook_p95(values)) == (ours, runbook)


@given(st.integers(0, 500), st.integers(0, 500), st.integers(0, 5000), st.floats(0, 0.05))
def test_log_e_value_grows_with_worse_and_shrinks_with_better(
    worse: int, better: int, same: int, allowed: float
) -> None:
    """More pairs against the candidate are more evidence, more for it less."""
    now = log_e_value(worse, better, same, allowed=allowed)
    assert log_e_value(worse + 1, better, same, allowed=allowed) >= now
    assert log_e_value(worse, better + 1, same, allowed=allowed) <= now


@pytest.mark.parametrize("allowed", [0.0, 0.0025, 0.01])
def test_log_e_value_is_fair_at_the_boundary(allowed: float) -> None:
    """If the claim holds exactly, the expected wealth stays 1 (summed over all outcomes)."""
    worse, better, pairs = 0.03 + allowed, 0.03, 12
    expected = sum(
        math.comb(pairs, w)
        * math.comb(pairs - w, b)
        * worse**w
        * better**b
        * (1 - worse - better) ** (pairs - w - b)
        * math.exp(log_e_value(w, b, pairs - w - b, allowed=allowed))
        for w in range(pairs + 1)
        for b in range(pairs - w + 1)
    )
    assert expected == pytest.approx(1.0, rel=1e-9)
