"""Each subject's checks, on manifests and on a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mc_ops.autoscaler.record import read_csv
from mc_ops.environments import checkout
from mc_ops.errors import UnusableInput
from mc_ops.files import read_limited
from mc_ops.preflight.kubernetes import cluster as live
from mc_ops.preflight.kubernetes.autoscaling import check_autoscaling
from mc_ops.preflight.kubernetes.capacity import database_of
from mc_ops.preflight.kubernetes.egress import check_egress
from mc_ops.preflight.kubernetes.egress_table import namespaces_of, read_table
from mc_ops.preflight.kubernetes.manifests import Object, mapping, read_manifests
from mc_ops.preflight.kubernetes.pod_security import check_pod_security
from mc_ops.preflight.kubernetes.probe import probe
from mc_ops.preflight.kubernetes.workloads import KINDS, pods_of
from mc_ops.preflight.result import CheckResult

TABLE, LOAD = "egress.toml", "load.csv"
_WORKLOADS = tuple(map(str.lower, KINDS))


def pod_security_of_manifests(folder: Path) -> list[CheckResult]:
    """The checks of `pod-security` on the manifests of a folder.

    Raises:
        UnusableInput: they cannot be read.
        CouldNotTell: a kustomization cannot be rendered.
    """
    objects = read_manifests(folder)
    return check_pod_security(pods_of(objects), objects)


def pod_security_of_cluster(namespace: str | None) -> list[CheckResult]:
    """The same on a namespace of the cluster that kubectl's context names.

    Args:
        namespace: The context's own where it is None.

    Raises:
        CouldNotTell: the cluster does not answer, or does not let it read.
    """
    cluster = live.Cluster.of_context(namespace)
    objects = cluster.objects(*_WORKLOADS, "namespace")
    pods = pods_of(objects)
    return [*check_pod_security(pods, objects), *live.admission(cluster, pods)]


def egress_of_manifests(folder: Path, table: Path | None) -> list[CheckResult]:
    """The checks of `egress` on the manifests of a folder.

    Args:
        table: By default the folder's own `egress.toml`.

    Raises:
        UnusableInput: they, or the table, cannot be read.
        CouldNotTell: a kustomization cannot be rendered.
    """
    table = table or folder / TABLE
    if not table.exists():
        raise UnusableInput(f"{folder} has no {TABLE}", hint="--table FILE names one")
    return list(_egress(read_manifests(folder), table))


def egress_of_cluster(namespace: str | None, table: Path | None) -> list[CheckResult]:
    """The same on a cluster, and each pair whose target has an address tried from a pod.

    Args:
        namespace: Beside those of the workloads that the table names.
        table: By default that of the region's overlay.

    Raises:
        UnusableInput: the table cannot be read.
        CouldNotTell: the cluster does not answer, or does not let it read.
    """
    table = table or checkout() / "deploy" / "kubernetes" / "overlays" / "region" / TABLE
    spaces = namespaces_of(table) | ({namespace} if namespace else set())
    objects = [
        one
        for space in sorted(spaces)
        for one in live.Cluster(space).objects(*_WORKLOADS, "networkpolicy")
    ]
    return [*_egress(objects, table), *probe(read_table(table, pods_of(objects)))]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an autoscaler is held against.

    Attributes:
        minimum: Replicas that each must have at least.
        max_connections: Of the database, where no Cluster among the objects says it.
        others: Connections of others than replicas.
        load: File of a load (CSV: time, replicas, load) over which it is replayed.
    """

    minimum: int = 3
    max_connections: int = 200
    others: int = 10
    load: Path | None = None


def hpa_of_manifests(folder: Path, limits: Limits) -> list[CheckResult]:
    """The checks of `hpa` on the manifests of a folder, with its `load.csv` if it has one.

    Raises:
        UnusableInput: they, or the load, cannot be read.
        CouldNotTell: a kustomization cannot be rendered.
    """
    load = limits.load or (folder / LOAD if (folder / LOAD).is_file() else None)
    return _autoscaling(read_manifests(folder), limits, load, live=False)


def hpa_of_cluster(namespace: str | None, limits: Limits) -> list[CheckResult]:
    """The same on a namespace of a cluster, with the conditions that its controller tells.

    Raises:
        UnusableInput: the load cannot be read.
        CouldNotTell: the cluster does not answer, or does not let it read.
    """
    cluster = live.Cluster.of_context(namespace)
    others = (
        "horizontalpodautoscalers.v2.autoscaling",
        "poddisruptionbudget",
        "resourcequota",
        "service",
    )
    objects = cluster.objects(*_WORKLOADS, *others)
    if elsewhere := _targets_of_other_kinds(objects):
        objects += cluster.objects(*elsewhere)
    return _autoscaling(objects, limits, limits.load, live=True)


def _targets_of_other_kinds(objects: list[Object]) -> list[str]:
    """What autoscalers scale that is not Kubernetes' own, such as a Rollout, as kubectl names a kind."""
    found = set()
    for one in (each for each in objects if each.kind == "HorizontalPodAutoscaler"):
        target = mapping(one.spec.get("scaleTargetRef"), "scaleTargetRef", one)
        group, _, version = str(target.get("apiVersion") or "").rpartition("/")
        if group and target.get("kind") not in KINDS:
            found.add(f"{target.get('kind')}.{version}.{group}")
    return sorted(found)


def _autoscaling(
    objects: list[Object], limits: Limits, load: Path | None, *, live: bool
) -> list[CheckResult]:
    return check_autoscaling(
        objects,
        pods_of(objects),
        minimum=limits.minimum,
        server=database_of(objects, limits.max_connections, limits.others),
        load=read_csv(read_limited(load).decode(errors="replace")) if load else None,
        live=live,
    )


def _egress(objects: list[Object], path: Path) -> list[CheckResult]:
    pods = pods_of(objects)
    policies = [one for one in objects if "NetworkPolicy" in one.kind]
    return list(check_egress(policies, pods, read_table(path, pods)))
