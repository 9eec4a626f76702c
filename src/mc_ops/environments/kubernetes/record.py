"""What mcctl leaves behind of a change: who made it and how, as an annotation and as an event."""

from __future__ import annotations

import os
import pwd
import socket
from contextlib import suppress
from datetime import UTC, datetime

from mc_ops.environments.kubernetes.client import Client, Object
from mc_ops.environments.kubernetes.names import CHANGED_BY
from mc_ops.errors import OpsError

_LONGEST = 1000


def signed(what: str) -> dict[str, str]:
    """For an object that is changed: `scale --replicas 3 by ann@laptop, 2026-01-01T00:00:00+00:00`."""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    return {CHANGED_BY: f"{what} by {who()}, {at}"[:_LONGEST]}


def who() -> str:
    """Who runs mcctl, and where; the cluster's audit log has their credential's name.

    The system's user, and not what `USER` or `LOGNAME` say, which anybody sets.
    """
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user need not have a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def event(client: Client, about: Object, reason: str, message: str) -> None:
    """Tell it in the namespace's events, for `kubectl get events`; without the right, not."""
    at = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    meta = about["metadata"]
    body = {
        "metadata": {"generateName": f"{meta['name']}-"},
        "involvedObject": {
            **{key: about[key] for key in ("kind", "apiVersion")},
            **{key: meta[key] for key in ("name", "namespace", "uid")},
        },
        "reason": reason,
        "message": f"{message} by {who()}"[:_LONGEST],
        "type": "Normal",
        "source": {"component": "mcctl"},
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
    with suppress(OpsError):  # what was done stands, and the annotation says so
        client.create("events", body)
