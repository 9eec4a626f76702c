"""The privacy block rate comes from a red-team's rows; its report is not believed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from mc_contract.redteam import FAMILIES, figures
from mc_ops.slo import Window, block_rate, newest

NOW = datetime(2026, 5, 6, 9, tzinfo=UTC)


def rows(missed=0):
    made = [
        {
            "id": f"{family}-{n}",
            "family": family,
            "kind": "attack",
            "outcome": "blocked",
            "control": "policy",
            "channel": "",
        }
        for family in FAMILIES
        for n in range(60)
    ]
    for row in made[:missed]:
        row["outcome"] = "missed"
    made += [
        {"id": f"b-{n}", "family": "honest", "kind": "benign", "outcome": "passed"}
        for n in range(200)
    ]
    return made


def result(folder, made=None, *, at=NOW - timedelta(days=1), **more):
    folder.mkdir(parents=True, exist_ok=True)
    made = rows() if made is None else made
    (folder / "redteam-rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    report = {"at": at.isoformat(), "figures": figures(made), "problems": [], "target": "x", **more}
    (folder / "redteam.json").write_text(json.dumps(report))
    return folder


def test_a_fresh_suite_that_blocked_all_is_met(tmp_path):
    """Rate, lower bound and age are told."""
    told = block_rate(result(tmp_path), now=NOW)
    assert (told.value, told.verdict) == (1.0, "met")
    assert told.window == "2026-05-05, 24 h ago"
    assert told.detail["lower_95"] > 0.995


def test_misses_are_a_miss(tmp_path):
    """60 of 1,080 missed are under 99.5 %."""
    told = block_rate(result(tmp_path, rows(60)), now=NOW)
    assert told.verdict == "missed"
    assert told.value == pytest.approx(1020 / 1080)


def test_a_suite_that_could_not_tell_is_unknown_with_its_doubts(tmp_path):
    """Too few attacks, or a policy set that changed meanwhile: the rate is told, not the verdict."""
    few = [row for row in rows() if row["id"].endswith("-1") or row["kind"] == "benign"]
    told = block_rate(result(tmp_path, few), now=NOW)
    assert (told.value, told.verdict) == (1.0, "unknown")
    assert "too few" in told.reason
    told = block_rate(result(tmp_path, problems=["the policy set was changed"]), now=NOW)
    assert (told.verdict, told.reason) == ("unknown", "the policy set was changed")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "redteam-rows.jsonl").unlink(), "redteam-rows.jsonl cannot be read"),
        (lambda folder: (folder / "redteam-rows.jsonl").write_text("{"), "not JSON"),
        (lambda folder: (folder / "redteam-rows.jsonl").write_text('{"id": "a"}\n'), "row 1 lacks"),
        (lambda folder: (folder / "redteam.json").write_text("[]"), "is not a JSON object"),
        (lambda folder: (folder / "redteam.json").write_text("[" * 100_000), "is not JSON"),
        (lambda folder: (folder / "redteam.json").write_text('{"at": "x"}'), "does not say when"),
        (lambda folder: result(folder, at=datetime(2026, 5, 1)), "has no zone"),  # noqa: DTZ001
        (lambda folder: result(folder, at=NOW - timedelta(days=9)), "is 9 d old, over 8d"),
        (lambda folder: result(folder, at=NOW + timedelta(hours=1)), "made in the future"),
        (lambda folder: result(folder, figures={}), "does not follow from its rows"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_null_with_a_reason(tmp_path, spoil, said):
    """Missing, damaged, old, of the future, or a report that tells other rates than its rows."""
    folder = result(tmp_path)
    spoil(folder)
    told = block_rate(folder, now=NOW)
    assert (told.value, told.verdict) == (None, "unknown")
    assert said in told.reason


def test_another_age_may_be_allowed(tmp_path):
    """Nine days old is good enough where ten are."""
    folder = result(tmp_path, at=NOW - timedelta(days=9))
    assert block_rate(folder, now=NOW, oldest=Window.parse("10d")).verdict == "met"


def test_the_newest_suite_is_found_by_its_own_time(tmp_path):
    """Not by the files' times, and a damaged one is passed over."""
    assert newest(tmp_path) is None
    old = result(tmp_path / "redteam-a" / "redteam", at=NOW - timedelta(days=3))
    new = result(tmp_path / "redteam-b" / "redteam", at=NOW - timedelta(days=1))
    (old / "redteam.json").touch()
    broken = tmp_path / "redteam-c"
    broken.mkdir()
    (broken / "redteam.json").write_text("{")
    assert newest(tmp_path) == new
    assert block_rate(None, now=NOW).reason == "no red-team was run: mcctl redteam privacy"
