"""Pods that go while clients ask and operations are under way: replaced, scaled down, lost with their node."""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.cluster.clients import Clients
from tests.cluster.conftest import until
from tests.cluster.platform import OVERLAY, Platform
from tests.cluster.test_workloads import ready
from tests.crash.accounting import Account
from tests.deploy.rendered import objects

pytestmark = pytest.mark.cluster

SIDE = "agent-workbench"
DEPLOYMENT = f"deployment/{SIDE}"
STEP_S = (
    5.0  # of a long order, which has three; a pod of the overlay drains for as long as one takes
)
# From a node's last sign of life until the replacements of its pods are made: of the 40 s that a
# replacement may take until it is ready, all but its own start
REPLACED_WITHIN_S = 30
PODS = 3
COST = "controller.kubernetes.io/pod-deletion-cost"


def addresses(platform: Platform) -> dict[str, str]:
    """Where each ready pod of blue is asked directly."""
    return {
        pod["metadata"]["name"]: f"http://{pod['status']['podIP']}:8080"
        for pod in platform.side("blue")
        if ready(pod)
    }


def names(platform: Platform) -> set[str]:
    return {pod["metadata"]["name"] for pod in platform.side("blue")}


def rolled_out(platform: Platform) -> None:
    platform.kubectl("rollout", "status", DEPLOYMENT, "--timeout=240s")


def adopted(clients: Clients, orders: Collection[str], lost: Collection[str], since: float) -> None:
    """Wait until pods that are not lost run these orders; tell how long it took."""
    until(lambda: not set(clients.run_by(*orders).values()) & {*lost, ""})
    print(f"adopted {time.monotonic() - since:.1f} s after")


def accounted(clients: Clients) -> Account:
    """The account of everything since the clients began: nothing is lost, nothing done twice."""
    made = clients.stop()
    print(made.figures)
    assert [(check.name, check.examples) for check in made.checks if check.count] == []
    assert made.figures["operations stuck and reported"] == 0
    return made


def nobody_noticed(made: Account) -> None:
    """Each request had its answer at the first try, and each question one from its agent."""
    assert made.figures["faults that clients met"] == {}
    assert made.figures["acknowledged after a repeat"] == 0
    assert made.figures["questions failed"] == 0
    assert made.figures["operations failed before they began"] == 0


def test_a_rolling_update_and_its_undoing_fail_no_request_and_lose_no_operation(
    platform: Platform, tmp_path: Path
):
    before = addresses(platform)
    try:
        with Clients(platform, tmp_path) as clients:
            orders = [clients.long_order(STEP_S, at=url) for url in before.values()]
            assert set(clients.run_by(*orders).values()) == set(before)
            platform.kubectl("set", "env", DEPLOYMENT, "MC_HEALTH_CACHE_S=2")
            until(lambda: set(addresses(platform)) - set(before) and names(platform) & set(before))
            migrate_again(platform)  # while both versions serve
            rolled_out(platform)
            after = addresses(platform)
            assert not set(after) & set(before)
            orders += [clients.long_order(STEP_S, at=url) for url in after.values()]
            platform.kubectl("rollout", "undo", DEPLOYMENT)
            rolled_out(platform)
            assert not names(platform) & set(after)
            nobody_noticed(accounted(clients))
            assert clients.ended(*orders)
    finally:
        platform.restore()


def migrate_again(platform: Platform) -> None:
    platform.kubectl("delete", "job", "mc-migrate", "--ignore-not-found")
    platform.apply(*objects(f"{OVERLAY}/migrate"))
    platform.kubectl("wait", "--for=condition=complete", "job/mc-migrate", "--timeout=180s")


@pytest.mark.long  # of the three ends of a pod the one that asks least
def test_a_pod_that_is_scaled_away_hands_its_operations_over(platform: Platform, tmp_path: Path):
    """The step that it is at ends after the pod does: another one asks again, by the same key."""
    try:
        held_at(platform, PODS + 1)
        victim, url = min(addresses(platform).items())
        platform.kubectl("annotate", "pod", victim, f"{COST}=-100")
        with Clients(platform, tmp_path) as clients:
            bounds(platform, PODS)
            until(lambda: victim not in names(platform))
            leaving = time.monotonic()
            orders = []
            while time.monotonic() < leaving + 4:  # preStop: it serves as before
                orders.append(clients.long_order(STEP_S, at=url))
                time.sleep(1)
            held = [name for name, by in clients.run_by(*orders).items() if by == victim]
            assert held
            until(lambda: victim not in clients.leases())
            left = time.monotonic()
            print(f"the lease was given back {left - leaving:.1f} s after the pod was to go")
            handed_over = list(clients.run_by(*held))
            assert handed_over
            adopted(clients, handed_over, [victim], left)
            platform.kubectl("wait", "--for=delete", f"pod/{victim}", "--timeout=90s")
            nobody_noticed(accounted(clients))
            assert clients.ended(*orders)
    finally:
        platform.restore()


