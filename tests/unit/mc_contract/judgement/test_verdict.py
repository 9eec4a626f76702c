"""The verdict: what it must say on fixed series, and its laws."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_contract.judgement.verdict import (
    EarlyHold,
    Judgement,
    Samples,
    SamplesUnusable,
    error_tolerance,
    format_samples,
    history,
    judge,
    look_every,
    rehearsal_margin,
    rejudge,
)

Series = np.ndarray[tuple[int], np.dtype[np.float64]]


def _series(n: int, seed: int, *, tail: float = 0.08, drift: float = 0.3) -> Series:
    """Lognormal body, a slower mode of 3 times, and a slow wave of load, in seconds."""
    rng = np.random.default_rng(seed)
    log = rng.normal(0, 0.35, n) + drift * np.sin(np.arange(n) * 12 / n)
    log[rng.random(n) < tail] += np.log(3)
    return np.asarray(0.005 * np.exp(log), dtype=np.float64)


def _judge(
    base: Series, cand: Series, margin: float = 0.05, planned: int | None = None
) -> Judgement:
    return judge(Samples(base), Samples(cand), margin=margin, planned_pairs=planned)


def _failing(series: Series, every: int) -> Series:
    series = series.copy()
    series[::every] = np.nan
    return series


@pytest.mark.parametrize("seed", range(5))
def test_judge_no_change_full_promotes(seed: int) -> None:
    """30,000 pairs without a change are promoted at 5 %, which is the full verdict."""
    verdict = _judge(_series(30_000, 2 * seed, tail=0.02), _series(30_000, 2 * seed + 1, tail=0.02))
    assert (verdict.kind, verdict.rehearsal) == ("promoted", False)
    assert verdict.interval is not None
    assert verdict.interval[1] < 0.05


@pytest.mark.parametrize("seed", range(10))
def test_judge_rehearsal_tells_same_from_twice_as_slow(seed: int) -> None:
    """3,000 pairs at margin 0.25: no change is promoted, twice as slow is held early."""
    base, cand = _series(3000, 100 + seed), _series(3000, 200 + seed)
    same = _judge(base, cand, 0.25)
    assert (same.verdict, same.rehearsal) == ("PROMOTE", True)
    slow = _judge(base, 2 * cand, 0.25)
    assert (slow.verdict, slow.kind) == ("HOLD", "regressed")
    assert slow.decided_at_pairs < 1000


@pytest.mark.parametrize("seed", range(5))
def test_judge_five_percent_errors_held(seed: int) -> None:
    """5 % failing requests are HOLD errors, even when the others are fast."""
    rng = np.random.default_rng(seed)
    base, cand = _series(3000, 1), 0.5 * _series(3000, 2)
    cand[rng.random(3000) < 0.05] = np.nan
    verdict = _judge(base, cand, 0.25)
    assert (verdict.verdict, verdict.kind) == ("HOLD", "errors")
    assert verdict.decided_at_pairs < 1500


def test_judge_tail_only_regression_held() -> None:
    """A candidate that is 10 % slower in its slowest tenth only is held."""
    base, cand = _series(30_000, 1, tail=0), _series(30_000, 2, tail=0)
    cand[cand > np.quantile(cand, 0.9)] *= 1.1
    assert _judge(base, cand).kind == "regressed"


def test_judge_stall_that_fails_a_heap_not_held_as_errors() -> None:
    """A stall that fails 26 requests of one side in a row is no evidence about the candidate."""
    base, cand = _series(3000, 1), _series(3000, 2)
    cand[1500:1526] = np.nan
    base[1530:1549] = np.nan
    verdict = _judge(base, cand, 0.25)
    assert verdict.kind != "errors", verdict.reason


def test_judge_candidate_dying_midway_held_on_errors() -> None:
    """A candidate that dies half-way is HOLD errors before two thirds of the window."""
    cand = _series(3000, 2)
    cand[1500:] = np.nan
    verdict = _judge(_series(3000, 1), cand, 0.25)
    assert verdict.kind == "errors"
    assert verdict.decided_at_pairs < 2000


def test_judge_failing_baseline_inconclusive() -> None:
    """A baseline that fails 6 % is no measure: a candidate that fails as often is not promoted."""
    base, cand = _failing(_series(3000, 1), 16), _failing(_series(3000, 2), 16)
    verdict = _judge(base, 0.5 * cand, 0.25)
    assert (verdict.verdict, verdict.kind) == ("HOLD", "inconclusive")
    assert "the baseline failed 188 of 3000 requests" in verdict.reason


def test_judge_few_stray_errors_in_rehearsal_promoted() -> None:
    """A handful of stray failures does not hold a rehearsal; the tolerance allows for five."""
    cand = _series(3000, 2)
    cand[[5, 700, 1400, 2100, 2999]] = np.nan
    verdict = _judge(_series(3000, 1), cand, 0.25)
    assert verdict.verdict == "PROMOTE", verdict.reason
    assert verdict.error_tolerance == 0.005


def test_judge_too_few_pairs_for_margin_inconclusive_with_pairs_needed() -> None:
    """Too few noisy pairs are HOLD inconclusive, with the pairs that would have been needed."""
    verdict = _judge(_series(600, 3), _series(600, 4))
    assert (verdict.verdict, verdict.kind, verdict.rehearsal) == ("HOLD", "inconclusive", True)
    assert verdict.pairs_needed is not None
    assert verdict.pairs_needed > 600
    assert f"{verdict.pairs_needed} pairs would decide it" in verdict.reason


@pytest.mark.parametrize("n", [1, 2, 19, 299])
def test_judge_handful_of_samples_never_promoted(n: int) -> None:
    """However equal, a handful of samples shows nothing."""
    same = np.full(n, 0.01)
    verdict = _judge(same, same, 1.0)
    assert (verdict.verdict, verdict.kind) == ("HOLD", "inconclusive")
    assert verdict.pairs_needed == 300
    json.dumps(verdict.as_dict(), allow_nan=False)


def test_judge_stopped_before_horizon_never_promoted() -> None:
    """PROMOTE comes only when all planned pairs are there."""
    base, cand = _series(2999, 1), _series(2999, 1)
    verdict = _judge(base, cand, 0.25, 3000)
    assert (verdict.verdict, verdict.kind) == ("HOLD", "inconclusive")
    assert "stopped at 2999 of 3000 planned pairs" in verdict.reason


_FLAT = np.full(3000, 0.1)


@pytest.mark.parametrize(
    ("base", "cand", "planned", "reason"),
    [
        (
            _FLAT,
            _FLAT * 1.04,
            3000,
            (
                "the candidate's p95 is +4 % against the baseline's (90 % interval +4 % to +4 %): shown "
                "to be less than 25 % worse"
            ),
        ),
        (
            _FLAT,
            _FLAT * 1.6,
            3000,
            "the candidate's p95 is 60 % worse (90 % interval +60 % to +60 %; allowed 25 %)",
        ),
        (
            _series(3000, 100),
            2 * _series(3000, 200),
            3000,
            (
                "the candidate's p95 is 84.8 % worse (26.4 ms, baseline 15.7 ms; allowed 25 %), clear "
                "after 300 of 3000 pairs"
            ),
        ),
        (
            _FLAT,
            np.where(np.arange(3000) < 1500, 0.1, np.nan),
            3000,
            (
                "the candidate alone failed in 180 of 1680 pairs, the baseline alone in 0 (allowed 0.5 % "
                "more), clear after 1680 of 3000 pairs"
            ),
        ),
        (
            _FLAT,
            _failing(_FLAT, 120)[:2990],
            None,
            (
                "the candidate fails 0.59 % to 1.16 % more of its requests than the baseline (allowed "
                "0.5 %)"
            ),
        ),
        (
            _failing(_FLAT, 16),
            _failing(_FLAT, 16),
            3000,
            "the baseline failed 188 of 3000 requests: too many to compare with it",
        ),
        (
            _FLAT[:299],
            _FLAT[:299],
            None,
            "too few answers: at least 300 a side are needed, throughout the run",
        ),
        (
            _FLAT[:2999],
            _FLAT[:2999],
            3000,
            (
                "stopped at 2999 of 3000 planned pairs; so far the candidate's p95 is +0 % against the "
                "baseline's (90 % interval +0 % to +0 %)"
            ),
        ),
    ],
)
def test_the_reason_has_the_figures_and_what_is_allowed(
    base: Series, cand: Series, planned: int | None, reason: str
) -> None:
    """One sentence says what was seen, by how much, and what would have been allowed."""
    assert _judge(base, cand, 0.25, planned).reason == reason


@pytest.mark.parametrize("sides", ["both", "base", "cand"])
def test_judge_side_that_always_fails_is_held(sides: str) -> None:
    """A side without a single answer gives HOLD and null figures, not a crash."""
    failed, fine = np.full(1000, np.nan), np.full(1000, 0.01)
    verdict = _judge(failed if sides != "cand" else fine, failed if sides != "base" else fine, 0.25)
    assert verdict.verdict == "HOLD"
    assert verdict.kind == ("errors" if sides == "cand" else "inconclusive")
    assert verdict.regression is None
    json.dumps(verdict.as_dict(), allow_nan=False)


def test_judge_unequal_lengths_by_blocks() -> None:
    """Files of different length are judged by time blocks, not by pairs."""
    base, cand = _series(30_000, 1, tail=0), _series(24_000, 2, tail=0)
    assert (_judge(base, cand).kind, _judge(base, cand).paired) == ("promoted", False)
    assert _judge(base, 1.3 * cand).kind == "regressed"
    assert _judge(base, _failing(cand, 20)).kind == "errors"


def test_judge_constant_series_decided_exactly() -> None:
    """Series without noise are told apart by their ratio alone."""
    base = np.full(20_000, 0.1)
    assert _judge(base, base * 1.04).verdict == "PROMOTE"
    assert _judge(base, base * 1.06).kind == "regressed"


def test_judge_surely_within_margin_promoted() -> None:
    """A candidate that is surely 3 % slower is within 5 %, so it is not held on the way."""
    base = _series(30_000, 1)
    assert _judge(base, 1.03 * base).verdict == "PROMOTE"
    assert _judge(base, 1.08 * base).kind == "regressed"


def test_judge_fewer_planned_than_present_refused() -> None:
    """The horizon is declared before the run: it cannot be less than what was sent."""
    same = np.full(1000, 0.01)
    with pytest.raises(SamplesUnusable, match="planned pairs are 999, but the files have 1000"):
        _judge(same, same, 0.25, 999)


def test_judge_prints_runbook_figure_beside() -> None:
    """The runbook's own figure and bare rule stand beside the verdict."""
    base = np.arange(1.0, 31.0) / 100
    figures = _judge(base, base * 1.2).as_dict()["runbook"]
    assert figures["baseline_p95_ms"] == sorted(base)[int(0.95 * 30) - 1] * 1000
    assert figures["regression_percent"] == pytest.approx(20)
    assert figures["verdict"] == "HOLD"


