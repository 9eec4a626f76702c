"""The pods that objects make: of every kind of workload, with the field where each stands.

A kind of somebody else's (a Rollout, a Knative Service) is searched for templates of pods by their shape.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mc_ops.errors import UnusableInput
from mc_ops.preflight.kubernetes.manifests import Object, mapping, sequence

_TEMPLATES = {
    "Pod": ("", ""),
    "PodTemplate": ("", "template"),
    "Deployment": ("apps", "spec.template"),
    "StatefulSet": ("apps", "spec.template"),
    "DaemonSet": ("apps", "spec.template"),
    "ReplicaSet": ("apps", "spec.template"),
    "ReplicationController": ("", "spec.template"),
    "Job": ("batch", "spec.template"),
    "CronJob": ("batch", "spec.jobTemplate.spec.template"),
}
KINDS = tuple(_TEMPLATES)
"""Kubernetes' own kinds that make pods."""
_OWN_GROUPS = frozenset(["", "apps", "batch", "autoscaling", "policy", "extensions"])
_CONTAINERS = ("initContainers", "containers", "ephemeralContainers")


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod, or the template of some.

    Attributes:
        owner: The object that has it.
        path: Where its spec stands in the object.
        metadata: Its labels and annotations.
    """

    owner: Object
    path: str
    metadata: Mapping[str, Any]
    spec: Mapping[str, Any]

    @property
    def labels(self) -> dict[str, str]:
        """Its labels."""
        return {str(k): str(v) for k, v in self.of("labels", self.metadata).items()}

    def of(self, field: str, parent: Mapping[str, Any]) -> Mapping[str, Any]:
        """An object within it; empty where it is missing."""
        return mapping(parent.get(field), field, self.owner)

    def list_of(self, field: str, parent: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """A list of objects within it."""
        for one in sequence(parent.get(field), field, self.owner):
            yield mapping(one, field, self.owner)

    def containers(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Each container with its field: initial ones, ordinary ones and ephemeral ones."""
        for field in _CONTAINERS:
            for place, container in enumerate(self.list_of(field, self.spec)):
                yield f"{self.path}.{field}[{place}]", container

    def contexts(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The pod's security context, then each container's, with its field."""
        yield f"{self.path}.securityContext", self.of("securityContext", self.spec)
        for field, container in self.containers():
            yield f"{field}.securityContext", self.of("securityContext", container)


def pods_of(objects: Iterable[Object]) -> list[Pod]:
    """The pods of all objects that make some; a set of old pods that is scaled to none makes none.

    Raises:
        UnusableInput: a template has no containers, so that nothing of it could be checked.
    """
    found: list[Pod] = []
    for one in objects:
        group, place = _TEMPLATES.get(one.kind, ("", None))
        if place is None or one.group != group:
            found += _of_other_kind(one)
            continue
        if _is_history(one):
            continue
        template: Mapping[str, Any] = one.data
        for step in filter(None, place.split(".")):
            template = mapping(template.get(step), place, one)
        found.append(_pod(one, place, template))
    return found


def _pod(owner: Object, place: str, template: Mapping[str, Any]) -> Pod:
    path = ".".join(filter(None, (place, "spec")))
    metadata = mapping(template.get("metadata"), "metadata", owner)
    pod = Pod(owner, path, metadata, mapping(template.get("spec"), path, owner))
    if next(pod.containers(), None) is None:
        raise UnusableInput(
            f"{owner}: {path}.containers is missing or empty: there is nothing to check",
            hint="mend the field's name; of a patch, name the folder with its kustomization",
        )
    return pod


def _of_other_kind(one: Object) -> Iterator[Pod]:
    """The pods that a kind which is not Kubernetes' own describes, as far as they look like pods."""
    if one.group in _OWN_GROUPS or one.group.endswith(".k8s.io"):
        return
    for place, template in _shaped("", one.data):
        yield _pod(one, place, template)


def _shaped(place: str, node: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if isinstance(node, list):
        for number, inner in enumerate(node):
            yield from _shaped(f"{place}[{number}]", inner)
    elif isinstance(node, Mapping):
        spec = node.get("spec")
        containers = spec.get("containers") if isinstance(spec, Mapping) else None
        if isinstance(containers, list) and all(isinstance(c, Mapping) for c in containers):
            yield place, node
            return
        for name, inner in node.items():
            yield from _shaped(f"{place}.{name}".lstrip("."), inner)


def _is_history(one: Object) -> bool:
    owned = sequence(one.metadata.get("ownerReferences"), "ownerReferences", one)
    return one.kind == "ReplicaSet" and bool(owned) and one.spec.get("replicas") == 0
