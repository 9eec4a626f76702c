"""The table of several drills: medians, greatest values, sums, and the worst verdict."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from mc_ops.drills import repeat
from mc_ops.drills.plan import Plan
from mc_ops.drills.repeat import summary


def drill(rto_s, lost=0, *, met=True, problem=""):
    parts = (
        {"detection_s": 0.1, "lease_s": 3.0, "move_s": 0.5}
        if rto_s
        else dict.fromkeys(("detection_s", "lease_s", "move_s"))
    )
    one = {"rto_s": rto_s, "parts": parts, "acknowledged": 100, "lost": lost, "rpo_s": lost / 10}
    figures = {"tenants": {"T": {**one, "lost_for_good": 0}}, "met": met}
    return SimpleNamespace(figures=figures, problem=problem)


def test_the_median_and_the_greatest_rto_are_of_those_that_recovered():
    told = summary([drill(3.5), drill(4.0, lost=2), drill(6.0, lost=1)])
    one = told["tenants"]["T"]
    assert one["rto_s"] == {"median": 4.0, "max": 6.0}
    assert one["lease_s"] == {"median": 3.0, "max": 3.0}
    assert (one["lost"], one["lost_for_good"], one["rpo_s"], one["acknowledged"]) == (
        3,
        0,
        0.2,
        300,
    )
    assert (told["drills"], told["met"], told["problems"]) == (3, True, [])


def test_one_that_never_recovered_is_counted_and_the_target_is_missed():
    told = summary([drill(3.5), drill(None, met=False, problem="2 operations stand half done")])
    assert (told["tenants"]["T"]["never"], told["met"]) == (1, False)
    assert told["problems"] == ["2: 2 operations stand half done"]


@pytest.mark.parametrize(("verdicts", "met"), [((True, None), None), ((None, False), False)])
def test_a_blind_drill_leaves_no_verdict_and_a_missed_target_stays_missed(verdicts, met):
    assert summary([drill(3.0, met=each) for each in verdicts])["met"] is met


def test_each_drill_but_the_first_says_how_long_the_rest_will_take(monkeypatch, tmp_path):
    """By the mean of those that have ended."""
    now = [0.0]

    def drilled(*_: object) -> str:
        now[0] += 100.0
        return "finished"

    monkeypatch.setattr(repeat, "run_drill", drilled)
    monkeypatch.setattr(repeat.time, "monotonic", lambda: now[0])
    said: list[str] = []
    plan = Plan(scenario="freeze", tokens={}, rate_per_s=1.0)
    assert repeat.run_drills((), plan, tmp_path, 3, said.append) == ["finished"] * 3
    assert said == [
        "drill 1 of 3", "drill 2 of 3, about 3 min 20 s left", "drill 3 of 3, about 1 min 40 s left",
    ]  # fmt: skip
