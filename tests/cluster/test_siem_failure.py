"""The SIEM of a cluster's platform is away: found from a pod, backed up by the file, caught up with."""

from __future__ import annotations

import json
import threading

import pytest
from tests.cluster.conftest import until
from tests.cluster.platform import SIDES, Platform
from tests.cluster.test_autoscaling import mcctl
from tests.cluster.test_runbook_lines import at_rest

from mc_ops.service_client import Governance, ServiceClient

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(900)]

BLUE = f"deployment/{SIDES['blue']}"


def siem(platform: Platform, replicas: int) -> None:
    platform.cluster.kubectl("-n", "mc-siem", "scale", "deployment/siem", f"--replicas={replicas}")


def received(platform: Platform) -> set[int]:
    """Places in the ledger of the events that the receiver's pod has: it keeps them as long as it lives."""
    command = ("exec", "deployment/siem", "--", "cat", "/tmp/mc/siem/events.jsonl")
    text = platform.cluster.kubectl("-n", "mc-siem", *command, check=False).stdout
    return {json.loads(line)["metadata"]["sequence"] for line in text.split("\n")[:-1]}


def backed_up(platform: Platform) -> set[int]:
    """Those of the events in the files of all pods of blue."""
    found: set[int] = set()
    for pod in platform.side("blue"):
        command = ("exec", pod["metadata"]["name"], "--", "cat", "/var/log/mc-audit/events.log")
        text = platform.kubectl(*command, check=False).stdout
        found |= {json.loads(line)["index"] for line in text.split("\n")[:-1]}
    return found


def test_the_page_finds_it_backs_up_and_sees_it_recover(platform: Platform):
    """The receiver is scaled to 0, and comes back when the file is on; what came meanwhile gets there."""
    until(
        lambda: at_rest(platform), 240
    )  # the SIEM is asked from a pod that must not be on its way out
    url, token = platform.url(), platform.token()
    page = ("runbook", "run", "runbooks/incidents/siem-failure.md", "--env", "kubernetes")
    back = threading.Thread(target=return_when_backed_up, args=(platform,))
    try:
        siem(platform, 0)
        until(lambda: not platform.cluster.read("-n", "mc-siem", "pods")["items"])
        with ServiceClient(url, token) as client:
            for _ in range(5):
                client.send_message("Where is my parcel?", governance=Governance())
        back.start()
        done = mcctl(platform, *page, "--set", "BACKUP=1", "--set", "TIMEOUT=240", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        [run] = (platform.workspace.home / "runs").glob("siem-failure-*")
        found = json.loads((run / "siem-failure.json").read_text())["findings"]
        steps = {one["step"]: one["status"] for one in found}
        assert (steps["settings"], steps["tcp"]) == ("ok", "failed"), found
        assert "http" not in steps
        assert steps["backup"] == "warning"
        kept, got = backed_up(platform), received(platform)
        assert len(kept) >= 10  # two events and more a message
        assert kept <= got
        assert got == set(range(min(got), max(got) + 1))
    finally:
        siem(platform, 1)
        platform.kubectl("set", "env", BLUE, "AUDIT_FILE_ENABLED-", "AUDIT_FILE_PATH-")
        platform.kubectl("rollout", "status", BLUE, "--timeout=300s")


def return_when_backed_up(platform: Platform) -> None:
    """The receiver comes back when new pods have the file, and it has taken over."""
    until(lambda: backed_up(platform), 400)
    siem(platform, 1)
