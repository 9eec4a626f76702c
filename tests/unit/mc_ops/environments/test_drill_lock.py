"""While a drill runs nothing else moves what it measures, and nobody takes who looks for one."""

from __future__ import annotations

import fcntl

import pytest
from typer.testing import CliRunner

from mc_ops.cli.main import app
from mc_ops.environments.drill_lock import LOCK, RunningDrill, only_drill, running_drill
from mc_ops.errors import CouldNotTell

DRILL = RunningDrill("drill-1", "restore", "2026-12-01T10:00:00Z")
CHANGING = [
    "up",
    "down",
    "scale agent-workbench --replicas 2",
    "scale agent-workbench --replicas 0 --baseline",
    "cutover --to green",
    "home move --tenant T --to local-2 --reason x --yes",
    "replication repair",
    "backup restore --reason x --yes --replace",
    "backup restore --continue",
]


@pytest.mark.parametrize("folder", ["", "region-2"])
@pytest.mark.parametrize("verb", CHANGING)
def test_what_would_change_the_course_of_a_drill_is_refused(verb, folder, tmp_path, monkeypatch):
    """In both regions of the platform, before anything is looked at."""
    monkeypatch.setenv("MC_HOME", str(tmp_path / folder))
    with only_drill(tmp_path, DRILL):
        done = CliRunner().invoke(app, verb.split())
    error = done.exception
    assert isinstance(error, CouldNotTell), (error, done.output)
    assert error.message.startswith("a drill is under way on this platform: restore, since 2026-")


def test_a_drill_is_seen_from_both_regions_and_its_remains_from_none(tmp_path):
    """A killed one leaves what it had written; two who look at it once take each other for nobody."""
    second = tmp_path / "region-2"
    second.mkdir()
    with only_drill(tmp_path, DRILL):
        assert running_drill(tmp_path) == running_drill(second) == DRILL
        written = (tmp_path / LOCK).read_text()
    (tmp_path / LOCK).write_text(written)
    with (tmp_path / LOCK).open() as other:
        fcntl.flock(other, fcntl.LOCK_SH)
        assert running_drill(second) is None


def test_a_drill_of_a_second_region_alone_is_refused(tmp_path, monkeypatch):
    """It would have a lock of its own, and its recovery is the move to the first."""
    home = tmp_path / "region-2"
    (home / "secrets").mkdir(parents=True)
    (home / "secrets" / "region.json").write_text("{}")
    monkeypatch.setenv("MC_HOME", str(home))
    done = CliRunner().invoke(app, ["drill", "run", "--scenario", "freeze", "--yes"])
    assert done.exception.message == f"{home} is a second region, and a drill is of both"
    assert done.exception.hint == f"run it with MC_HOME={tmp_path}"
