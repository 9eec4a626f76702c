"""The rights that mcctl needs on a cluster, by what they are for: asked of the cluster, or as a Role."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mc_ops.environments.interface import BASELINE, Colour, Holder
from mc_ops.environments.kubernetes.client import Client, Object
from mc_ops.environments.kubernetes.names import (
    CATALOGUE,
    LEASE,
    SECRETS,
    SERVICE,
    SETTINGS,
    deployment_of,
)

_APPS, _BATCH, _AUTOSCALING, _HPAS = "apps", "batch", "autoscaling", "horizontalpodautoscalers"
_COORDINATION, _DISCOVERY = "coordination.k8s.io", "discovery.k8s.io"
_LOCK = "scale, cutover: that no two change the platform at once"
_DEPLOYMENTS = tuple(deployment_of(group) for group in (*Colour, BASELINE))
_SIDES = tuple(deployment_of(colour) for colour in Colour)


@dataclass(frozen=True, slots=True)
class Right:
    """One right in the platform's namespace.

    Attributes:
        api: The group of the API; empty for the core.
        names: Of the objects that it is about; empty for all.
        purpose: What it is for: verbs of mcctl, in a reader's words.
    """

    verb: str
    resource: str
    purpose: str
    api: str = ""
    names: tuple[str, ...] = ()

    def __str__(self) -> str:
        """As an error names it."""
        return " ".join(
            [self.verb, self.resource, *([", ".join(self.names)] if self.names else [])]
        )


_LOOK = (
    Right("get", "services", "every verb: which side serves, and where", names=(SERVICE,)),
    Right("list", "pods", "status, instances, wait, logs: which pods there are"),
    Right("get", "pods", "logs --follow, incident siem-failure, preflight: one pod"),
    Right("get", "pods/log", "logs"),
    Right("list", "events", "wait: why a pod does not start; incident hpa-oscillation, cost"),
    Right("get", "configmaps", "status, preflight: the region", names=(SETTINGS, CATALOGUE)),
    Right("get", "deployments", "wait: how many there are to be", _APPS, _DEPLOYMENTS),
    Right("get", _HPAS, "scale, cutover, incident hpa-oscillation, cost", _AUTOSCALING, _SIDES),
)
_CHANGE = (
    Right("patch", "services", "cutover", names=(SERVICE,)),
    Right("list", "endpointslices", "cutover: whether the Service leads there", _DISCOVERY),
    Right("patch", "deployments", "scale --restart, --fault", _APPS, _DEPLOYMENTS),
    Right("patch", "deployments/scale", "scale", _APPS, _DEPLOYMENTS),
    Right("create", "deployments", "scale --baseline", _APPS),
    Right("delete", "deployments", "scale --baseline", _APPS, (deployment_of(BASELINE),)),
    Right(
        "patch",
        _HPAS,
        "scale, cutover: its bounds; incident hpa-oscillation: the window",
        _AUTOSCALING,
        _SIDES,
    ),
    Right("create", "leases", _LOCK, _COORDINATION),
    Right("get", "leases", _LOCK, _COORDINATION, (LEASE,)),
    Right("patch", "leases", _LOCK, _COORDINATION, (LEASE,)),
    Right("create", "events", "scale, cutover: who did it, in the namespace's events"),
)
_WORKLOADS = (
    ("deployments", _APPS),
    ("statefulsets", _APPS),
    ("daemonsets", _APPS),
    ("jobs", _BATCH),
    ("cronjobs", _BATCH),
    ("replicasets", _APPS),
    ("podtemplates", ""),
    ("replicationcontrollers", ""),
)
_CHECKS = "preflight pod-security, egress, hpa: what is held against the rules"
_EXEC = Right("create", "pods/exec", "preflight egress, incident siem-failure: ask from a pod")
_LISTS = (
    *(Right("list", resource, _CHECKS, api) for resource, api in _WORKLOADS),
    Right("list", "networkpolicies", "preflight egress", "networking.k8s.io"),
)
_PREFLIGHT = (
    *_LISTS,
    _EXEC,
    # Of no reader: the ledger's signing key and the database's password are in it
    Right(
        "get",
        "secrets",
        "incident siem-failure, preflight platform: the settings",
        names=(SECRETS,),
    ),
    Right("list", _HPAS, "preflight hpa", _AUTOSCALING),
    Right("list", "poddisruptionbudgets", "preflight hpa", "policy"),
    Right("list", "resourcequotas", "preflight hpa"),
    Right("list", "services", "preflight hpa"),
    Right("get", "namespaces", "preflight pod-security: what the namespace enforces"),
    Right("create", "pods", "preflight pod-security: try the admission (dry run)"),
    Right(
        "watch", "deployments", "incident siem-failure --enable-file: rollout", _APPS, _DEPLOYMENTS
    ),
)
_RUN = "a command of the service with the database administrator's rights"
_ADMINISTER = (
    Right("get", "services", f"{_RUN}: which side serves", names=(SERVICE,)),
    Right("get", "deployments", f"{_RUN}: what its pod is like", _APPS, _SIDES),
    Right("create", "pods", f"{_RUN}: its pod"),
    Right("get", "pods", f"{_RUN}: how it ended"),
    Right("get", "pods/log", f"{_RUN}: what it said"),
    Right("delete", "pods", f"{_RUN}: take its pod away"),
)
_ASK_NEIGHBOUR = (
    *_LISTS,
    _EXEC,
    Right("get", "deployments", "preflight egress: the workload that is asked from", _APPS),
    Right("list", "pods", "preflight egress: its pods"),
    Right("get", "pods", "preflight egress: one of them"),
)
RIGHTS: Final = (*_LOOK, *_CHANGE, *_PREFLIGHT)


RIGHTS_OF: Final = {
    Holder.operator: RIGHTS,
    Holder.reader: _LOOK,
    Holder.administrator: _ADMINISTER,
    Holder.neighbour: _ASK_NEIGHBOUR,
}


def allowed(client: Client, holder: Holder = Holder.operator) -> Iterator[tuple[Right, str]]:
    """Each right, with what of it is missing in words; empty if it is there.

    Args:
        client: Of the namespace.
        holder: Whose rights.

    Raises:
        CouldNotTell, NotAllowed: the cluster cannot be asked.
    """
    for right in RIGHTS_OF[holder]:
        refused = [name for name in right.names or ("",) if not _may(client, right, name)]
        yield right, ", ".join(filter(None, refused)) or ("all" if refused else "")


def _may(client: Client, right: Right, name: str) -> bool:
    resource, _, subresource = right.resource.partition("/")
    asked = {
        "namespace": client.namespace,
        "verb": right.verb,
        "group": right.api,
        "resource": resource,
        **({"subresource": subresource} if subresource else {}),
        **({"name": name} if name else {}),
    }
    body = {"metadata": {}, "spec": {"resourceAttributes": asked}}
    return bool(client.create("selfsubjectaccessreviews", body).get("status", {}).get("allowed"))


def role(namespace: str, holder: Holder = Holder.operator) -> Object:
    """The Role that has these rights and no others."""
    rules: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for right in RIGHTS_OF[holder]:
        rules.setdefault((right.api, right.resource, right.names), []).append(right.verb)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {
            "name": f"mc-{holder}",
            "namespace": namespace,
            "labels": {"app.kubernetes.io/part-of": "mc-platform"},
        },
        "rules": [
            {
                "apiGroups": [api],
                "resources": [resource],
                **({"resourceNames": list(names)} if names else {}),
                "verbs": verbs,
            }
            for (api, resource, names), verbs in rules.items()
        ],
    }
