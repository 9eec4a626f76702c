"""The real autoscaler, by the real metrics server, over processes that burn processor time."""

from __future__ import annotations

import contextlib
import threading

import pytest
from tests.cluster.conftest import Space, get, until

pytestmark = pytest.mark.cluster

AUTOSCALER = {
    "apiVersion": "autoscaling/v2",
    "kind": "HorizontalPodAutoscaler",
    "metadata": {"name": "app"},
    "spec": {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "app"},
        "minReplicas": 3,
        "maxReplicas": 5,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}}],
        "behavior": {
            "scaleUp": {"stabilizationWindowSeconds": 0},
            "scaleDown": {"stabilizationWindowSeconds": 5, "policies": [{"type": "Pods", "value": 2, "periodSeconds": 5}]},
        },
    },
}  # fmt: skip


def test_load_scales_from_three_to_five_and_back(space: Space):
    space.deploy(replicas=None)
    space.apply(AUTOSCALER)
    until(lambda: space.read("hpa", "app")["status"].get("currentReplicas") == 3)
    over = threading.Event()
    burners = [threading.Thread(target=burn, args=(space.address(), over)) for _ in range(6)]
    for burner in burners:
        burner.start()
    try:
        until(lambda: space.read("deployment", "app")["status"].get("readyReplicas") == 5, 120)
        top = space.kubectl("top", "pods", "-l", "app=app", "--no-headers").stdout
        assert any(int(line.split()[1].removesuffix("m")) > 35 for line in top.splitlines()), top
    finally:
        over.set()
        for burner in burners:
            burner.join()
    until(lambda: space.read("deployment", "app")["status"].get("replicas") == 3, 120)
    events = space.kubectl("get", "events", "--field-selector", "involvedObject.name=app").stdout
    assert "SuccessfulRescale" in events
    assert "New size: 5; reason: cpu resource utilization" in events
    assert "New size: 3; reason: All metrics below target" in events


def burn(url: str, over: threading.Event) -> None:
    while not over.wait(0.2):
        with contextlib.suppress(OSError):
            get(f"{url}/burn/0.05", timeout=10)
