"""The real autoscaler over real workbenches: load scales them, and an oscillation is found and stopped.

The load is requests of a tenant through the public Service; what the autoscaler did is read from the
cluster's own events.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.cluster.conftest import until
from tests.cluster.platform import SIDES, Platform

from mc_ops.service_client import ServiceClient

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(900)]

BLUE = SIDES["blue"]
QUESTION = (
    "Where is my parcel? " * 400
)  # long enough to be work for the workbench, not for the client
HALF_S = 15  # of a swing: longer than the 10 s over which metrics-server looks, and a sync of 5 s
AT_ONCE = {"stabilizationWindowSeconds": 0, "policies": [{"type": "Pods", "value": 2, "periodSeconds": 1}]}  # fmt: skip


@dataclass
class Load:
    """Requests while it is on, each by a connection of its own; what failed of them."""

    platform: Platform
    done: int = 0
    failed: list[str] = field(default_factory=list)
    on: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    def send(self) -> None:
        url, token = self.platform.url(), self.platform.token()
        while not self.over.is_set():
            if not self.on.wait(0.1):
                continue
            try:
                with ServiceClient(url, token) as client:
                    client.send_message(QUESTION)
                self.done += 1
            except Exception as problem:  # whatever it is, a caller has not been served
                self.failed.append(repr(problem))

    def swing(self) -> None:
        """One period."""
        self.on.set()
        time.sleep(HALF_S)
        self.on.clear()
        time.sleep(HALF_S)


@contextmanager
def load_on(platform: Platform, clients: int = 8) -> Iterator[Load]:
    load = Load(platform)
    threads = [threading.Thread(target=load.send) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.over.set()
        load.on.set()
        for thread in threads:
            thread.join()


def mcctl(platform: Platform, *words: str) -> subprocess.CompletedProcess[str]:
    """As somebody has it who has this cluster's kubeconfig."""
    return subprocess.run(
        [Path(sys.executable).parent / "mcctl", *words],
        env={**platform.env, "MC_NAMESPACE": platform.name},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def incident(platform: Platform) -> tuple[int, dict[str, Any]]:
    """`mcctl incident hpa-oscillation`: its exit code, and what it says."""
    done = mcctl(platform, "incident", "hpa-oscillation", "-o", "json")
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def anew(platform: Platform) -> None:
    """An autoscaler without windows in place of blue's: its events are its own, none is folded yet."""
    made = platform.read("hpa", BLUE)
    made["metadata"] = {key: made["metadata"][key] for key in ("name", "namespace", "labels")}
    made["spec"]["behavior"] = {"scaleUp": AT_ONCE, "scaleDown": AT_ONCE}
    made["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] = 25
    del made["status"]
    platform.kubectl("delete", "hpa", BLUE)
    platform.apply(made)


def test_an_oscillation_of_three_and_five_replicas_is_found_and_stopped(platform: Platform):
    """By its own window it ends with the load, 3 again; no request fails all the while."""
    anew(platform)
    try:
        with load_on(platform) as load:
            swings = 0
            code = 3
            while code == 3 and swings < 12:
                load.swing()
                swings += 1
                code, found = incident(platform)
            assert (code, found["verdict"]) == (1, "oscillating"), found
            assert found["recorded"]["reversals"] >= 4
            page = (
                "runbook",
                "run",
                "runbooks/incidents/hpa-oscillation.md",
                "--env",
                "kubernetes",
            )
            done = mcctl(platform, *page, "--set", "PATCH=1", "--yes")
            assert done.returncode == 0, done.stdout + done.stderr
            window = platform.read("hpa", BLUE)["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"]  # fmt: skip
            assert 0 < window <= 120
            code, waited = 3, 0
            while code == 3 and waited < swings + 12:
                load.swing()
                waited += 1
                if waited >= swings:
                    code, after = incident(platform)
            told = (code, after["verdict"], after["recorded"]["why"], after["notes"])
            assert told[:2] == (0, "stopped"), told
            assert after["before_change"]["reversals"] >= 4, told
            assert after["recorded"]["reversals"] == 0, told
        until(lambda: platform.read("deployment", BLUE)["status"].get("replicas") == 3, 120)
        assert load.failed == []
        assert load.done > 100
        events = platform.kubectl("get", "events", "--field-selector", f"involvedObject.name={BLUE}").stdout  # fmt: skip
        assert "New size: 5; reason: cpu resource utilization" in events
        assert "New size: 3; reason: All metrics below target" in events
    finally:
        platform.restore()
