"""A command of the service with the database administrator's rights: a pod that ends.

It is as a replica (image, settings, keys, security context), with the secret that no replica may read,
and without its probes, ports and labels: it serves nobody.
"""

from __future__ import annotations

import copy
import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from subprocess import CompletedProcess

from mc_ops.environments.kubernetes import pods as pod_facts
from mc_ops.environments.kubernetes import record
from mc_ops.environments.kubernetes.client import Client, Object
from mc_ops.environments.kubernetes.names import ADMIN_SECRET, APP, OURS, SERVICE
from mc_ops.errors import CouldNotTell, OpsError, UnusableInput

_URL = "MC_DATABASE_ADMIN_URL"
_LONGEST_S = 3600
_POLL_S = 0.5
_NO_REPLICA = ("MC_REPLICA", "MC_COLOUR", "MC_POD_UID")
_OF_A_SERVER = ("ports", "startupProbe", "readinessProbe", "livenessProbe", "lifecycle")
# What it says on both streams, told apart: the log is stdout, the message of its end stderr's last 4 KiB
_SCRIPT = (
    'python -m mc_platform "$@" 2>/tmp/stderr; code=$?; '
    "tail -c 4000 /tmp/stderr >/dev/termination-log; exit $code"
)
_LEAVES_FILES = ("archive",)


def administer(client: Client, serving: Object, command: Sequence[str]) -> CompletedProcess[str]:
    """Run it, give back what it said, and remove the pod.

    Args:
        client: Of the platform's namespace.
        serving: The Deployment that serves: what the pod is made like.
        command: Of the service.

    Raises:
        UnusableInput: it writes files, which would go with the pod.
        CouldNotTell: the pod does not start, or its end cannot be read.
    """
    if command and command[0] in _LEAVES_FILES:
        raise UnusableInput(
            f"`{command[0]}` writes files, and those of a pod go with it",
            hint="run it in a Job with a volume: docs/how-to/kubernetes.md",
        )
    name = f"mc-administration-{uuid.uuid4().hex[:8]}"
    client.create("pods", pod_of(serving, name, command))
    try:
        ended = _await_end(client, name)
        text = "".join(f"{line}\n" for line in client.log(name))
    finally:
        with suppress(OpsError):
            client.delete("pods", name)
    return CompletedProcess(
        args=["python", "-m", "mc_platform", *command],
        returncode=int(ended["exitCode"]),
        stdout=text,
        stderr=str(ended.get("message") or ""),
    )


def pod_of(serving: Object, name: str, command: Sequence[str]) -> Object:
    """The pod that runs a command with the administrator's rights."""
    spec = copy.deepcopy(serving["spec"]["template"]["spec"])
    spec.pop("topologySpreadConstraints", None)
    container = next(c for c in spec["containers"] if c["name"] == SERVICE)
    for key in _OF_A_SERVER:
        container.pop(key, None)
    kept = [
        one
        for one in container.get("env") or ()
        if one["name"] not in _NO_REPLICA and not one["name"].startswith("MC_FAULT")
    ]
    secret = {"secretKeyRef": {"name": ADMIN_SECRET, "key": _URL}}
    container |= {
        "name": "administration",
        "command": ["sh", "-c", _SCRIPT, "mcctl"],
        "args": list(command),
        "env": [*kept, {"name": _URL, "valueFrom": secret}],
    }
    spec |= {
        "containers": [container],
        "restartPolicy": "Never",
        "activeDeadlineSeconds": _LONGEST_S,
        "terminationGracePeriodSeconds": 10,
    }
    return {
        "metadata": {
            "name": name,
            # The migration's name: NetworkPolicies let it to the database and nowhere else
            "labels": {APP: "mc-migrate", "app.kubernetes.io/part-of": "mc-platform", **OURS},
            "annotations": record.signed(f"mc_platform {' '.join(command)}"),
        },
        "spec": spec,
    }


def _await_end(client: Client, name: str) -> Object:
    """How its container ended.

    Raises:
        CouldNotTell: it never ran.
    """
    deadline = time.monotonic() + _LONGEST_S
    while True:
        pod = client.get("pods", name)
        status = pod.get("status") or {}
        for container in status.get("containerStatuses") or ():
            if "terminated" in (state := container.get("state") or {}):
                found: Object = state["terminated"]
                return found
        if why := pod_facts.death_of(pod):
            raise CouldNotTell(f"pod {name} does not start: {why}")
        if status.get("phase") == "Failed" or time.monotonic() > deadline:
            raise CouldNotTell(f"pod {name} did not run: {status.get('message', 'no reason')}")
        time.sleep(_POLL_S)