def test_judgement_as_dict_has_the_promised_keys() -> None:
    """The JSON has every key that readers were promised."""
    figures = _judge(_series(3000, 1), _series(3000, 2), 0.25).as_dict()
    promised = {
        "verdict", "kind", "reason", "baseline", "candidate", "regression", "interval", "margin",
        "method", "looks", "rehearsal", "pairs_needed", "runbook",
    }  # fmt: skip
    assert promised <= figures.keys()
    assert figures["baseline"].keys() == {"n", "errors", "p95_ms"}
    assert figures["looks"] == 100


@pytest.mark.parametrize("margin", [0, -0.1, 1.1, float("nan"), float("inf")])
def test_judge_senseless_margin_refused(margin: float) -> None:
    """A margin that allows nothing or everything is refused."""
    with pytest.raises(SamplesUnusable, match="margin"):
        _judge(np.ones(10), np.ones(10), margin)


def test_rehearsal_margin_follows_pairs() -> None:
    """More pairs decide a smaller margin; the steps are 0.05; 3,000 pairs decide 0.25."""
    assert rehearsal_margin(3000) == 0.25
    margins = [rehearsal_margin(n) for n in (2137, 5000, 9000, 15_000, 19_999)]
    assert margins == sorted(margins, reverse=True)
    assert all(round(margin / 0.05, 9).is_integer() and margin <= 0.25 for margin in margins)
    with pytest.raises(SamplesUnusable, match="it takes 2137 pairs"):
        rehearsal_margin(2136)


