"""Comparisons: begun once, whatever server looks; and which ending is which verdict."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime
from pathlib import Path

import pytest

HOLD_BY_METRICS = {"verdict": "HOLD", "kind": "metrics", "reason": "r"}


@pytest.mark.parametrize(
    ("ending", "verdict_is", "reason"),
    [
        ("promote", "promote", "fine"),
        ("hold", "hold", "60 % worse"),
        ("inconclusive", "inconclusive", "4,000 pairs needed"),
        ("error", "inconclusive", "✘ error baseline http://blue:8080: it is down"),
        (
            {"exit": 1, "verdict": {"verdict": "HOLD", "kind": "smoke", "reason": "503"}},
            "hold",
            "503",
        ),
        ({"exit": 1, "verdict": {"verdict": "HOLD", "kind": "errors", "reason": "x"}}, "hold", "x"),
        (
            {"exit": 1, "verdict": {"verdict": "HOLD", "kind": "changed", "reason": "x"}},
            "hold",
            "x",
        ),
        ({"exit": 1, "verdict": HOLD_BY_METRICS | {"metrics": {"outcome": "fail"}}}, "hold", "r"),
        (
            {"exit": 1, "verdict": HOLD_BY_METRICS | {"metrics": {"outcome": "inconclusive"}}},
            "inconclusive",
            "r",
        ),
        # Prometheus went down after the samples: the file says HOLD, the command that it cannot tell
        (
            {"exit": 3, "verdict": HOLD_BY_METRICS, "says": "x error: down"},
            "inconclusive",
            "x error: down",
        ),
        # What contradicts itself promotes nothing
        ({"exit": 0, "verdict": {"verdict": "HOLD", "kind": "regressed"}}, "inconclusive", None),
        ({"exit": 1, "verdict": {"verdict": "PROMOTE"}}, "inconclusive", None),
        ({"exit": 0}, "inconclusive", None),
        (
            {"exit": 2, "says": "x error: it cannot be used"},
            "inconclusive",
            "x error: it cannot be used",
        ),
    ],
)
def test_a_verdict_is_what_the_command_found(
    world, comparisons, verdict, ending, verdict_is, reason
):
    """Promote takes exit 0 and a file that says so; what is no finding is no hold."""
    world.ends(ending)
    state = verdict(comparisons, "workbench", "r1")
    assert state.verdict == verdict_is
    if reason is not None:
        assert state.reason == reason


def test_the_first_look_begins_it_and_the_others_wait(world, comparisons, verdict, tmp_path):
    """However often it is asked for, one command runs; its measurement comes with the verdict."""
    gate = tmp_path / "gate"
    world.ends("hold", when=gate)
    assert {comparisons.look("workbench", "r1").verdict for _ in range(5)} == {"running"}
    gate.touch()
    state = verdict(comparisons, "workbench", "r1")
    assert state.measurement == {"kind": "regressed", "margin": 0.05}
    [start] = world.starts()
    assert start["args"][:6] == [
        *("canary", "run", "--baseline", "http://blue:8080", "--candidate", "http://green:8080")
    ]
    assert start["args"][-2:] == ["--release", "r1"]


def test_looking_alone_begins_nothing(world, comparisons):
    """As Flagger's rollback hook asks, from the first second on."""
    assert comparisons.look("workbench", "r1", begin=False).verdict == "running"
    assert world.starts() == []
    assert not world.folder.exists()


def test_a_server_that_is_gone_loses_nothing(world, verdict, tmp_path, wait_until):
    """The next one finds what runs, and its end, and does not begin it again."""
    gate = tmp_path / "gate"
    world.ends("hold", when=gate)
    killed = world.server()
    killed.look("workbench", "r1")
    wait_until(world.starts, what="it runs")
    second = world.server()
    assert second.look("workbench", "r1").verdict == "running"
    gate.touch()
    assert verdict(second, "workbench", "r1").verdict == "hold"
    assert verdict(world.server(), "workbench", "r1").reason == "60 % worse"
    assert len(world.starts()) == 1
    killed.close()


