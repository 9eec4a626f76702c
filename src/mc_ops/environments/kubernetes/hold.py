"""An autoscaler held still while its side is compared: minimum and maximum are what is compared.

A replica that it adds meanwhile was compared by nobody, and must not serve by that verdict. What the
bounds were stands in an annotation until the side serves, or is scaled otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mc_ops.environments.kubernetes.client import Client, Object
from mc_ops.environments.kubernetes.names import HELD

_BOUNDS = ("minReplicas", "maxReplicas")


def bounds(hpa: Mapping[str, Any]) -> tuple[int, int]:
    """The autoscaler's minimum and maximum; those from before while it is held."""
    kept = _kept(hpa) or hpa["spec"]
    return int(kept.get("minReplicas") or 1), int(kept.get("maxReplicas") or 0)


def hold(client: Client, hpa: Object, replicas: int) -> None:
    """Let it keep exactly so many replicas."""
    least, most = bounds(hpa)
    told = json.dumps({"minReplicas": least, "maxReplicas": most})
    _write(client, hpa, {"minReplicas": replicas, "maxReplicas": replicas}, told)


def release(client: Client, hpa: Object | None) -> None:
    """Give it the bounds back that it had, unless somebody has set others since."""
    if hpa is None or (kept := _kept(hpa)) is None:
        return
    spec = hpa["spec"]
    still = spec.get("minReplicas") == spec["maxReplicas"]
    _write(client, hpa, {name: kept[name] for name in _BOUNDS} if still else {}, None)


def _write(client: Client, hpa: Object, spec: dict[str, int], told: str | None) -> None:
    body = {"metadata": {"annotations": {HELD: told}}, "spec": spec}
    client.patch("horizontalpodautoscalers", hpa["metadata"]["name"], body)


def _kept(hpa: Mapping[str, Any]) -> dict[str, int] | None:
    text = (hpa["metadata"].get("annotations") or {}).get(HELD)
    try:
        kept = json.loads(text) if text else None
        return {name: int(kept[name]) for name in _BOUNDS} if kept else None
    except (ValueError, LookupError, TypeError):
        return None  # not as we write it: the bounds as they stand count
