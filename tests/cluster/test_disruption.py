"""A node that is drained with a PodDisruptionBudget in the way; one that crashes: `test_rolling_update.py`."""

from __future__ import annotations

import subprocess

import pytest
from tests.cluster.conftest import CLUSTER, Cluster, Space, until
from tests.cluster.test_workloads import Client, ready

pytestmark = pytest.mark.cluster


def budget(at_least: int) -> dict:
    return {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "app"},
            "spec": {"minAvailable": at_least, "selector": {"matchLabels": {"app": "app"}}}}  # fmt: skip


def on(space: Space, node: str) -> list[str]:
    return [
        p["metadata"]["name"] for p in space.pods() if p["spec"]["nodeName"] == node and ready(p)
    ]


def test_a_drain_waits_for_the_budget(cluster: Cluster, space: Space):
    space.deploy(replicas=4)
    space.apply(budget(4))
    until(lambda: space.read("pdb", "app")["status"].get("currentHealthy") == 4)
    drain = (
        "drain",
        "node-2",
        "--ignore-daemonsets",
        "--delete-emptydir-data",
        "--pod-selector=app=app",
    )
    try:
        refused = cluster.kubectl(*drain, "--timeout=6s", check=False)
        assert refused.returncode == 1
        assert "would violate the pod's disruption budget" in refused.stderr
        assert len(on(space, "node-2")) == 2
        space.apply(budget(3))
        with Client(space.address()) as client:
            cluster.kubectl(*drain, "--timeout=90s")
            assert on(space, "node-2") == []
            until(lambda: len(on(space, "node-1")) == 4)
        assert client.bad == []
    finally:
        cluster.kubectl("uncordon", "node-2")


def test_crashing_what_does_not_run_says_so(cluster: Cluster):
    answer = subprocess.run([CLUSTER, "crash", "9"], check=False, capture_output=True, text=True)
    assert answer.returncode == 1
    assert "there is no node 9" in answer.stderr
