"""Deployments that change, waited for: replicas that start and serve, and those that go."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from mc_ops.environments.interface import Group, Say
from mc_ops.environments.kubernetes.client import Client, Object
from mc_ops.environments.kubernetes.names import deployment_of, labels_of
from mc_ops.environments.kubernetes.record import signed
from mc_ops.errors import CouldNotTell

START_WITHIN_S = 270.0
_GONE_WITHIN_S = 75.0  # a pod's grace, and what its node takes
_POLL_S = 0.5
_HOPELESS = (
    "CreateContainerConfigError",
    "ErrImageNeverPull",
    "ImagePullBackOff",
    "InvalidImageName",
)
_MOST_RESTARTS = 2
_TRIES = 5
_REFUSED_FOR_S = 20.0  # a quota may be full of pods that are on their way out

Change = Callable[[Object], Object | None]
"""From a template that is there to the one that is to be; None where nothing is to be changed."""


class Rollouts:
    """The Deployments of one platform."""

    def __init__(self, client: Client) -> None:
        """Change those in the namespace of `client`."""
        self._client = client

    def set_replicas(self, group: Group, replicas: int) -> None:
        """Ask for so many replicas; returns at once."""
        body = {"spec": {"replicas": replicas}}
        self._client.patch("deployments", deployment_of(group), body, subresource="scale")

    def change(self, group: Group, what: str, changed: Change | None = None) -> None:
        """Say in a Deployment who does what, and change its template.

        Args:
            group: Whose Deployment.
            what: The command.
            changed: Gives the template that it is to have; None: as it is.

        Raises:
            CouldNotTell: others change it all the time.
        """
        for tries_left in reversed(range(_TRIES)):
            found = self._client.get("deployments", deployment_of(group))
            meta: Object = {"annotations": signed(what)}
            template = changed(found["spec"]["template"]) if changed else None
            body: Object = {"metadata": meta}
            if template is not None:
                meta["resourceVersion"] = found["metadata"]["resourceVersion"]
                body["spec"] = {"template": template}
            try:
                self._client.patch("deployments", deployment_of(group), body)
            except CouldNotTell:  # a conflict: its status changes often while it is rolled out
                if not tries_left:
                    raise
            else:
                return

    def await_serving(self, wanted: Mapping[Group, int]) -> None:
        """Wait until each group has at least so many replicas, all of its newest template and ready.

        Raises:
            CouldNotTell: one cannot start, or it takes too long; the message says why.
        """
        begun = made_at = time.monotonic()
        waiting = dict(wanted)
        while True:
            refused = ""
            for group, replicas in list(waiting.items()):
                deployment = self._client.get("deployments", deployment_of(group))
                if _serves(deployment, replicas):
                    del waiting[group]
                    continue
                refused = refused or _refused(deployment)
                pods = self.pods(group)
                late = time.monotonic() - begun > START_WITHIN_S
                why = _why(pods, all_of_it=late)
                if refused and time.monotonic() - made_at > _REFUSED_FOR_S:
                    why = refused
                if why or late:
                    slow = f"{replicas} replicas do not serve after {START_WITHIN_S:g} s"
                    raise CouldNotTell(f"{group} does not start: {why or slow}", hint=_hint(pods))
            if not waiting:
                return
            if not refused:
                made_at = time.monotonic()
            time.sleep(_POLL_S)

    def await_gone(self, group: Group, say: Say) -> None:
        """Wait until no replica of a group runs any more, or is past its grace on a node that is silent."""
        deadline = time.monotonic() + _GONE_WITHIN_S
        while staying := [pod for pod in self.pods(group) if not _past(pod)]:
            if time.monotonic() > deadline:
                names = ", ".join(pod["metadata"]["name"] for pod in staying)
                say(f"still on their way out: {names}")
                return
            time.sleep(_POLL_S)

    def pods(self, group: Group) -> list[Object]:
        """All pods of a group, on their way out or not."""
        return self._client.objects("pods", labels=labels_of(group))


def _refused(deployment: Object) -> str:
    """Why its pods cannot be made, if that is so: a quota, Pod Security."""
    for one in (deployment.get("status") or {}).get("conditions") or ():
        if one["type"] == "ReplicaFailure" and one["status"] == "True":
            return str(one.get("message", one.get("reason")))
    return ""


def _serves(deployment: Object, replicas: int) -> bool:
    spec, status = deployment["spec"], deployment.get("status") or {}
    counted = [status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas")]
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    wanted = spec["replicas"]  # its autoscaler may have asked for more meanwhile
    return bool(seen and wanted >= replicas and counted == [wanted] * 3)


def _why(pods: Iterable[Object], *, all_of_it: bool) -> str:
    """What keeps a container from starting for good, or, at the end, at all."""
    for pod in pods:
        if "deletionTimestamp" in pod["metadata"]:
            continue
        for container in _containers(pod):
            waiting = (container.get("state") or {}).get("waiting") or {}
            reason = waiting.get("reason", "")
            fails = container.get("restartCount", 0) >= _MOST_RESTARTS
            if reason in _HOPELESS or (fails and reason == "CrashLoopBackOff"):
                return f"{pod['metadata']['name']}: {reason}: {waiting.get('message', '')}"
        for one in (pod.get("status") or {}).get("conditions") or () if all_of_it else ():
            if one["status"] != "True" and one.get("message"):
                return f"{pod['metadata']['name']}: {one['message']}"
    return ""


def _containers(pod: Object) -> Sequence[dict[str, Any]]:
    return (pod.get("status") or {}).get("containerStatuses") or ()


def _hint(pods: Sequence[Object]) -> str:
    waiting = [
        p["metadata"]["name"] for p in pods if not all(c.get("ready") for c in _containers(p))
    ]
    return f"mcctl logs {waiting[0]} --env kubernetes" if waiting else "kubectl get events"


def _past(pod: Object) -> bool:
    """Whether it should have ended by now, so that only a node that is silent keeps it."""
    ends = pod["metadata"].get("deletionTimestamp")
    return bool(ends) and datetime.fromisoformat(ends) < datetime.now(UTC)