def test_what_is_cut_short_begins_anew_and_not_without_end(
    world, comparisons, verdict, tmp_path, wait_until
):
    """A command that was killed has no verdict; the third time nobody can tell."""
    world.ends("promote", when=tmp_path / "never")

    def begun(
        attempt,
    ):  # what was killed may hold its lock for a moment: then a later look begins it
        comparisons.look("workbench", "r1")
        return len(world.starts()) == attempt

    for attempt in (1, 2, 3):
        wait_until(lambda attempt=attempt: begun(attempt), what=f"attempt {attempt}")
        os.killpg(os.getpgid(world.starts()[-1]["pid"]), signal.SIGKILL)
        wait_until(
            lambda: comparisons._children[-1].poll() is not None,
            what="it is gone",
        )
    state = verdict(comparisons, "workbench", "r1")
    assert state.verdict == "inconclusive"
    assert "3 times" in state.reason
    assert len(world.starts()) == 3


def test_a_server_that_is_stopped_ends_what_runs_and_the_next_begins_it_anew(
    world, verdict, tmp_path, wait_until
):
    """An interrupted command is no verdict."""
    world.ends("promote", when=tmp_path / "never")
    stopped = world.server()
    stopped.look("workbench", "r1")
    wait_until(world.starts, what="it runs")
    stopped.close()
    world.ends("promote")
    assert verdict(world.server(), "workbench", "r1").verdict == "promote"
    assert len(world.starts()) == 2


def test_pairs_take_turns(world, comparisons, verdict, tmp_path, wait_until):
    """Another run, and another comparison of pairs, wait; metrics send nothing, and do not."""
    gate = tmp_path / "gate"
    world.ends("promote", when=gate)
    comparisons.look("workbench", "r1")
    wait_until(world.starts, what="the first runs")
    for name, run in (("workbench", "r2"), ("other", "r1")):
        state = comparisons.look(name, run)
        assert (state.verdict, "waits for its turn" in state.reason) == ("running", True)
    assert "the window is open" in comparisons.look("checkout", "r1").reason
    gate.touch()
    assert verdict(comparisons, "workbench", "r1").verdict == "promote"
    assert verdict(comparisons, "other", "r1").verdict == "promote"
    assert len(world.starts()) == 2


def test_metrics_are_looked_at_once_when_their_window_is_over(world, comparisons, verdict):
    """Before, no command runs; then one, over the window that the first look opened."""
    world.ends({"exit": 0, "verdict": {"verdict": "METRICS-PASS", "kind": "retrospective"}})
    begun = world.now
    assert comparisons.look("checkout", "abc").verdict == "running"
    world.passes(5)
    assert comparisons.look("checkout", "abc").verdict == "running", "the last points are to come"
    assert world.starts() == []
    world.passes(1)
    assert verdict(world.server(), "checkout", "abc").verdict == "promote"
    [start] = world.starts()
    given = dict(zip(start["args"][2::2], start["args"][3::2], strict=True))
    assert given["--start"] == begun.isoformat()
    assert given["--candidate-selector"] == 'hash="abc"'
    assert given["--baseline-selector"] == 'hash!="abc"'
    assert given["--config"] == str(world.config.parent / "rules.toml")


def test_a_verdict_is_valid_for_a_while(world, comparisons, verdict):
    """Who comes back to an old release gets a comparison, and not its old verdict."""
    assert verdict(comparisons, "workbench", "r1").verdict == "promote"
    world.ends("hold")
    world.passes(59)
    assert comparisons.look("workbench", "r1").verdict == "promote"
    world.passes(2)
    assert comparisons.look("workbench", "r1").verdict == "running"
    world.now = datetime.now(UTC)
    assert verdict(comparisons, "workbench", "r1").verdict == "hold"


def test_old_runs_are_removed(world, comparisons, verdict):
    """Of each comparison the newest fifty are kept."""
    for number in range(53):
        comparisons.look("checkout", f"r{number}")
    assert len(list((world.folder / "checkout").iterdir())) == 50
    assert (world.folder / "checkout" / "r52").is_dir()


def test_folder_that_cannot_be_written_is_said(world, comparisons):
    """Nothing is begun of which nothing would be known."""
    world.folder.parent.joinpath("kept").write_text("a file")
    with pytest.raises(OSError, match=r"Not a directory|File exists"):
        comparisons.look("workbench", "r1")
    assert world.starts() == []
    assert Path(world.folder).is_file()