def bounds(platform: Platform, pods: int) -> None:
    """Have the autoscaler want so many pods, whatever the load: above its maximum it scales down at once."""
    wanted = f'{{"spec": {{"minReplicas": {pods}, "maxReplicas": {pods}}}}}'
    platform.kubectl("patch", "hpa", SIDE, "--type=merge", "-p", wanted)


def held_at(platform: Platform, pods: int) -> None:
    bounds(platform, pods)
    until(lambda: len(addresses(platform)) == pods == len(names(platform)), 180)


def test_the_operations_of_a_crashed_node_go_on_and_its_pods_are_replaced(
    platform: Platform, tmp_path: Path
):
    cluster = platform.cluster
    held_at(platform, PODS)
    before, lost = addresses(platform), on_node(platform, "node-2")
    assert 0 < len(lost) < len(before)
    try:
        with Clients(platform, tmp_path, attempt_s=5) as clients:
            orders = [clients.long_order(STEP_S, at=before[name]) for name in (*lost, *lost)]
            held = [name for name, by in clients.run_by(*orders).items() if by in lost]
            assert held
            cluster.driver("crash", "2")
            crashed = time.monotonic()
            adopted(clients, held, lost, crashed)
            until(lambda: not served_by(platform) & lost)
            print(f"endpoints forgot them {time.monotonic() - crashed:.1f} s after the crash")
            met = sum(clients.load.faults_met.values())
            until(lambda: disruptions_allowed(platform) == 0)
            until(lambda: len(addresses(platform)) >= len(before), 120)
            print(f"as many ready as before {time.monotonic() - crashed:.1f} s after the crash")
            replaced_in_time(platform, set(before))
            until(lambda: disruptions_allowed(platform) == 1)
            until(lambda: calm(clients))
            print(f"{sum(clients.load.faults_met.values()) - met} faults later than that")
            accounted(clients)
            assert clients.load.unanswered == []
            assert clients.ended(*orders)
    finally:
        cluster.driver("node", "2")
        cluster.kubectl("wait", "--for=condition=Ready", "node/node-2", "--timeout=90s")
        replacements = on_node(platform, "node-1") - set(before)  # nothing moves back by itself
        platform.kubectl("delete", "pod", *replacements, "--ignore-not-found", "--wait=false")
        platform.restore()
    assert on_node(platform, "node-2")


def on_node(platform: Platform, node: str) -> set[str]:
    return {p["metadata"]["name"] for p in platform.side("blue") if p["spec"]["nodeName"] == node}


def served_by(platform: Platform) -> set[str]:
    """The pods that the public Service names as ready."""
    slices = platform.read("endpointslices", "-l", f"kubernetes.io/service-name={SIDE}")["items"]
    ends = [end for one in slices for end in one["endpoints"] or ()]
    return {end["targetRef"]["name"] for end in ends if end["conditions"].get("ready")}


def disruptions_allowed(platform: Platform) -> int:
    return int(platform.read("pdb", SIDE)["status"]["disruptionsAllowed"])


def replaced_in_time(platform: Platform, before: set[str]) -> None:
    """By the control plane's own record; how long a process takes to start is this machine's affair."""
    lease = platform.cluster.read("-n", "kube-node-lease", "lease", "node-2")["spec"]["renewTime"]
    made = [
        pod["metadata"]["creationTimestamp"]
        for pod in platform.side("blue")
        if pod["metadata"]["name"] not in before
    ]
    waited = datetime.fromisoformat(max(made)) - datetime.fromisoformat(lease)
    assert timedelta() < waited < timedelta(seconds=REPLACED_WITHIN_S)


def calm(clients: Clients) -> bool:
    """Whether thirty answers came without a fault between them."""
    load = clients.load
    met, had = sum(load.faults_met.values()), len(load.acknowledged)
    until(lambda: len(load.acknowledged) > had + 30)
    return sum(load.faults_met.values()) == met
