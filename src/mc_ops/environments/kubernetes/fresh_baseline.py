"""The fresh baseline as a Deployment: what serves, once more, where no Service leads.

Its pods have the name that NetworkPolicies go by, and a colour of their own in the label, so that no
Service, budget or autoscaler of a side counts them. What they announce is the colour that serves.
"""

from __future__ import annotations

import copy

from mc_ops.environments.interface import BASELINE, Colour
from mc_ops.environments.kubernetes.client import Object
from mc_ops.environments.kubernetes.names import COLOUR, OURS, deployment_of, labels_of
from mc_ops.errors import CouldNotTell

_COLOUR_SETTING = "MC_COLOUR"


def baseline_of(serving: Object, active: Colour, annotations: dict[str, str]) -> Object:
    """The Deployment of a fresh baseline, at 0 replicas.

    Args:
        serving: The Deployment that serves.
        active: Its colour.
        annotations: Who made it, and why.

    Raises:
        CouldNotTell: `serving` is just being rolled out, so that two things serve.
    """
    _require_settled(serving)
    template = copy.deepcopy(serving["spec"]["template"])
    meta = template["metadata"]
    meta["labels"] = {**meta.get("labels", {}), COLOUR: BASELINE}
    for container in template["spec"]["containers"]:
        for variable in container.get("env", ()):
            if variable["name"] == _COLOUR_SETTING:
                variable.pop("valueFrom", None)
                variable["value"] = active.value
    owner = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": serving["metadata"]["name"],
        "uid": serving["metadata"]["uid"],
    }
    return {
        "metadata": {
            "name": deployment_of(BASELINE),
            "labels": {**serving["metadata"].get("labels", {}), COLOUR: BASELINE, **OURS},
            "annotations": annotations,
            "ownerReferences": [owner],  # without what it is like, it is like nothing
        },
        "spec": {
            "replicas": 0,
            "revisionHistoryLimit": 0,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels_of(BASELINE)},
            "template": template,
        },
    }


def is_ours(deployment: Object) -> bool:
    """Whether it is one that `baseline_of` made."""
    labels = deployment["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in OURS.items())


def _require_settled(serving: Object) -> None:
    name, status = serving["metadata"]["name"], serving.get("status") or {}
    behind = status.get("observedGeneration", 0) < serving["metadata"].get("generation", 0)
    if behind or status.get("updatedReplicas", 0) != status.get("replicas", 0):
        raise CouldNotTell(
            f"{name} is being rolled out: what serves is not one thing to compare with",
            hint=f"kubectl rollout status deploy/{name}, then repeat",
        )
    if not status.get("readyReplicas"):
        raise CouldNotTell("nobody serves: there is nothing to compare with", hint="mcctl status")