@given(st.integers(1, 100_000))
def test_error_tolerance_known_beforehand_and_bounded(planned: int) -> None:
    """The tolerance depends on the plan alone: half a point for a full verdict, at most two."""
    assert error_tolerance(margin=0.05, planned_pairs=20_000) == 0.005
    assert 0.005 <= error_tolerance(margin=0.25, planned_pairs=planned) <= 0.02


@pytest.mark.parametrize("factor", [1.0, 1.5, 2.0])
def test_rejudge_files_gives_the_live_verdict(factor: float) -> None:
    """The watch that stopped a run, and the files it left, give one and the same verdict."""
    base, cand = (np.round(_series(3000, seed), 6) for seed in (1, 2))
    cand = np.round(cand * factor, 6)
    watch, step, seen = EarlyHold(0.25, 3000), look_every(3000), 3000
    for at in range(step, 3001, step):
        if watch.advance(base[:at], cand[:at]):
            seen = at
            break
    # A few more pairs were on their way when the watch said stop.
    files = [format_samples(Samples(side[: seen + 7])) for side in (base, cand)]
    again = rejudge(files[0], files[1], {"margin": 0.25, "planned_pairs": 3000})
    whole = _judge(base, cand, 0.25)
    assert (again.kind, again.decided_at_pairs) == (whole.kind, whole.decided_at_pairs)
    assert again.decided_at_pairs == seen


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"margin": "0.25", "planned_pairs": 10},
        {"margin": True, "planned_pairs": 10},
        {"margin": 0.25},
        {"margin": 0.25, "planned_pairs": 1.5},
        {"margin": 0.25, "planned_pairs": True},
        {"margin": 0.25, "planned_pairs": 0},
    ],
)
def test_rejudge_missing_or_odd_parameters_refused(parameters: dict[str, object]) -> None:
    """Parameters that were not declared properly are refused, never guessed."""
    with pytest.raises(SamplesUnusable):
        rejudge(b"0.1\n", b"0.1\n", parameters)


