"""Our manifests on the cluster, and the runbook's three scripts in front of the cutover, verbatim."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from tests.cluster.conftest import until
from tests.cluster.platform import PODS, Platform

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
TABLE = "deploy/kubernetes/overlays/local-test/egress.toml"


def script(platform: Platform, name: str, *arguments: str) -> tuple[int, list[dict[str, str]]]:
    """One of the runbook's, on the cluster; its exit code and its checks."""
    answer = subprocess.run(
        [ROOT / "scripts" / name, "--namespace", "mc-platform", "--output", "json", *arguments],
        env=platform.env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert answer.stdout, answer.stderr
    return answer.returncode, json.loads(answer.stdout)["checks"]


def bad(checks: list[dict[str, str]]) -> list[dict[str, str]]:
    return [one for one in checks if one["status"] != "pass"]


def test_three_replicas_of_a_side_serve_and_a_side_at_zero_stays_there(platform: Platform):
    """By their own autoscaler, each with its pod's name; the runbook's waiting line sees them."""
    platform.kubectl("wait", "--for=condition=ready", "pod", "-l", PODS, "--timeout=300s")
    pods = platform.read("pods", "-l", PODS)["items"]
    assert {one["metadata"]["labels"]["mc-platform/colour"] for one in pods} == {"blue"}
    assert 3 <= len(pods) <= 5  # starting is a load, too
    for pod in pods:
        name = pod["metadata"]["name"]
        health = platform.kubectl("exec", name, "--", "curl", "-s", "http://localhost:8080/health")
        said = json.loads(health.stdout)
        assert (said["status"], said["replica"], said["colour"]) == ("ok", name, "blue")
    assert platform.read("deploy", "agent-workbench-green")["spec"]["replicas"] == 0


def test_pod_security_is_what_the_cluster_enforces(platform: Platform):
    """By our checks and by its own admission."""
    code, checks = script(platform, "verify-pod-security.sh")
    assert (code, bad(checks)) == (0, [])
    assert {"admission-refuses-privileged", "admission-admits-ours"} <= {
        one["name"] for one in checks
    }


def test_the_autoscaler_can_do_its_work(platform: Platform):
    """When metrics-server has seen the pods, the controller's conditions say so; green may stand at 0."""

    def seen() -> bool:
        code, checks = script(platform, "validate-hpa.sh")
        return (code, bad(checks)) == (0, [])

    until(seen, 120)


def test_pods_reach_what_the_table_allows_and_no_more(platform: Platform):
    """Tried from pods; and without the policies the same pairs leak, so the probe is worth something."""
    code, checks = script(platform, "test-egress-policy.sh", "--table", TABLE)
    assert (code, bad(checks)) == (0, [])
    probed = {one["name"] for one in checks if one["name"].startswith("probe")}
    assert {name.split()[1] for name in probed} == {"allow", "deny"}
    platform.kubectl("delete", "networkpolicy", "--all")
    try:
        until(lambda: leaks(platform), 60)
    finally:
        platform.restore()


def leaks(platform: Platform) -> bool:
    code, checks = script(platform, "test-egress-policy.sh", "--table", TABLE)
    leaking = [one for one in bad(checks) if one["name"].startswith("probe deny")]
    return code == 1 and any("is open" in one["detail"] for one in leaking)
