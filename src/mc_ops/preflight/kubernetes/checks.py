"""Each subject's checks, on manifests and on a cluster."""

from __future__ import annotations

from pathlib import Path

from mc_ops.errors import UnusableInput
from mc_ops.preflight.kubernetes import cluster as live
from mc_ops.preflight.kubernetes.manifests import read_manifests
from mc_ops.preflight.kubernetes.pod_security import check_pod_security
from mc_ops.preflight.kubernetes.workloads import KINDS, pods_of
from mc_ops.preflight.result import CheckResult

SUBJECTS = ("pod-security",)


def check_manifests(subject: str, folder: Path) -> list[CheckResult]:
    """Make a subject's checks on the manifests of a folder: `pod-security`.

    Raises:
        UnusableInput: they cannot be read, or there is no such subject.
        CouldNotTell: a kustomization cannot be rendered.
    """
    _require(subject)
    objects = read_manifests(folder)
    return check_pod_security(pods_of(objects), objects)


def check_cluster(subject: str, namespace: str | None) -> list[CheckResult]:
    """Make a subject's checks on a namespace of the cluster that kubectl's context names.

    Args:
        namespace: The context's own where it is None.

    Raises:
        CouldNotTell: the cluster does not answer, or does not let it read.
    """
    _require(subject)
    cluster = live.Cluster.of_context(namespace)
    objects = cluster.objects(*map(str.lower, KINDS), "namespace")
    pods = pods_of(objects)
    return [*check_pod_security(pods, objects), *live.admission(cluster, pods)]


def _require(subject: str) -> None:
    if subject not in SUBJECTS:
        raise UnusableInput(
            f"{subject!r} is not checked on Kubernetes", hint=f"known: {', '.join(SUBJECTS)}"
        )
