"""The repository's own manifests: both sides, the sample agents, the migration; PostgreSQL of this machine."""

from __future__ import annotations

import json

import pytest
from tests.cluster.conftest import until
from tests.cluster.platform import PODS, SIDES, Platform

pytestmark = pytest.mark.cluster


def test_both_sides_of_the_manifests_run_and_their_autoscalers_measure(platform: Platform):
    green = SIDES["green"]
    platform.kubectl("scale", f"deployment/{green}", "--replicas=3")
    try:
        for side in SIDES.values():
            platform.kubectl("rollout", "status", f"deployment/{side}", "--timeout=170s")
        pods = platform.read("pods", "-l", PODS)["items"]
        assert {one["metadata"]["labels"]["mc-platform/colour"] for one in pods} == set(SIDES)
        assert len(platform.side("green")) == 3
        for pod in pods:
            name, colour = pod["metadata"]["name"], pod["metadata"]["labels"]["mc-platform/colour"]
            said = json.loads(in_pod(platform, f"pod/{name}", "health"))
            assert (said["status"], said["replica"], said["colour"]) == ("ok", name, colour)
        assert "mc_a2a_requests_total" in in_pod(platform, "deploy/agent-workbench", "metrics")
        for side in SIDES.values():
            until(lambda side=side: active(platform.read("hpa", side)))
        until(lambda: all(b["status"]["disruptionsAllowed"] for b in platform.read("pdb")["items"]))
    finally:
        platform.restore()


def in_pod(platform: Platform, pod: str, path: str) -> str:
    """What the service of a pod says of itself, asked as the runbook does."""
    curl = ("--", "curl", "-s", f"http://localhost:8080/{path}")
    return platform.kubectl("exec", "-it", pod, *curl).stdout


def active(autoscaler: dict) -> bool:
    """Whether it has a figure to go by."""
    conditions = {c["type"]: c["status"] for c in autoscaler["status"].get("conditions", [])}
    return conditions.get("ScalingActive") == "True"
