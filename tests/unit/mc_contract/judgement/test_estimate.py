"""The estimate over stretches: what it is blind to on purpose, and what it must see."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_contract.judgement.estimate import (
    cell_ratios,
    estimate,
    estimate_of_cells,
    log_p95_ratio,
    stretches_of,
)
from mc_contract.judgement.samples import SamplesUnusable, format_samples, parse_samples
from mc_contract.judgement.verdict import Samples, history, judge, rejudge

Series = np.ndarray[tuple[int], np.dtype[np.float64]]


def _series(n: int, seed: int) -> Series:
    return 0.01 * np.random.default_rng(seed).lognormal(0, 0.4, n)


def _slowed(series: Series, where: slice, factor: float) -> Series:
    series = series.copy()
    series[where] *= factor
    return series


def test_estimate_of_a_scaled_copy_is_the_scale() -> None:
    """Every cell of a candidate that is 7 % slower says 7 %, without noise."""
    base = _series(6000, 1)
    known = estimate(base, 1.07 * base)
    assert known is not None
    assert math.expm1(known.mean) == pytest.approx(0.07)
    assert known.se == pytest.approx(0, abs=1e-12)
    assert known.exceeds(math.log(1.06), alpha=0.01)
    assert not known.exceeds(math.log(1.08), alpha=0.01)


def test_estimate_smoothed_p95_follows_the_definition() -> None:
    """Of 100 answers in one cell the 91st to 98th count, by the mean of their logs."""
    base, cand = np.full(100, 1.0), np.arange(1.0, 101.0)
    assert cell_ratios(base, cand)[0] == pytest.approx(np.log(np.arange(91, 99)).mean())


def test_estimate_noisy_neighbour_of_one_instance_does_not_decide() -> None:
    """One of four instances half as slow again for a tenth of the time moves it by under 2 %."""
    base, cand = _series(30_000, 1), _series(30_000, 2)
    noisy = cand.copy()
    spell = np.arange(30_000) // 3000 == 4
    noisy[spell & (np.arange(30_000) % 4 == 1)] *= 1.5
    quiet, disturbed = (estimate(base, side, instances=4) for side in (cand, noisy))
    assert quiet is not None
    assert disturbed is not None
    assert abs(disturbed.mean - quiet.mean) < 0.02
    assert judge(Samples(base), Samples(noisy), instances=4).kind == "promoted"


def test_judge_candidate_slow_now_and_then_is_held_by_the_log_p95_ratio() -> None:
    """What trimming does not see, twice as slow in 12 % of the time, the whole window does."""
    base, cand = _series(30_000, 1), _series(30_000, 2)
    for at in (6000, 15_000, 24_000):
        cand = _slowed(cand, slice(at, at + 1200), 2.0)
    assert math.expm1(log_p95_ratio(base, cand)) > 0.05
    verdict = judge(Samples(base), Samples(cand))
    assert verdict.verdict == "HOLD"
    assert verdict.kind == "regressed" or "slow now and then" in verdict.reason


def test_estimate_failing_the_slowest_makes_nobody_faster() -> None:
    """A time limit that fails the slowest 2 % of a candidate leaves its ratio where it was."""
    base, cand = _series(30_000, 1), 1.05 * _series(30_000, 2)
    whole = log_p95_ratio(base, cand)
    for share in (0.003, 0.02):
        limited = np.where(cand > np.quantile(cand, 1 - share), np.nan, cand)
        assert log_p95_ratio(base, limited) == pytest.approx(whole, abs=1e-3)
    known, held = estimate(base, cand), estimate(base, limited)
    assert known is not None
    assert held is not None
    assert held.mean > known.mean - 0.01


def test_estimate_failures_of_both_sides_alike_change_little() -> None:
    """Where both fail 2 % at random, none is slower for it; above 8 % nothing is told."""
    rng = np.random.default_rng(5)
    base, cand = _series(30_000, 1), _series(30_000, 2)
    whole = log_p95_ratio(base, cand)
    for share, told in ((0.02, True), (0.06, True), (0.09, False)):
        some, other = (np.where(rng.random(30_000) < share, np.nan, one) for one in (base, cand))
        ratio = log_p95_ratio(some, other)
        assert math.isnan(ratio) is not told
        assert not told or abs(ratio - whole) < 0.03


def test_estimate_too_few_answers_is_none() -> None:
    """Cells without answers are left out; when over a fifth are, there is no estimate."""
    base, cand = _series(6000, 1), _series(6000, 2)
    some, many = cand.copy(), cand.copy()
    some[:600] = np.nan
    many[:1500] = np.nan
    assert estimate(base, some) is not None
    assert estimate(base, many) is None


def test_estimate_clusters_widen_what_lasts() -> None:
    """A wave of the ratio that lasts for many stretches gives a wider interval than noise does."""
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.1, (100, 1))
    wave = 0.1 * math.sqrt(2) * np.sin(np.arange(100) / 100 * 4 * math.pi).reshape(100, 1)
    quick, slow = estimate_of_cells(noise), estimate_of_cells(wave)
    assert quick is not None
    assert slow is not None
    assert slow.se > 1.5 * quick.se


@given(st.integers(1, 2_000_000), st.integers(1, 100))
def test_stretches_give_cells_of_fifty_pairs(pairs: int, instances: int) -> None:
    """At most 100 stretches, and cells of 50 pairs unless there are not so many."""
    count = stretches_of(pairs, instances)
    assert 1 <= count <= 100
    assert count == 1 or pairs // count >= 50 * instances


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(1, 7), st.integers(300, 2000))
def test_instances_cut_the_same_pairs(seed: int, instances: int, n: int) -> None:
    """A request at position p belongs to instance p % instances, wherever a stretch begins."""
    base, cand = _series(n, seed), _series(n, seed + 1)
    shifted = cell_ratios(base[3:], cand[3:], instances=instances, start=3)
    for at in range(instances):
        kept = [position for position in range(3, n) if position % instances == at]
        expected = cell_ratios(base[kept], cand[kept])[0]
        assert shifted[at] == pytest.approx(expected, nan_ok=True)


def test_history_ends_with_the_verdicts_own_interval() -> None:
    """The last look has the figures of the verdict, so that a picture and it agree."""
    base, cand = Samples(_series(3000, 1)), Samples(_series(3000, 2))
    looks = history(base, cand, margin=0.25)
    verdict = judge(base, cand, margin=0.25)
    assert (looks[-1].low, looks[-1].high) == verdict.interval
    assert [look.at_pairs for look in looks] == sorted({look.at_pairs for look in looks})
    held = judge(base, Samples(2 * cand.latencies_s), margin=0.25)
    fell = history(base, Samples(2 * cand.latencies_s), margin=0.25)
    assert fell[-1].at_pairs == held.decided_at_pairs < 3000
    assert history(base, Samples(_series(2000, 3)), margin=0.25) == []


@pytest.mark.parametrize("instances", [0, 101, True, 1.0, "4"])
def test_rejudge_odd_instances_refused(instances: object) -> None:
    """Instances that cannot be are refused by name."""
    files = [format_samples(Samples(_series(300, seed))) for seed in (1, 2)]
    with pytest.raises(SamplesUnusable, match="instances"):
        rejudge(*files, {"margin": 0.25, "planned_pairs": 300, "instances": instances})


def test_judge_shorter_side_looks_no_faster() -> None:
    """A p95 of fewer answers is biased, so of a side ten times as long as many are compared."""
    regressions = []
    for seed in range(30):
        base, cand = _series(30_000, seed), 1.1 * _series(3000, 1000 + seed)
        regression = judge(Samples(base), Samples(cand), margin=0.5).regression
        assert regression is not None
        regressions.append(regression)
    spread = np.std(regressions) / math.sqrt(len(regressions))
    assert abs(np.mean(regressions) - 0.1) < 3.5 * spread


@pytest.mark.parametrize(("share", "held"), [(0.0035, False), (0.02, True)])
def test_judge_errors_are_held_beyond_what_is_allowed(share: float, held: bool) -> None:
    """0.35 % more failures are within the 0.5 % that is allowed; 2 % are held before the end."""
    base, cand = _series(30_000, 1), _series(30_000, 2)
    cand[:: round(1 / share)] = np.nan
    verdict = judge(Samples(base), Samples(cand))
    assert (verdict.kind == "errors") == held, verdict.reason
    assert (verdict.decided_at_pairs < 30_000) == held


def test_parse_mixed_errors_exactly() -> None:
    """`error` is a whole line; what only has its letters is refused by its number."""
    parsed = parse_samples(b"error\n0.1\nerror\n1e-2\n")
    assert [math.isnan(value) for value in parsed.latencies_s] == [True, False, True, False]
    for bad in (
        b"error\n0.1rror\n",
        b"error\n0.1e\nrror\n",
        b"errorerror\n",
        b"error\n" + b"1" * 65,
    ):
        with pytest.raises(SamplesUnusable, match=r"line [12]"):
            parse_samples(bad)
