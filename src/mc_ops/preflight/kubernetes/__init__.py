"""The pre-flight of Kubernetes: of manifests in files, and of what a cluster has.

results = check_manifests("pod-security", Path("deploy/kubernetes/overlays/region"))
results = check_cluster("pod-security", namespace=None)
"""

from __future__ import annotations

from mc_ops.preflight.kubernetes.checks import check_cluster, check_manifests

__all__ = ["check_cluster", "check_manifests"]
