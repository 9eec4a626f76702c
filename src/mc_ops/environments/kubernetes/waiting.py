"""Replicas that start and serve, and those that go, waited for; what will not come by itself is told at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from mc_ops.environments.interface import BASELINE, Group, Say
from mc_ops.environments.kubernetes import pods as pod_facts
from mc_ops.environments.kubernetes.client import Object
from mc_ops.environments.kubernetes.reading import Reading
from mc_ops.errors import CouldNotTell

_GONE_WITHIN_S = 75.0  # a pod's grace, and what its node takes
_REFUSED_FOR_S = 20.0  # a quota may be full of pods that are on their way out
_POLL_S = 0.5


def await_serving(reading: Reading, wanted: Mapping[Group, int], within_s: float) -> None:
    """Wait until each group has at least so many replicas, all of its newest template and ready.

    A pod that no node takes is waited for, as nodes may be added for it.

    Raises:
        CouldNotTell: not in `within_s` seconds; a group has no replica, and is to have some; one will
            not come up by itself; or none can be made. The message says why.
    """
    begun = made_at = time.monotonic()
    while True:
        waiting = [
            (missing, deployment, pods)
            for group, least in wanted.items()
            for deployment, pods in [_found(reading, group, least)]
            if (missing := _missing(deployment, pods, least))
        ]
        if not waiting:
            return
        now = time.monotonic()
        for _, deployment, pods in waiting:
            _require_hope(reading, pods)
            refused = _refused(deployment)
            if refused and now - made_at > min(_REFUSED_FOR_S, within_s):
                raise CouldNotTell(
                    f"{pod_facts.name_of(deployment)}: {refused}",
                    hint="kubectl get quota,limits; kubectl get namespace --show-labels",
                )
        if now - begun > within_s:
            raise _late(reading, *waiting[0], within_s)
        if not any(_refused(deployment) for _, deployment, _ in waiting):
            made_at = now
        time.sleep(_POLL_S)


def await_gone(reading: Reading, group: Group, say: Say, *, but: int = 0) -> None:
    """Wait until no more replicas of a group run than are to stay; those past their grace do not count.

    Only a node that is silent keeps these.
    """
    deadline = time.monotonic() + _GONE_WITHIN_S
    while len(there := [pod for pod in reading.pods(group, leaving=True) if not _past(pod)]) > but:
        if time.monotonic() > deadline:
            leaving = [pod for pod in there if not pod_facts.stays(pod)]
            say(f"still on their way out: {', '.join(map(pod_facts.name_of, leaving))}")
            return
        time.sleep(_POLL_S)


def _found(reading: Reading, group: Group, least: int) -> tuple[Object, list[Object]]:
    deployment = reading.deployment(group)
    if deployment is None or (least and not deployment["spec"].get("replicas", 1)):
        what = "the fresh baseline" if group == BASELINE else group
        raise CouldNotTell(
            f"no replica of {what} was started",
            hint="mcctl scale agent-workbench --replicas N --env kubernetes",
        )
    return deployment, reading.pods(group)


def _missing(deployment: Object, pods: Sequence[Object], least: int) -> str:
    """What is not there yet of a Deployment, in words; empty if all is."""
    # its autoscaler may have asked for more meanwhile
    wanted, status = int(deployment["spec"].get("replicas", 1)), deployment.get("status", {})
    if int(status.get("observedGeneration", 0)) < int(deployment["metadata"]["generation"]):
        return f"{pod_facts.name_of(deployment)} was not looked at by its controller"
    if slow := [pod_facts.name_of(pod) for pod in pods if not pod_facts.ready(pod)]:
        return f"{', '.join(slow)} not ready"
    newest = int(status.get("updatedReplicas", 0))
    if not newest == len(pods) == wanted >= least:
        return f"{newest} of {max(wanted, least)} replicas are new, {len(pods)} run"
    return ""


def _require_hope(reading: Reading, pods: Sequence[Object]) -> None:
    """Raise CouldNotTell if one of them will not come up by itself."""
    for pod in pods:
        if why := pod_facts.death_of(pod):
            raise CouldNotTell(f"{pod_facts.name_of(pod)}: {why}", hint=_hint(reading, pod))


def _refused(deployment: Object) -> str:
    """Why its pods cannot be made, if that is so: a quota, Pod Security."""
    for one in deployment.get("status", {}).get("conditions", ()):
        if one["type"] == "ReplicaFailure" and one["status"] == "True":
            return str(one.get("message", one.get("reason")))[:300]
    return ""


def _late(
    reading: Reading, missing: str, deployment: Object, pods: Sequence[Object], within_s: float
) -> CouldNotTell:
    slow = next((pod for pod in pods if not pod_facts.ready(pod)), None)
    if slow is None:
        hint = f"kubectl describe deploy/{pod_facts.name_of(deployment)}"
        return CouldNotTell(f"{missing} after {within_s:g} s", hint=hint)
    why = pod_facts.word_of(slow)
    return CouldNotTell(f"{missing} after {within_s:g} s: {why}", hint=_hint(reading, slow))


def _hint(reading: Reading, pod: Object) -> str:
    """What to look at: the log of a pod that ran, or what its events warn of."""
    name = pod_facts.name_of(pod)
    if pod_facts.restarts(pod) or pod_facts.running(pod):
        return f"mcctl logs {name} --env kubernetes"
    return next(iter(reading.warnings(name)), f"kubectl describe pod {name}")


def _past(pod: Object) -> bool:
    """Whether it has ended, or should have by now."""
    ends = pod["metadata"].get("deletionTimestamp")
    return pod_facts.ended(pod) or bool(ends and pod_facts.moment(ends) < datetime.now(UTC))
