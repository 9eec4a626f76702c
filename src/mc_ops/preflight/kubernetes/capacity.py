"""Whether what autoscalers may ask for at most is there: the namespace's quota, the database's connections."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from decimal import Decimal

from mc_contract import connections
from mc_contract.numbers import counted
from mc_ops.errors import CouldNotTell
from mc_ops.preflight.kubernetes.findings import Finding
from mc_ops.preflight.kubernetes.manifests import Object, mapping
from mc_ops.preflight.kubernetes.quantities import asked_for, quantity
from mc_ops.preflight.kubernetes.scaled import Scaled, number
from mc_ops.preflight.kubernetes.workloads import KINDS, Pod

SERVICE = "agent-workbench"
_POSTGRES = "postgresql.cnpg.io"
_NOT_COUNTED = ("DaemonSet", "Job", "CronJob", "PodTemplate")  # by node, or for a while
_RESOURCES = ("cpu", "memory", "ephemeral-storage")


def over_quota(
    objects: Sequence[Object], pods: Sequence[Pod], all_scaled: Sequence[Scaled]
) -> Iterator[Finding]:
    """Quotas that all workloads at their maximum would exceed; whatever has no autoscaler counts as it is."""
    kinds = {*KINDS, *(pod.owner.kind for pod in pods)}
    most = {id(one.pod): one.most + one.surge for one in all_scaled if one.pod}
    for quota in (one for one in objects if one.kind == "ResourceQuota"):
        if quota.spec.get("scopes") or quota.spec.get("scopeSelector"):
            continue  # of some pods alone: which, the manifests do not tell
        ours = [p for p in pods if p.owner.namespace == quota.namespace and _is_workload(p, kinds)]
        counts = [(pod, most.get(id(pod), _replicas(pod))) for pod in ours]
        counts += [_postgres(one) for one in objects if _is_postgres(one) and _near(one, quota)]
        for name, hard in mapping(quota.spec.get("hard"), "hard", quota).items():
            needed = _needed(str(name), counts)
            room = quantity(hard, quota)
            if isinstance(needed, Pod):
                why = f"is limited, and a container of {needed.owner} does not say its own"
                yield Finding(
                    str(quota), f"spec.hard[{name}]", why, "set it: such a pod is refused"
                )
            elif needed is not None and needed > room:
                why = f"is {hard}, all workloads at their maximum ask for {needed.normalize():f}"
                fix = "raise it, or lower maxReplicas"
                yield Finding(str(quota), f"spec.hard[{name}]", why, fix)


def _is_postgres(one: Object) -> bool:
    """Whether it is CloudNativePG's Cluster: others have kinds of that name, too."""
    return (one.kind, one.group) == ("Cluster", _POSTGRES)


def _near(one: Object, quota: Object) -> bool:
    return one.namespace == quota.namespace


def _postgres(cluster: Object) -> tuple[Pod, int]:
    """The pods that CloudNativePG makes of its Cluster, as far as a quota looks at them."""
    containers = [{"resources": mapping(cluster.spec.get("resources"), "resources", cluster)}]
    return Pod(cluster, "spec", {}, {"containers": containers}), number(
        cluster.spec.get("instances", 1)
    )


def _is_workload(pod: Pod, kinds: Collection[str]) -> bool:
    """Whether it counts by itself: not through an owner that counts already, and not for a while."""
    owners = {one.get("kind") for one in pod.list_of("ownerReferences", pod.owner.metadata)}
    return owners.isdisjoint(kinds) and pod.owner.kind not in _NOT_COUNTED


def _replicas(pod: Pod) -> int:
    return 1 if pod.owner.kind == "Pod" else number(pod.owner.spec.get("replicas", 1))


def _needed(name: str, counts: Sequence[tuple[Pod, int]]) -> Decimal | Pod | None:
    """What all pods ask for of what a quota limits; the pod that does not say; None: not known."""
    if name in {"pods", "count/pods"}:
        return Decimal(sum(count for _, count in counts))
    kind, _, resource = name.partition(".")
    if not resource:
        kind, resource = "requests", name
    if kind not in {"requests", "limits"} or resource not in _RESOURCES:
        return None
    total = Decimal(0)
    for pod, count in counts:
        each = asked_for(pod, kind, resource)
        if each is None:
            return pod
        total += each * count
    return total


def over_connections(
    all_scaled: Sequence[Scaled], server: connections.Server
) -> tuple[list[Finding], str]:
    """Autoscalers that could take more connections than the database has; and the sum, in words."""
    ours = [
        one
        for one in all_scaled
        if one.pod and one.pod.labels.get("app.kubernetes.io/name") == SERVICE
    ]
    pods = sum(one.most + one.surge for one in ours)
    told = (
        f"{counted(pods, 'replica')} at most, with the pods of rolling updates; {server.fitting} fit "
        f"max_connections {server.most} ({server.reserved} reserved, {server.others} of others)"
    )
    if pods <= server.fitting:
        return [], told
    fix = f"lower it, or set max_connections to {server.required(pods)} or more"
    return [one.finding("spec.maxReplicas", told, fix) for one in ours], told


def database_of(objects: Iterable[Object], most: int, others: int) -> connections.Server:
    """The database's connections: as a CloudNativePG Cluster among the objects says, else `most`.

    Raises:
        CouldNotTell: the Cluster says no number.
    """
    for one in objects:
        if _is_postgres(one) and "postgresql" in one.spec:
            postgresql = mapping(one.spec["postgresql"], "postgresql", one)
            told = mapping(postgresql.get("parameters"), "parameters", one).get("max_connections")
            if told is not None:
                try:
                    most = int(told)
                except ValueError as error:
                    raise CouldNotTell(f"{one}: max_connections is {told!r}") from error
    return connections.Server(most=most, reserved=3, others=others)
