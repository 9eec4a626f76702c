"""The runbooks of incidents: they lint, and they run as they are written."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from tests import forked
from tests.cli.test_incident_canary import write
from tests.cli.test_incident_hpa import events_of, seen
from tests.fake_cluster import Cluster, hpa

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "runbooks" / "incidents"


def mcctl(home, *argv, **env):
    told = {**os.environ, "MC_HOME": str(home), "MC_EDGE_PORT": "23080", **env}
    return forked.run([forked.MCCTL, *argv], env=told, cwd=ROOT, timeout=120)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_it_lints(path, tmp_path):
    done = mcctl(tmp_path, "runbook", "lint", str(path))
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hpa_s_runbook_looks_and_stabilises_when_asked(tmp_path):
    """That nothing is patched unasked is told in test_incident_hpa: a runbook adds no --patch."""
    cluster = Cluster(tmp_path)
    cluster.hpas["agent-workbench"] = hpa()
    cluster.events = events_of(seen(time.time()))
    command = ["runbook", "run", "runbooks/incidents/hpa-oscillation.md", "--set", "PATCH=1"]
    try:
        done = mcctl(tmp_path / "h", *command, "--yes", KUBECONFIG=str(cluster.kubeconfig))
    finally:
        cluster.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(cluster.patches) == 1
    assert len(list((tmp_path / "h" / "runs").glob("*/hpa.png"))) == 1


@pytest.mark.parametrize("env", ["local", "kubernetes"])
def test_the_canary_s_runbook_ends_as_the_hold_does(tmp_path, env):
    """The HOLD stands: exit 1, and what was found is kept; it is about files, wherever they are from."""
    write(tmp_path / "h" / "runs" / "canary-1", 2.0)
    done = mcctl(
        tmp_path / "h", "runbook", "run", "runbooks/incidents/canary-hold.md", "--env", env, "--yes"
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert len(list((tmp_path / "h" / "runs").glob("canary-hold-*/canary-hold.json"))) == 1
