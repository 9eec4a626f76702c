"""Day-0 on the cluster, three replicas a side: PROMOTE, HOLD, interrupted and resumed, a node that crashes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from tests.cluster.account import Account
from tests.cluster.conftest import until
from tests.cluster.platform import Platform

pytestmark = [pytest.mark.cluster, pytest.mark.long, pytest.mark.timeout(1500)]

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "deploy" / "kubernetes" / "overlays" / "local-test" / "egress.toml"
MCCTL = Path(sys.executable).parent / "mcctl"
# Just enough pairs for a rehearsal, at a rate that two cores bear beside nine replicas
MINUTES, RATE, PAIRS = "2", "18", 2160
REPLACED_WITHIN_S = 40


class Day0:
    """An operator who runs day-0 in a repository of their own, so that the release tag is made there.

    They have the Roles that mcctl prints for it, and no other right.
    """

    def __init__(self, operator: Account, folder: Path) -> None:
        platform = operator.platform
        self.platform, self.folder = platform, folder
        for name in ("runbooks", "scripts", "tools"):
            shutil.copytree(ROOT / name, folder / name)
        (folder / ".gitignore").write_text("dist/\n")
        author = "-c user.name=t -c user.email=t@example.com"
        for command in ("init -q", "add .", f"{author} commit -q -m released"):
            subprocess.run(["git", *command.split()], cwd=folder, check=True, timeout=60)
        scrape = str(platform.workspace.scrape_token)
        own = {"MC_NAMESPACE": platform.name, "MC_SCRAPE_TOKEN_FILE": scrape}
        self.env = {**operator.env, **own}

    def mcctl(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [MCCTL, *args],
            cwd=self.folder,
            env=self.env,
            check=False,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert not check or done.returncode == 0, f"{done.stdout}{done.stderr}"
        return done

    def begin(self, *args: str) -> Run:
        """A run in a session of its own, as in a terminal; stderr goes with stdout."""
        process = subprocess.Popen(
            [MCCTL, "runbook", "run", "day-0", "--yes", *args],
            cwd=self.folder,
            env=self.env,
            start_new_session=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return Run(process, self.platform.workspace.home / "runs")

    def run(self, *args: str) -> tuple[int, str, Run]:
        """A run to its end; resumed, as its last line says, where the machine was too busy to tell."""
        for _ in range(3):
            run = self.begin(*args)
            code, said = run.ended()
            if code != 3 or f"--resume {run.name}" not in said:
                break
            args = ("--resume", run.name)
        return code, said, run

    def new(self, **parameters: str) -> tuple[str, ...]:
        """The arguments of a new run."""
        given = {"RATE": RATE, "EGRESS_TABLE": str(TABLE), **parameters}
        settings = [f"--set={name}={value}" for name, value in given.items()]
        return ("--env", "kubernetes", "--minutes", MINUTES, *settings)

    def serving(self) -> tuple[str, str, list[str]]:
        """The side that the Service selects, its version, and the pods of that side."""
        service = self.platform.read("service", "agent-workbench")
        colour = service["spec"]["selector"]["mc-platform/colour"]
        pods = [pod["metadata"]["uid"] for pod in self.platform.side(colour)]
        return colour, service["metadata"]["resourceVersion"], sorted(pods)

    def is_as_before(self) -> bool:
        """No fresh baseline is left."""
        left = self.platform.kubectl(
            "get", "deployment", "agent-workbench-baseline", "--ignore-not-found", "-o", "name"
        )
        return not left.stdout


class Run:
    """A run of the runbook that was begun."""

    def __init__(self, process: subprocess.Popen[str], runs: Path) -> None:
        self.process, self.first = process, ""
        assert process.stdout is not None
        while not (found := re.match(r"run (day-0-\S+):", line := process.stdout.readline())):
            self.first += line
            assert line, f"it ended before it began: {self.first}"
        self.name, self.first = found[1], self.first + line
        self.folder = runs / self.name

    def ended(self) -> tuple[int, str]:
        """Its exit code, and all that it said."""
        said, _ = self.process.communicate(timeout=1200)
        return self.process.returncode, self.first + said

    def verdict(self) -> dict:
        """What its last canary wrote."""
        return json.loads((self.folder / "canary" / "verdict.json").read_text())

    def await_pairs(self) -> None:
        """Wait until pairs of its canary were measured."""

        def measures() -> bool:
            logs = (self.folder / "logs").glob("*canary*.log")
            told = any(f" of {PAIRS} pairs" in log.read_text(errors="replace") for log in logs)
            return told or self.process.poll() is not None

        until(measures, 500)
        assert self.process.poll() is None, self.ended()[1]


@pytest.fixture(scope="module")
def day0(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Day0]:
    """The operator; in the end the platform is as it was."""
    folder = tmp_path_factory.mktemp("day0")
    operator = Account.operator(platform, "who-cuts-over", folder)
    try:
        yield Day0(operator, folder / "checkout")
    finally:
        operator.gone()
        platform.kubectl("delete", "deployment", "agent-workbench-baseline", "--ignore-not-found")
        platform.restore()


def test_a_slow_candidate_is_held_and_nothing_moves(day0: Day0):
    """Twice as slow on purpose: HOLD, exit 1; the Service is untouched, and the same pods serve."""
    before = day0.serving()
    code, said, run = day0.run(*day0.new(FAULT="slow=2"))
    assert code == 1, said
    assert "HOLD" in said
    verdict = run.verdict()
    assert verdict["kind"] == "regressed", verdict["reason"]  # by its slowness, not by time-outs
    assert [len(verdict["urls"][side]) for side in ("baseline", "candidate")] == [3, 3]
    assert day0.serving() == before
    assert day0.is_as_before()
    autoscaler = day0.platform.read("hpa", "agent-workbench-green")
    assert (
        "mc-platform/held" in autoscaler["metadata"]["annotations"]
    )  # what was held is not let go


def test_a_node_that_crashes_during_the_canary_leaves_no_verdict(day0: Day0):
    """Both sides lose pods: could not tell, exit 3, nothing moved; Kubernetes replaces those that serve."""
    platform = day0.platform
    colour, version, _ = day0.serving()
    run = day0.begin(*day0.new(FAULT="none"))
    try:
        run.await_pairs()
        before = pods_of(platform, colour)
        started_s = max(started(pod) for pod in before.values())
        platform.cluster.driver("crash", "2")
        code, said = run.ended()
        assert code == 3, said
        assert re.search(r"the baseline lost [12] of 3 replicas during the run", said), said
        assert day0.serving()[:2] == (colour, version)
        replaced_s = replacements_ready_s(platform, colour, set(before))
        print(f"replacements ready {replaced_s:.0f} s after the node's last sign of life")
        # A machine whose replicas took longer than 10 s to start may do so again
        assert replaced_s <= REPLACED_WITHIN_S + max(0.0, started_s - 10)
        assert day0.is_as_before()
    finally:
        run.process.kill()
        platform.cluster.driver("node", "2")
    platform.cluster.kubectl("wait", "--for=condition=Ready", "node/node-2", "--timeout=90s")


def test_a_run_that_is_interrupted_goes_on_and_promotes(day0: Day0):
    """Ctrl-C in the canary undoes what it began; resumed, it compares anew, cuts over, and proves it."""
    platform = day0.platform
    run = day0.begin(*day0.new(FAULT="none"))
    run.await_pairs()
    os.killpg(run.process.pid, signal.SIGINT)
    code, said = run.ended()
    assert code == 5, said
    assert day0.is_as_before()
    assert day0.serving()[0] == "blue"

    code, said, run = day0.run("--resume", run.name)
    assert code == 0, said
    assert "PROMOTE" in said
    assert "rehearsal, margin 0.25" in said
    assert day0.serving()[0] == "green"
    assert day0.is_as_before()
    autoscaler = platform.read("hpa", "agent-workbench-green")
    assert (autoscaler["spec"]["minReplicas"], autoscaler["spec"]["maxReplicas"]) == (3, 5)

    [pack] = (day0.folder / "dist").glob("evidence-*.json")
    report = json.loads(day0.mcctl("evidence", "verify", str(pack), "--require-promote").stdout)
    assert report["ok"] is True
    compared = run.verdict()["running"]["at_end"]["candidate"]
    assert len(compared) == 3
    assert {one["pod_uid"] for one in compared} == set(day0.serving()[2])
    assert all(one["code"] and one["configuration"] for one in compared)


def pods_of(platform: Platform, colour: str) -> dict[str, dict]:
    return {pod["metadata"]["uid"]: pod for pod in platform.side(colour)}


def moment(pod: dict, condition: str) -> datetime | None:
    """When a pod got a condition that it has, by the API's clock."""
    found = {one["type"]: one for one in pod["status"].get("conditions", ())}
    told = found.get(condition, {})
    at = told.get("lastTransitionTime") if told.get("status") == "True" else None
    return None if at is None else datetime.fromisoformat(at)


def started(pod: dict) -> float:
    """Seconds from its place on a node to its readiness."""
    scheduled, ready = moment(pod, "PodScheduled"), moment(pod, "Ready")
    return (ready - scheduled).total_seconds() if scheduled and ready else 0.0


def replacements_ready_s(platform: Platform, colour: str, before: set[str]) -> float:
    """Seconds from the crashed node's last sign of life until new pods of a side are all ready."""
    lease = platform.cluster.read("-n", "kube-node-lease", "lease", "node-2")
    last = datetime.fromisoformat(lease["spec"]["renewTime"])

    def ready() -> list[datetime]:
        new = [pod for uid, pod in pods_of(platform, colour).items() if uid not in before]
        at = [moment(pod, "Ready") for pod in new]
        deployment = platform.read("deployment", "agent-workbench" + "-green" * (colour == "green"))
        whole = deployment["status"].get("readyReplicas", 0) == deployment["spec"]["replicas"]
        return [one for one in at if one] if whole and new and all(at) else []

    return (max(until(ready, 240)) - last).total_seconds()
