"""Nodes that go: drained with a PodDisruptionBudget in the way, or crashed."""

from __future__ import annotations

import subprocess
import time

import pytest
from tests.cluster.conftest import CLUSTER, Cluster, Space, get, until
from tests.cluster.test_workloads import Client, ready

pytestmark = pytest.mark.cluster

AT_MOST = (
    40  # seconds from a crash to as many ready pods as before (issue: replacement within 40 s)
)


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


def test_the_pods_of_a_crashed_node_are_replaced(cluster: Cluster, space: Space):
    space.deploy(replicas=4)
    before = set(on(space, "node-1"))
    assert len(on(space, "node-2")) == 2
    crashed = time.monotonic()
    cluster.driver("crash", "2")
    try:
        until(lambda: len(set(on(space, "node-1"))) == 4)
        took = time.monotonic() - crashed
        assert before < set(on(space, "node-1"))
        until(lambda: len({get(space.address()) for _ in range(20)}) >= 3, 20)
        print(f"replacement pods ready {took:.0f} s after the crash")
        assert took < AT_MOST
    finally:
        cluster.driver("node", "2")
    cluster.kubectl("wait", "--for=condition=Ready", "node/node-2", "--timeout=60s")
    until(
        lambda: (
            all(p["spec"]["nodeName"] == "node-1" for p in space.pods())
            and len(space.read("pods")["items"]) == 4
        )
    )
    space.deploy("again", replicas=2)
    assert {p["spec"]["nodeName"] for p in space.pods("again")} == {"node-1", "node-2"}


def test_crashing_what_does_not_run_says_so(cluster: Cluster):
    answer = subprocess.run([CLUSTER, "crash", "9"], check=False, capture_output=True, text=True)
    assert answer.returncode == 1
    assert "there is no node 9" in answer.stderr
