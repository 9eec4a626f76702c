"""Our manifests on the cluster, and the runbook's three scripts in front of the cutover, verbatim.

The scripts are run by an operator who has the Roles that mcctl prints, and no other right.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from tests.cluster.account import Account
from tests.cluster.conftest import until
from tests.cluster.platform import PODS, Platform

pytestmark = pytest.mark.cluster
TABLE = "deploy/kubernetes/overlays/local-test/egress.toml"


@pytest.fixture(scope="module")
def operator(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    account = Account.operator(platform, "who-checks", tmp_path_factory.mktemp("who-checks"))
    yield account
    account.gone()


def script(operator: Account, name: str, *arguments: str) -> tuple[int, list[dict[str, str]]]:
    """One of the runbook's, on the cluster; its exit code and its checks."""
    given = ("--namespace", "mc-platform", "--output", "json", *arguments)
    answer = operator.run(f"scripts/{name}", *given)
    assert answer.stdout, answer.stderr
    return answer.returncode, json.loads(answer.stdout)["checks"]


def bad(checks: list[dict[str, str]]) -> list[dict[str, str]]:
    return [one for one in checks if one["status"] != "pass"]


def test_three_replicas_of_a_side_serve_and_a_side_at_zero_stays_there(
    platform: Platform, operator: Account
):
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
    slo = operator.run("mcctl", "slo", "status", "--env", "kubernetes", "--only", "replicas")
    assert slo.returncode == 0, slo.stdout + slo.stderr


def test_pod_security_is_what_the_cluster_enforces(operator: Account):
    """By our checks and by its own admission."""
    code, checks = script(operator, "verify-pod-security.sh")
    assert (code, bad(checks)) == (0, [])
    assert {"admission-refuses-privileged", "admission-admits-ours"} <= {
        one["name"] for one in checks
    }


def test_the_autoscaler_can_do_its_work(operator: Account):
    """When metrics-server has seen the pods, the controller's conditions say so; green may stand at 0."""

    def seen() -> bool:
        code, checks = script(operator, "validate-hpa.sh")
        return (code, bad(checks)) == (0, [])

    until(seen, 120)


def test_pods_reach_what_the_table_allows_and_no_more(platform: Platform, operator: Account):
    """Tried from pods; and without the policies the same pairs leak, so the probe is worth something."""
    code, checks = script(operator, "test-egress-policy.sh", "--table", TABLE)
    assert (code, bad(checks)) == (0, [])
    probed = {one["name"] for one in checks if one["name"].startswith("probe")}
    assert {name.split()[1] for name in probed} == {"allow", "deny"}
    platform.kubectl("delete", "networkpolicy", "--all")
    try:
        until(lambda: leaks(operator), 60)
    finally:
        platform.restore()


def leaks(operator: Account) -> bool:
    code, checks = script(operator, "test-egress-policy.sh", "--table", TABLE)
    leaking = [one for one in bad(checks) if one["name"].startswith("probe deny")]
    return code == 1 and any("is open" in one["detail"] for one in leaking)
