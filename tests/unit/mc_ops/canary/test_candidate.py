"""Which canary a cutover leans on: the newest about what is to serve, however it was addressed."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from mc_ops.canary.candidate import last_cutover, newest_about
from mc_ops.errors import CouldNotTell

GREEN = ["http://127.0.0.1:18083"]
EVER = datetime.min.replace(tzinfo=UTC)


def a_canary(runs: Path, name: str, url: str, ended_at: str) -> Path:
    """A run's folder with a verdict that names its candidate."""
    folder = runs / name / "canary"
    folder.mkdir(parents=True)
    verdict = {"ended_at": ended_at, "urls": {"baseline": [], "candidate": [url]}}
    (folder / "verdict.json").write_text(json.dumps(verdict))
    return folder


@pytest.mark.parametrize(
    "url", ["http://localhost:18083", "http://LOCALHOST:18083/", "http://[::1]:18083/x"]
)
def test_another_name_of_this_machine_is_the_same_candidate(tmp_path: Path, url: str) -> None:
    """Else a HOLD of the very candidate would not be seen."""
    a_canary(tmp_path, "before", GREEN[0], "2026-01-01T00:00:00+00:00")
    held = a_canary(tmp_path, "held", url, "2026-01-02T00:00:00+00:00")
    assert newest_about(tmp_path, GREEN, EVER) == held


def test_another_port_or_machine_is_another_candidate(tmp_path: Path) -> None:
    """A port that is not named is the scheme's."""
    a_canary(tmp_path, "port", "http://127.0.0.1:18084", "2026-01-02T00:00:00+00:00")
    a_canary(tmp_path, "machine", "http://green.example:18083", "2026-01-02T00:00:00+00:00")
    assert newest_about(tmp_path, GREEN, EVER) is None
    usual = a_canary(tmp_path, "usual", "http://green.example", "2026-01-03T00:00:00+00:00")
    assert newest_about(tmp_path, ["http://green.example:80"], EVER) == usual


ODD_TIME = json.dumps({"ended_at": "yesterday", "urls": {"candidate": GREEN}})


@pytest.mark.parametrize("damaged", ["", "{", "[]", ODD_TIME])
def test_a_verdict_that_cannot_be_read_is_not_passed_over(tmp_path: Path, damaged: str) -> None:
    """It may be a HOLD; one that traffic was moved after is of no matter."""
    a_canary(tmp_path, "before", GREEN[0], "2026-01-01T00:00:00+00:00")
    verdict = a_canary(tmp_path, "damaged", GREEN[0], "2026-01-02T00:00:00+00:00") / "verdict.json"
    verdict.write_text(damaged)
    written_at = datetime(2026, 1, 2, tzinfo=UTC).timestamp()
    os.utime(verdict, (written_at, written_at))
    with pytest.raises(CouldNotTell, match=r"damaged/canary/verdict\.json cannot be read") as told:
        newest_about(tmp_path, GREEN, EVER)
    assert "--run" in told.value.hint
    assert newest_about(tmp_path, GREEN, datetime(2026, 1, 3, tzinfo=UTC)) is None


@pytest.mark.parametrize("told", ["[]", '{"at": 7}', '{"at": "2026-01-02T00:00:00"}'])
def test_a_cutover_that_cannot_be_read_is_told(tmp_path: Path, told: str) -> None:
    """Nobody knows then which canaries came after it; a time without an offset is no time."""
    (tmp_path / "cutover.json").write_text(told)
    with pytest.raises(CouldNotTell, match=r"cutover\.json cannot be read"):
        last_cutover(tmp_path)
