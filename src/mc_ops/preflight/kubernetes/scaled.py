"""An autoscaler with what it scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mc_ops.environments.kubernetes.hold import bounds
from mc_ops.environments.kubernetes.names import HELD
from mc_ops.preflight.kubernetes.findings import Finding
from mc_ops.preflight.kubernetes.manifests import Object, mapping
from mc_ops.preflight.kubernetes.quantities import portion
from mc_ops.preflight.kubernetes.workloads import Pod


def number(value: Any) -> int:
    """A whole number; 0 for what is none, which no bound permits."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


@dataclass(frozen=True, slots=True)
class Scaled:
    """An autoscaler and what it scales.

    Attributes:
        pod: None if there is no such workload.
        live: Whether it is a cluster's, where mcctl may hold it; in a manifest nobody does, whatever
            its annotations say.
    """

    hpa: Object
    pod: Pod | None
    live: bool = False

    @property
    def spec(self) -> Mapping[str, Any]:
        """The autoscaler's spec; while it is held still for a comparison, with its own bounds."""
        if not self.held:
            return self.hpa.spec
        least, most = bounds(self.hpa.data)
        return {**self.hpa.spec, "minReplicas": least, "maxReplicas": most}

    @property
    def held(self) -> bool:
        """Whether mcctl holds it at what is compared."""
        annotations = mapping(self.hpa.metadata.get("annotations"), "annotations", self.hpa)
        return self.live and HELD in annotations

    @property
    def least(self) -> int:
        """`minReplicas`, by default 1."""
        return number(self.spec.get("minReplicas", 1))

    @property
    def most(self) -> int:
        """`maxReplicas`."""
        return number(self.spec.get("maxReplicas"))

    @property
    def surge(self) -> int:
        """How many pods a release adds at the maximum."""
        if self.pod is None or self.pod.owner.kind not in {"Deployment", "Rollout"}:
            return 0
        owner = self.pod.owner
        strategy = mapping(owner.spec.get("strategy"), "strategy", owner)
        if strategy.get("type") == "Recreate":
            return 0
        if "blueGreen" in strategy:  # of a Rollout: the new side stands whole beside the old one
            return self.most
        field = "canary" if owner.kind == "Rollout" else "rollingUpdate"
        rolling = mapping(strategy.get(field), field, owner)
        return portion(rolling.get("maxSurge", "25%"), self.most, owner, up=True)

    def finding(self, field: str, why: str, fix: str) -> Finding:
        """Something that is wrong in the autoscaler."""
        return Finding(str(self.hpa), field, why, fix)
