"""Runbooks on the cluster: Day-1 and Day-7 as they stand, a gate, and a secret of the cluster."""

from __future__ import annotations

import json
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests import forked
from tests.cluster.conftest import until
from tests.cluster.platform import PODS, SIEM_KEY, Platform

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
DEPLOYMENT = "deploy/agent-workbench"
GOVERNANCE = "urn:mc-platform:a2a:governance:1"
OWN = """```yaml runbook
id: own
title: A team's own
parameters:
- {name: KEY, secret: true}
```
```sh step=look when="ENV=kubernetes" repeat=safe retry=2
kubectl -n mc-platform get deploy/agent-workbench -o name
echo "the key is $KEY"
```
```text gate=go assignee="on call"
Go on in $ENV?
```
```sh step=local when="ENV=local"
exit 1
```
"""


class Operator:
    """Somebody with a checkout's runbooks, kubectl and the workspace of the cluster's platform."""

    def __init__(self, platform: Platform, folder: Path) -> None:
        self.folder, self.platform = folder, platform
        for name in ("runbooks", "scripts", "tools"):
            shutil.copytree(ROOT / name, folder / name)
        self.env = {
            **platform.env,
            "MC_NAMESPACE": platform.name,
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }

    def mcctl(self, *args: str) -> Any:
        return forked.run([forked.MCCTL, *args], cwd=self.folder, env=self.env, timeout=500)

    def run(self, *args: str) -> Any:
        return self.mcctl("runbook", "run", *args, "--env", "kubernetes")

    def passes(self, name: str, *args: str) -> str:
        """Run it until it passed; resumed, as it says, where the machine was too busy to tell. Its id."""
        for _ in range(3):
            done = self.run(name, *args)
            run_id = done.stdout.split(":", 1)[0]
            if done.returncode != 3 or f"--resume {run_id}" not in done.stderr:
                break
            args = ("--resume", run_id)
        assert done.returncode == 0, done.stdout + done.stderr
        return str(run_id)


@pytest.fixture
def operator(platform: Platform, tmp_path: Path) -> Operator:
    return Operator(platform, tmp_path)


def _asked(platform: Platform, tenant: str, purpose: str = "support") -> int:
    """The status of one request; no more than two a tenant, for two slow ones are not yet a missed p95."""
    message = {
        "messageId": str(uuid.uuid4()),
        "role": "ROLE_USER",
        "parts": [{"text": "What is the status of order O-2001?"}],
        "metadata": {GOVERNANCE: {"purpose": purpose}},
    }
    answer = httpx.post(
        f"{platform.url()}/v1/message:send",
        json={"message": message},
        headers={"Authorization": f"Bearer {platform.token(tenant)}", "A2A-Version": "1.0"},
        timeout=60,
    )
    return answer.status_code


@pytest.fixture
def morning(operator: Operator, platform: Platform) -> None:
    """All is well: what earlier stories left in the pods' counters is gone, and something was denied."""
    until(lambda: _at_work(platform) >= 3, 240)
    check = ("health", "day-1", "--env", "kubernetes", "--allow-few")
    if operator.mcctl(*check).returncode == 1:
        platform.kubectl("rollout", "restart", DEPLOYMENT)
        platform.kubectl("rollout", "status", DEPLOYMENT, "--timeout=170s")
    assert _asked(platform, "TENANT_001") == 200
    assert _asked(platform, "TENANT_002", purpose="marketing") == 403


def _at_work(platform: Platform) -> int:
    """The number of blue's pods, if all of them are ready and none is on its way out; else 0."""
    found = platform.read("pods", "-l", f"{PODS},mc-platform/colour=blue")["items"]
    told = platform.read("deploy", "agent-workbench")
    ready = told["status"].get("readyReplicas", 0)
    return ready if len(found) == ready == told["spec"]["replicas"] else 0


