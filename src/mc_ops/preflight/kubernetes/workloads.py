"""The pods that objects make: of every kind of workload, with the field where each stands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mc_ops.preflight.kubernetes.manifests import Object, mapping, sequence

_TEMPLATES = {
    "Pod": "",
    "PodTemplate": "template",
    "Deployment": "spec.template",
    "StatefulSet": "spec.template",
    "DaemonSet": "spec.template",
    "ReplicaSet": "spec.template",
    "ReplicationController": "spec.template",
    "Job": "spec.template",
    "CronJob": "spec.jobTemplate.spec.template",
}
KINDS = tuple(_TEMPLATES)
"""The kinds that make pods."""
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
    """The pods of all objects that make some; a set of old pods that is scaled to none makes none."""
    found = []
    for one in objects:
        place = _TEMPLATES.get(one.kind)
        if place is None or _is_history(one):
            continue
        template: Mapping[str, Any] = one.data
        for step in filter(None, place.split(".")):
            template = mapping(template.get(step), place, one)
        path = ".".join(filter(None, (place, "spec")))
        metadata = mapping(template.get("metadata"), "metadata", one)
        found.append(Pod(one, path, metadata, mapping(template.get("spec"), path, one)))
    return found


def _is_history(one: Object) -> bool:
    owned = sequence(one.metadata.get("ownerReferences"), "ownerReferences", one)
    return one.kind == "ReplicaSet" and bool(owned) and one.spec.get("replicas") == 0
