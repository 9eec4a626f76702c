"""Verbs and pre-flight over an environment that is the Protocol alone: they reach for nothing else."""

from __future__ import annotations

import json

import pytest
import typer
from tests.cli.fake_operator import FakeOperator, serving
from tests.recording_environment import Recorded, RecordingEnvironment
from typer.testing import CliRunner

import mc_ops.cli.environment as verbs
from mc_ops.cli import cutover, doctor, preflight, slo_access
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
    app.add_typer(doctor.app)
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


@pytest.fixture
def operator(recorded, monkeypatch, tmp_path):
    """The operator's interface of the environment, and a token for it."""
    fake = FakeOperator()
    token = tmp_path / "token"
    token.write_text(fake.token)
    monkeypatch.setenv("MC_TOKEN_FILE", str(token))
    monkeypatch.setattr(doctor, "open_environment", lambda *_: RecordingEnvironment(recorded))
    with serving(fake) as url:
        monkeypatch.setattr(RecordingEnvironment, "url", url)
        yield fake


def test_status_and_doctor_say_what_halts_autonomy(operator):
    """Who, since when, why, and the way back; a tenant that the halt of all covers is no halt of its own."""
    assert json.loads(run("status", "--output", "json").stdout)["halts"] == []
    assert _autonomy()["status"] == "pass"
    operator.halted = {"TENANT_001": True}
    operator.reason = "restored from a backup: the [red]disk[/red] is gone"
    shown = run("status")
    said = " ".join(shown.stderr.split())
    assert shown.exit_code == 0
    assert (
        "TENANT_001: autonomy halted 2026-05-06 11:00:00Z by operator@platform (operator): restored "
        "from a backup: the [red]disk[/red] is gone; when a person has looked: "
        "mcctl autonomy resume --tenant TENANT_001 --reason TEXT"
    ) in said
    operator.halted["*"] = True
    [one] = json.loads(run("status", "--output", "json").stdout)["halts"]
    assert (one["scope"], one["principal"], one["at"], one["region"]) == (
        "*",
        "operator@platform",
        "2026-05-06T11:00:00+00:00",
        None,
    )
    assert one["resume"] == "mcctl autonomy resume --all --reason TEXT"
    check = _autonomy()
    assert (check["status"], "all tenants: autonomy halted" in check["detail"]) == ("fail", True)
    operator.refusal = (403, {"error": {"message": "an agent may not read operations"}})
    shown = run("status")
    assert shown.exit_code == 0
    assert "whether autonomy is halted is not known: an agent may not" in shown.stderr
    assert _autonomy()["status"] == "unknown"


def _autonomy():
    told = json.loads(run("doctor", "--output", "json").stdout)
    [check] = [one for one in told["checks"] if one["name"] == "autonomy"]
    return check
