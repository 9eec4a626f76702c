"""What a pod's status says: whether it runs, is ready, and what keeps it from ever running."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from mc_ops.environments.interface import UNREACHED, State
from mc_ops.environments.kubernetes.client import Object
from mc_ops.environments.kubernetes.names import SERVICE

# Why a container waits, where it waits for somebody to change something; others pass by themselves
_DEADLY = frozenset(
    {
        "CreateContainerConfigError",
        "ErrImageNeverPull",
        "ImagePullBackOff",
        "InvalidImageName",
    }
)
_CRASHES, _MOST_RESTARTS = "CrashLoopBackOff", 2  # what it needs may come up at the same time


def name_of(found: Object) -> str:
    """The name of an object."""
    return str(found["metadata"]["name"])


def stays(pod: Object) -> bool:
    """Whether it is neither on its way out nor at its end, such as one that was evicted."""
    return not ended(pod) and "deletionTimestamp" not in pod["metadata"]


def ended(pod: Object) -> bool:
    """Whether none of its containers will run again."""
    return pod.get("status", {}).get("phase") in ("Failed", "Succeeded")


def address_of(pod: Object) -> str:
    """Its IP; empty while it has none."""
    return str(pod.get("status", {}).get("podIP") or "")


def running(pod: Object) -> bool:
    """Whether its container runs, ready or not."""
    return pod.get("status", {}).get("phase") == "Running" and "running" in _state(pod)


def ready(pod: Object) -> bool:
    """Whether the kubelet's readiness probe passed last."""
    return _condition(pod, "Ready").get("status") == "True"


def restarts(pod: Object) -> int:
    """How often its container was started again."""
    return int(_container(pod).get("restartCount") or 0)


def uptime_s(pod: Object, now: datetime) -> float | None:
    """Seconds since its container started; None if it does not run."""
    started = _state(pod).get("running", {}).get("startedAt")
    return None if started is None else max(0.0, (now - moment(started)).total_seconds())


def age_s(pod: Object, now: datetime) -> float:
    """Seconds since it was created."""
    return (now - moment(pod["metadata"]["creationTimestamp"])).total_seconds()


def moment(text: str) -> datetime:
    """A time of Kubernetes."""
    return datetime.fromisoformat(text).astimezone(UTC)


def state_of(pod: Object) -> State:
    """Dead is what only a change brings up; what starts counts as running."""
    return State.dead if death_of(pod) else State.running


def word_of(pod: Object) -> str:
    """How it does, by its conditions alone: `ready`, or what it waits for."""
    if ready(pod):
        return UNREACHED
    if why := death_of(pod) or unschedulable(pod):
        return why
    for state in _states(pod):
        if reason := state.get("waiting", {}).get("reason"):
            return f"starting ({reason})"
    reason = _condition(pod, "Ready").get("reason") or pod.get("status", {}).get("phase", "Pending")
    return f"not ready ({reason})"


def death_of(pod: Object) -> str:
    """Why it will not run until somebody changes something; empty if it may."""
    for container in _containers(pod):
        waiting = container.get("state", {}).get("waiting", {})
        reason, why = waiting.get("reason"), waiting.get("message", "")
        if reason == _CRASHES and int(container.get("restartCount") or 0) >= _MOST_RESTARTS:
            why = ending_of(container)
        elif reason not in _DEADLY:
            continue
        return f"{reason}: {_short(why)}" if why else str(reason)
    return ""


def unschedulable(pod: Object) -> str:
    """Why no node takes it; empty if one has, or nobody has tried yet."""
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        return f"unschedulable: {_short(scheduled.get('message', ''))}"
    return ""


def ending_of(container: Mapping[str, Any]) -> str:
    """How a container ended last: `OOMKilled, exit 137`; empty if it never did."""
    last = container.get("lastState", {}).get("terminated") or container.get("state", {}).get(
        "terminated", {}
    )
    if not last:
        return ""
    reason = last.get("reason", "Error")
    return f"{reason}, exit {last.get('exitCode')}"


def last_ending(pod: Object) -> str:
    """How its container ended before it was started again; empty if it never did."""
    return ending_of(_container(pod))


def literal_env(found: Object) -> dict[str, str]:
    """The variables that a pod, or a Deployment's template, gives its container word by word."""
    spec = found["spec"].get("template", found)["spec"]
    return {
        one["name"]: str(one["value"])
        for container in spec["containers"]
        if container["name"] == SERVICE or len(spec["containers"]) == 1
        for one in container.get("env", ())
        if "value" in one
    }


def _containers(pod: Object) -> Iterator[Mapping[str, Any]]:
    status = pod.get("status", {})
    yield from status.get("initContainerStatuses", ())
    yield from status.get("containerStatuses", ())


def _container(pod: Object) -> Mapping[str, Any]:
    found = pod.get("status", {}).get("containerStatuses") or [{}]
    return next((one for one in found if one.get("name") == SERVICE), found[0])


def _states(pod: Object) -> list[Mapping[str, Any]]:
    return [one.get("state", {}) for one in _containers(pod)]


def _state(pod: Object) -> Mapping[str, Any]:
    found: Mapping[str, Any] = _container(pod).get("state", {})
    return found


def _condition(pod: Object, kind: str) -> Mapping[str, Any]:
    conditions = pod.get("status", {}).get("conditions", ())
    return next((one for one in conditions if one["type"] == kind), {})


def _short(text: str) -> str:
    return " ".join(text.split())[:200]