@contextmanager
def _a_replica_saved(platform: Platform) -> Iterator[None]:
    """Somebody lets the autoscaler have two replicas, no more and no less; at the end, three again."""
    name = "hpa/agent-workbench"
    spec = platform.read(name)["spec"]
    before = {key: spec[key] for key in ("minReplicas", "maxReplicas")}

    def limit(count: int, limits: dict[str, int]) -> None:
        platform.kubectl("patch", name, "--type=merge", "-p", json.dumps({"spec": limits}))
        platform.kubectl("scale", DEPLOYMENT, f"--replicas={count}")
        until(lambda: _at_work(platform) == count, 240)

    try:
        limit(2, {"minReplicas": 2, "maxReplicas": 2})
        yield
    finally:
        limit(3, before)


@pytest.mark.usefixtures("morning")
def test_day_1_finds_a_replica_too_few_and_goes_on_when_it_is_back(
    operator: Operator, platform: Platform
) -> None:
    """What is well passes section by section; what is not stops the run, and says so."""
    with _a_replica_saved(platform):
        done = operator.run("day-1", "--set=ALLOW_FEW=1")
        assert done.returncode == 1, done.stdout + done.stderr
        assert re.search(r"missed +replicas +2 +>= 3 ", done.stderr), done.stderr
        assert "stopped at step cost: a check failed (exit 1)" in done.stderr
        run_id = done.stdout.split(":", 1)[0]
    operator.passes("day-1", "--resume", run_id)
    folder = platform.workspace.home / "runs" / run_id
    told = json.loads((folder / "health-day-1.json").read_text())
    pods = {pod["metadata"]["name"] for pod in platform.side("blue")}
    [asked] = [one["checks"] for one in told["sections"] if one["name"] == "platform"]
    names = {one["name"].removeprefix("health:") for one in asked if one["source"] == "health"}
    assert len(names) == len(names & pods) == 2, "each pod was asked for its health"


def test_day_7_attacks_the_service_and_signs_it(operator: Operator, platform: Platform) -> None:
    """A few attacks, none of them missed; the delta is of the pods, the pack verifies."""
    sizes = {"ATTACKS": "72", "BENIGN": "20", "WORDINGS": "2", "ALLOW_FEW": "1"}
    operator.env["MC_URL"] = platform.url()  # what is attacked
    run_id = operator.passes("day-7", *(f"--set={name}={value}" for name, value in sizes.items()))
    folder = platform.workspace.home / "runs" / run_id
    told = json.loads((folder / "redteam" / "redteam.json").read_text())
    assert told["missed"] == []
    assert told["figures"]["attacks"]["blocked"] == told["figures"]["attacks"]["n"] > 0
    delta = json.loads((folder / "operations-delta.json").read_text())
    assert delta["metrics"]["requests"] > 0
    report = json.loads((folder / "verification.json").read_text())
    assert report["ok"]
    claims = {one["id"]: one["recomputed"] for one in report["claims"]}
    extent = claims["runbook.extent"]
    assert (extent["last"]["step"], extent["ended"]) == ("evidence", None)
    attacked = {one["pod_uid"] for one in told["running"]["at_end"]["target"]}
    assert {one["metadata"]["uid"] for one in platform.side("blue")} <= attacked, "each pod told"


def test_a_teams_own_waits_for_a_person_and_knows_a_secret_of_the_cluster(
    operator: Operator, platform: Platform
) -> None:
    """What is for a laptop is skipped; the Secret is read by reference and in nothing that is kept."""
    (operator.folder / "runbooks" / "own.md").write_text(OWN)
    secret = "--set=KEY=kubernetes:mc-platform-secrets/AUDIT_SIEM_KEY"
    done = operator.run("own", secret)
    assert done.returncode == 8, done.stdout + done.stderr
    run_id = re.search(r"mcctl runbook approve (\S+) --gate go \(for on call\)", done.stderr)
    assert run_id, done.stderr
    assert operator.mcctl("runbook", "approve", run_id[1]).returncode == 0
    done = operator.run("own", "--resume", run_id[1], secret)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = platform.workspace.home / "runs" / run_id[1]
    assert "the key is ***" in (folder / "logs" / "01-look.1.log").read_text()
    kept = [path.read_text() for path in folder.rglob("*") if path.is_file()]
    assert not any(SIEM_KEY in text for text in kept)
