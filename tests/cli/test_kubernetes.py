"""`mcctl ... --env kubernetes`, before an API server of the test's own."""

from __future__ import annotations

import json

import pytest
import typer
import yaml
from tests.fake_cluster import NAMESPACE, Cluster
from tests.unit.mc_ops.environments.test_kubernetes import CORE, pod, put, settings
from typer.testing import CliRunner

import mc_ops.cli.environment as verbs
from mc_ops.cli import preflight
from mc_ops.environments.kubernetes.rights import RIGHTS
from mc_ops.errors import UnusableInput


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """One blue pod serves, at an address where nobody answers."""
    made = Cluster(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(made.kubeconfig))
    monkeypatch.setenv("MC_HOME", str(tmp_path / "home"))
    put(made, f"{CORE}/services/agent-workbench", spec={"selector": {"mc-platform/colour": "blue"}})
    settings(made, MC_PUBLIC_URL="https://mc.example.com")
    pod(made, "blue-a", restartCount=2)
    yield made
    made.stop()


def run(*arguments):
    app = typer.Typer()
    app.add_typer(verbs.app)
    app.add_typer(preflight.app, name="preflight")
    return CliRunner().invoke(app, [*arguments, "--env", "kubernetes"])


def test_status_says_what_cannot_be_asked_from_here(cluster):
    """The probe's word is told as such, with what needs more; restarts are a remark."""
    told = run("status")
    assert told.exit_code == 0
    [line] = [line for line in told.stdout.splitlines() if line.startswith("blue-a")]
    assert line.split()[3:5] == ["-", "8080"]
    assert "ready" in line
    assert "active, 2 restarts" in line
    assert "must run inside the cluster's network" in " ".join(told.stderr.split())


def test_status_of_a_pod_that_cannot_start_is_a_finding(cluster):
    """Dead, in the kubelet's words; `mcctl up` is no remedy there."""
    pod(cluster, "blue-a", state={"waiting": {"reason": "ImagePullBackOff", "message": "gone"}})
    told = run("status")
    assert told.exit_code == 1
    assert "ImagePullBackOff: gone" in told.stdout
    assert "dead: blue-a" in told.stderr
    assert "mcctl up" not in told.stderr


def test_rights_are_told_with_what_they_are_for(cluster):
    """Each one; missing ones by name, with exit 1."""
    assert run("preflight", "rights").exit_code == 0
    cluster.refused = {("patch", "services"), ("get", "pods/log")}
    told = run("preflight", "rights", "--output", "json")
    checks = json.loads(told.stdout)["checks"]
    bad = {one["name"]: one for one in checks if one["status"] == "fail"}
    assert told.exit_code == 1
    assert len(checks) == len(RIGHTS)
    assert set(bad) == {"patch services agent-workbench", "get pods/log"}
    assert "cutover" in bad["patch services agent-workbench"]["detail"]
    looking = json.loads(run("preflight", "rights", "--for", "reader", "--output", "json").stdout)
    assert [one["name"] for one in looking["checks"] if one["status"] == "fail"] == ["get pods/log"]


def test_the_role_is_of_the_namespace_that_is_looked_at(cluster, monkeypatch):
    """The context's own, or that of MC_NAMESPACE, or the one that is given."""
    role = ("preflight", "rights", "--role")
    assert yaml.safe_load(run(*role).stdout)["metadata"]["namespace"] == NAMESPACE
    monkeypatch.setenv("MC_NAMESPACE", "other")
    assert yaml.safe_load(run(*role).stdout)["metadata"]["namespace"] == "other"
    assert yaml.safe_load(run(*role, "-n", "third").stdout)["metadata"]["namespace"] == "third"


def test_a_platform_is_not_brought_up_on_a_cluster(cluster):
    """Nor taken away: what does it instead is said."""
    for verb in ("up", "down"):
        refused = run(verb)
        assert isinstance(refused.exception, UnusableInput)
        assert "kubectl apply -k" in refused.exception.hint
