"""The rights that mcctl needs on a cluster, by what they are for: asked of the cluster, or as a Role."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from mc_ops.environments.interface import BASELINE, Colour
from mc_ops.environments.kubernetes.client import Client, Object
from mc_ops.environments.kubernetes.names import (
    CATALOGUE,
    SECRETS,
    SERVICE,
    SETTINGS,
    deployment_of,
)

ROLE: Final = "mc-operator"
_APPS, _BATCH = "apps", "batch"
_DEPLOYMENTS = tuple(deployment_of(group) for group in (*Colour, BASELINE))
_SIDES = tuple(deployment_of(colour) for colour in Colour)


@dataclass(frozen=True, slots=True)
class Right:
    """One right in the platform's namespace.

    Attributes:
        api: The group of the API; empty for the core.
        names: Of the objects that it is about; empty for all.
        purpose: What it is for: verbs of mcctl, in a reader's words.
        changes: Whether something can be changed by it, or run in a pod.
    """

    verb: str
    resource: str
    purpose: str
    api: str = ""
    names: tuple[str, ...] = ()
    changes: bool = False

    def __str__(self) -> str:
        """As an error names it."""
        return " ".join(
            [self.verb, self.resource, *([", ".join(self.names)] if self.names else [])]
        )


RIGHTS: Final = (
    Right("get", "services", "every verb: which side serves, and where", names=(SERVICE,)),
    Right("list", "pods", "status, instances, wait, logs: which pods there are"),
    Right("get", "pods", "logs --follow, incident siem-failure, preflight: one pod"),
    Right("get", "pods/log", "logs"),
    Right("list", "events", "wait: why a pod does not start; incident hpa-oscillation, cost"),
    Right("get", "configmaps", "status, preflight: the region", names=(SETTINGS, CATALOGUE)),
    Right(
        "get",
        "secrets",
        "incident siem-failure, preflight platform: the settings",
        names=(SECRETS,),
    ),
    Right("get", "deployments", "wait: how many there are to be", api=_APPS, names=_DEPLOYMENTS),
    Right(
        "get",
        "horizontalpodautoscalers",
        "incident hpa-oscillation, cost",
        api="autoscaling",
        names=_SIDES,
    ),
    Right(
        "patch",
        "horizontalpodautoscalers",
        "incident hpa-oscillation --apply: the downward window",
        api="autoscaling",
        names=_SIDES,
        changes=True,
    ),
)


def allowed(client: Client, rights: Iterable[Right] = RIGHTS) -> Iterator[tuple[Right, str]]:
    """Each right, with what of it is missing in words; empty if it is there.

    Raises:
        CouldNotTell, NotAllowed: the cluster cannot be asked.
    """
    for right in rights:
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


def role(namespace: str, *, read_only: bool = False) -> Object:
    """The Role that has these rights and no others; `read_only`: those that change nothing."""
    wanted = [right for right in RIGHTS if not (read_only and right.changes)]
    rules: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for right in wanted:
        rules.setdefault((right.api, right.resource, right.names), []).append(right.verb)
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "Role",
        "metadata": {
            "name": f"{ROLE}-read-only" if read_only else ROLE,
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
