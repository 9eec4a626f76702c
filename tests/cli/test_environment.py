"""The environment's verbs as a person types them, each in a process of its own."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests import forked
from tests.children import child

PROGRAM = Path(__file__).parent / "mcctl_with_fake_workbench.py"


@pytest.fixture
def env(tmp_path: Path, free_ports: int) -> dict[str, str]:
    """The environment of a platform that was never started."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MC_", "AUDIT_"))}
    return {
        **kept,
        "MC_HOME": str(tmp_path / "mc"),
        "MC_EDGE_PORT": str(free_ports),
        "NO_COLOR": "1",
    }


def mcctl(env: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    """Run mcctl with nobody at the terminal."""
    return forked.run([str(PROGRAM), *args], env=env)


def test_status_of_nothing_is_no_failure(env: dict[str, str]) -> None:
    """Before the first start everything is stopped, exit 0, and nothing is made on disk."""
    result = mcctl(env, "status", "--output", "json")
    told = json.loads(result.stdout)
    assert result.returncode == 0
    assert told["schema_version"] == 1
    assert told["active_colour"] is None
    assert {p["state"] for p in told["processes"]} == {"stopped"}
    assert not Path(env["MC_HOME"]).exists()
    result = mcctl(env, "status")
    assert f"platform of {env['MC_HOME']}" in result.stderr
    assert "the platform was never started here" in result.stderr
    assert result.stdout.splitlines()[0].split() == [
        "NAME", "STATE", "PID", "PORT", "UPTIME", "HEALTH", "REMARKS",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("args", "code", "told"),
    [
        (("up", "--env", "kubernetes"), 2, "neither starts"),
        (("up", "--env", "moon"), 2, 'unknown environment "moon"'),
        (("up", "--fault", "green:fast=2"), 2, 'fault "fast=2" is not known'),
        (("up", "--replicas", "20"), 2, "20 replicas asked for, expected 1 to 19"),
        (("up", "--colour", "red"), 2, "invalid value"),
        (("scale", "nginx", "--replicas", "2"), 2, '"nginx" cannot be scaled'),
        (("scale", "agent-workbench", "--replicas", "2"), 3, "never started"),
        (("scale", "agent-workbench", "--replicas", "2", "--colour", "blue"), 3, "not running"),
        (("scale", "agent-workbench", "--replicas", "2", "--baseline"), 2, "beside a candidate"),
        (("instances", "--baseline"), 3, "no replica of the fresh baseline runs"),
        (("instances", "--baseline", "--colour", "blue"), 2, "give one"),
        (("wait", "ready", "--baseline"), 3, "no replica of the fresh baseline was started"),
        (("wait", "ready"), 3, "never started"),
        (("wait", "ready", "--colour", "green"), 3, "no replica of green was started"),
        (("wait", "dinner"), 2, 'cannot wait for "dinner"'),
        (("cutover", "--to", "green"), 3, "the edge is not running"),
        (("logs", "edge"), 2, 'there is no log of "edge"'),
        (("down", "--purge"), 2, "standard input is not a terminal"),
    ],
)
def test_a_refusal_has_its_code_and_reason(
    args: tuple[str, ...], code: int, told: str, env: dict[str, str]
) -> None:
    """Whatever cannot be done says why on stderr, with the exit code of its kind."""
    result = mcctl(env, *args)
    assert (result.returncode, result.stdout) == (code, "")
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_logs_into_a_pipe_that_closes_end_quietly(env: dict[str, str]) -> None:
    """`mcctl logs | head -1` is no failure, whether it is noticed in the middle or at the end."""
    folder = Path(env["MC_HOME"]) / "log"
    folder.mkdir(parents=True)
    for lines in (2, 200_000):
        (folder / "edge.log").write_text("a line of a log\n" * lines)
        argv = [sys.executable, str(PROGRAM), "logs", "edge", "--lines", str(lines)]
        with child(
            argv, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as started:
            assert started.stdout
            assert started.stderr
            started.stdout.close()
            told = started.stderr.read()
        assert (started.returncode, told) == (0, "")


def test_logs_of_nothing_say_so(env: dict[str, str]) -> None:
    """A platform that was never started has no lines, and that is no answer."""
    done = mcctl(env, "logs")
    assert (done.returncode, done.stdout) == (3, "")
    assert f"no log is kept in {env['MC_HOME']}/log" in done.stderr
    assert "start it: mcctl up" in done.stderr


def test_down_of_nothing_is_harmless(env: dict[str, str]) -> None:
    """Stopping what does not run is no error."""
    result = mcctl(env, "down")
    assert result.returncode == 0
    assert "nothing was running" in result.stderr


def test_an_unusable_port_is_told(env: dict[str, str]) -> None:
    """A bad MC_EDGE_PORT is named before anything happens."""
    result = mcctl({**env, "MC_EDGE_PORT": "eighty"}, "up")
    assert result.returncode == 2
    assert 'MC_EDGE_PORT is "eighty"' in result.stderr


def test_a_taken_port_is_told_before_anything_starts(env: dict[str, str]) -> None:
    """The error names the port, its use and its owner; nothing was started or is left."""
    with socket.create_server(("127.0.0.1", int(env["MC_EDGE_PORT"]) + 13)):
        result = mcctl(env, "up")
    assert result.returncode == 2
    assert f"port {int(env['MC_EDGE_PORT']) + 13}, wanted for siem, is taken by" in result.stderr
    assert f"(pid {os.getpid()})" in result.stderr
    assert "starting" not in result.stderr
    assert list((Path(env["MC_HOME"]) / "run").iterdir()) == []
