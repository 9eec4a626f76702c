"""Verbs and pre-flight over an environment that is the Protocol alone: they reach for nothing else."""

from __future__ import annotations

import json

import pytest
import typer
from tests.recording_environment import Recorded, RecordingEnvironment
from typer.testing import CliRunner

import mc_ops.cli.environment as verbs
from mc_ops.cli import cutover, preflight, slo_access
from mc_ops.environments import BASELINE, Colour
from mc_ops.environments.faults import Faults


@pytest.fixture
def recorded(monkeypatch, tmp_path):
    """Two blue replicas serve; every verb is given the same environment, whatever --env says."""
    made = Recorded(home=tmp_path, replicas={"blue-1": {}, "blue-2": {}})
    for module in (verbs, preflight, cutover, slo_access):
        monkeypatch.setattr(module, "open_environment", lambda *_: RecordingEnvironment(made))
    return made


def run(*arguments):
    app = typer.Typer()
    app.add_typer(verbs.app)
    app.add_typer(preflight.app, name="preflight")
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def done(*arguments):
    """What a verb tells a program that it did."""
    told = json.loads(run(*arguments, "-o", "json").stdout)
    assert told.pop("schema_version") == 1
    return told


def test_what_runs_is_shown(recorded):
    """Status, instances and logs, of a colour and of the fresh baseline."""
    found = json.loads(run("status", "--output", "json").stdout)
    assert [(one["name"], one["colour"]) for one in found["processes"]] == [
        ("blue-1", "blue"),
        ("blue-2", "blue"),
    ]
    assert "active" in run("status").stdout
    assert run("instances").stdout == f"{RecordingEnvironment.url}\n" * 2
    recorded.replicas["baseline-1"] = {}
    assert run("instances", "--baseline").stdout == f"{RecordingEnvironment.url}\n"
    baseline = {"name": "baseline-1", "colour": "blue", "url": RecordingEnvironment.url}
    assert done("instances", "--baseline") == {"group": "baseline", "instances": [baseline]}
    asked = "LogFilter(lines=3, follow=False, since_s=0.0, pattern=None)\n"
    assert run("logs", "blue-2", "--lines", "3").stdout == asked


def test_replicas_are_changed(recorded):
    """Scale with faults and a baseline, wait for both, and stop the baseline again."""
    scale = ("scale", "agent-workbench", "--replicas", "2", "--colour", "green", "--restart")
    scaled = done(*scale, "--baseline", "--fault", "slow=2")
    assert scaled["group"] == "green"
    assert [one["name"] for one in scaled["instances"]] == ["green-1", "green-2"]
    waited = done("wait", "ready", "--colour", "green", "--timeout", "9")
    assert waited == scaled
    run("wait", "ready", "--baseline")
    stopped = done("scale", "agent-workbench", "--replicas", "0", "--baseline")
    assert stopped == {"group": "baseline", "instances": []}
    assert recorded.calls == [
        ("scale", Colour.green, 2, True, Faults(slow_factor=2), True),
        ("wait_ready", Colour.green, 9.0),
        ("wait_ready", BASELINE, 60.0),
        ("stop_baseline",),
    ]


def test_traffic_is_moved_and_written_down(recorded):
    """In the environment's own workspace, with what the cutover was backed by."""
    recorded.replicas["green-1"] = {}
    result = run("cutover", "--to", "green", "--without-canary")
    assert "cut over: blue -> green" in result.stderr
    assert recorded.calls == [("switch", Colour.green, False)]
    kept = json.loads((recorded.home / "cutover.json").read_text())
    assert (kept["from"], kept["to"]) == ("blue", "green")
    back = done("cutover", "--to", "blue", "--without-canary")
    assert (back["source"], back["target"], back["changed"]) == ("green", "blue", True)


@pytest.mark.parametrize(("minimum", "code"), [("2", 0), ("3", 1)])
def test_preflight_counts_who_serves(recorded, minimum, code):
    """By the colour that the environment tells, not by what a replica is called."""
    result = run("preflight", "hpa", "--min-replicas", minimum, "--output", "json")
    assert result.exit_code == code
    assert json.loads(result.stdout)["environment"] == "recording"


def test_preflight_of_the_edge_needs_a_credential(recorded):
    """It is looked for in the environment's workspace; without one it cannot be told."""
    assert run("preflight", "edge", "--colour", "blue").exit_code == 3


def test_figures_are_of_every_replica(recorded):
    """`mcctl slo` and `mcctl health` scrape the replicas that the environment tells."""
    assert slo_access.replicas(None, env="any") == dict.fromkeys(
        recorded.replicas, RecordingEnvironment.url
    )
    assert slo_access.dead_replicas(None, env="any") == ()