_LAWS = settings(max_examples=40)
_RANK = {"PROMOTE": 0, "HOLD": 1}


@_LAWS
@given(
    seed=st.integers(0, 10_000),
    n=st.sampled_from([300, 900, 3000]),
    start=st.floats(0.7, 1.6),
    factor=st.floats(1.0, 3.0),
    margin=st.sampled_from([0.05, 0.25, 0.5]),
)
def test_judge_slower_candidate_never_fares_better(
    seed: int, n: int, start: float, factor: float, margin: float
) -> None:
    """Slowing every answer of the candidate never turns HOLD into PROMOTE."""
    base, cand = _series(n, seed), start * _series(n, seed + 1)
    before, after = _judge(base, cand, margin), _judge(base, factor * cand, margin)
    assert _RANK[after.verdict] >= _RANK[before.verdict]
    if before.kind == "regressed":
        assert after.kind == "regressed"


@_LAWS
@given(seed=st.integers(0, 10_000), n=st.integers(1, 2000), every=st.integers(2, 400))
def test_judge_identical_sides_never_regressed(seed: int, n: int, every: int) -> None:
    """A side compared with itself is never regressed, nor failing more often."""
    same = _failing(_series(n, seed), every)
    assert _judge(same, same, 0.25).kind in ("promoted", "inconclusive")


@_LAWS
@given(seed=st.integers(0, 10_000), unit=st.floats(0.01, 100))
def test_judge_unit_of_time_does_not_matter(seed: int, unit: float) -> None:
    """The verdict depends on ratios only."""
    base, cand = _series(900, seed), _series(900, seed + 1)
    assert _judge(base, cand, 0.5).kind == _judge(unit * base, unit * cand, 0.5).kind


@_LAWS
@given(seed=st.integers(0, 10_000), extra=st.sets(st.integers(0, 2999), max_size=300))
def test_judge_more_candidate_errors_never_promote(seed: int, extra: set[int]) -> None:
    """A PROMOTE never has an error difference whose bound reaches the tolerance."""
    base, cand = _series(3000, seed), _series(3000, seed + 1)
    cand[list(extra)] = np.nan
    verdict = _judge(base, cand, 0.25)
    if len(extra) >= 15:
        assert verdict.verdict == "HOLD"
    if verdict.verdict == "PROMOTE":
        assert verdict.error_bound is not None
        assert verdict.error_bound < verdict.error_tolerance


@pytest.mark.parametrize(
    "parameters",
    [
        {"margin": 0.1, "planned_pairs": 10**400},
        {"margin": 0.1, "planned_pairs": 10**5000},
        {"margin": 10**400, "planned_pairs": 400},
        {"margin": 0.1, "planned_pairs": 400, "instances": 10**5000},
        {"margin": 0.1, "planned_pairs": 400, "instances": "1" * 10**6},
    ],
)
def test_rejudge_number_beyond_a_float_refused(parameters: dict[str, object]) -> None:
    """JSON knows integers of any size; none of them ends in another error, or a long message."""
    samples = format_samples(Samples(_series(400, 1)))
    with pytest.raises(SamplesUnusable) as refused:
        rejudge(samples, samples, parameters)
    assert len(refused.value.message) < 200


def test_history_ends_at_the_look_on_which_errors_decided() -> None:
    """The picture has an estimate where the verdict fell, whatever it fell for."""
    base, cand = _series(3000, 1), _failing(_series(3000, 2), 4)
    verdict = _judge(base, cand, margin=0.25)
    assert (verdict.kind, verdict.decided_at_pairs < 3000) == ("errors", True)
    looks = history(Samples(base), Samples(cand), margin=0.25)
    assert looks[-1].at_pairs == verdict.decided_at_pairs
