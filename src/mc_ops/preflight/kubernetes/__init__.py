"""The pre-flight of Kubernetes: of manifests in files, and of what a cluster has.

results = pod_security_of_manifests(Path("deploy/kubernetes/overlays/region"))
results = pod_security_of_cluster(namespace=None)
"""

from __future__ import annotations

from mc_ops.preflight.kubernetes.checks import (
    Limits,
    egress_of_cluster,
    egress_of_manifests,
    hpa_of_cluster,
    hpa_of_manifests,
    pod_security_of_cluster,
    pod_security_of_manifests,
)

__all__ = [
    "Limits",
    "egress_of_cluster",
    "egress_of_manifests",
    "hpa_of_cluster",
    "hpa_of_manifests",
    "pod_security_of_cluster",
    "pod_security_of_manifests",
]
