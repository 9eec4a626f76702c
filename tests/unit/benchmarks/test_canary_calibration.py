"""Simulated canaries: that their truth is what they say, and that a calibration can be redone."""

from __future__ import annotations

from functools import partial

import _canary_series as simulate
import canary_calibration as calibrate
import numpy as np
import pytest

_ALL = {**simulate.SERIES, **simulate.LIMITS}


@pytest.mark.parametrize("name", _ALL)
def test_series_is_one_distribution_on_both_sides(name: str) -> None:
    """Before the change, the sides' p95s differ by chance only: not over 40 canaries."""
    ratios = []
    for seed in range(40):
        base, cand = _ALL[name](np.random.default_rng(seed), 5000)
        ratios.append(np.log(np.quantile(cand, 0.95) / np.quantile(base, 0.95)))
    assert abs(np.mean(ratios)) < 3.5 * np.std(ratios) / np.sqrt(len(ratios))


@pytest.mark.parametrize("change", [simulate.scaled, simulate.tail_only, simulate.now_and_then])
@pytest.mark.parametrize("name", ["heavy-tailed", "bimodal", "drifting"])
def test_change_is_the_p95s_change(name: str, change: object) -> None:
    """A change of 10 % makes the p95 of the whole window 10 % higher, whatever its shape."""
    before, after = (
        simulate.run(_ALL[name], 20_000, np.random.default_rng(1), partial(change, change=share))[1]
        for share in (0.0, 0.1)
    )
    assert np.quantile(after, 0.95) / np.quantile(before, 0.95) == pytest.approx(1.1, abs=0.01)


def _calibrated(seed: int, jobs: int = 1) -> dict[str, object]:
    table = calibrate.calibrate(
        pairs=600, runs=7, seed=seed, series=["bimodal"], jobs=jobs, progress=lambda _: None
    )
    return calibrate.as_dict(table)


def test_calibration_follows_from_its_seed_alone() -> None:
    """The same seed gives the same table, however many processes share the work."""
    assert _calibrated(5) == _calibrated(5, jobs=2)
    assert _calibrated(5) != _calibrated(6)


def test_targets_are_judged_by_what_was_counted() -> None:
    """A target is missed when the figure is surely above its limit, and only for its own pairs."""
    cell = calibrate.Cell(runs=100, promoted=dict.fromkeys(calibrate.JUDGES, 98), stops=[1.0] * 100)
    bad = calibrate.Cell(runs=100, promoted=dict.fromkeys(calibrate.JUDGES, 3), stops=[0.3] * 100)
    table = {"bimodal": {"none": cell} | dict.fromkeys(list(calibrate.CHANGES)[1:], bad)}
    found = {told["target"]: told for told in calibrate.verdicts(table, 30_000)}
    assert found["hold at none"]["outcome"] == "unclear"  # 2 of 100 may be 1 in 100
    assert found["hold at none"]["bounds"][0] < 0.02 < found["hold at none"]["bounds"][1]
    assert found["promote at +5 %"]["outcome"] == "met"
    assert found["promote at +10 %"]["outcome"] == "missed"
    assert found["stop at +20 %"]["outcome"] == "missed"
    assert [told["target"] for told in calibrate.verdicts(table, 10_000)] == ["hold at none"]
    assert calibrate.verdicts(table, 600) == []


@pytest.mark.parametrize(
    "odd", [{"series": ["gaussian"]}, {"series": []}, {"pairs": 299}, {"runs": 0}, {"jobs": 0}]
)
def test_calibrate_unusable_input_refused(odd: dict[str, object]) -> None:
    """Odd numbers and unknown series are refused before anything is drawn."""
    fine = {"pairs": 600, "runs": 1, "seed": 1, "series": ["gap"], "jobs": 1}
    with pytest.raises(ValueError):
        calibrate.calibrate(**{**fine, **odd}, progress=lambda _: None)
