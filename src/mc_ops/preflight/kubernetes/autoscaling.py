"""Whether each HorizontalPodAutoscaler can do its work, and what it may cost is there.

What it scales has requests and a disruption budget that lets nodes be drained; its maximum fits the
namespace's quota and the database's connections; replayed over a load, it neither swings nor falls short.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from mc_contract import connections
from mc_contract.numbers import counted
from mc_ops.autoscaler.oscillation import busiest_hour, reversal_times
from mc_ops.autoscaler.record import Recorded, rules_of
from mc_ops.autoscaler.replay import SYNC_S, Trace, replay
from mc_ops.autoscaler.window import CALM_PER_HOUR, smallest_window
from mc_ops.environments.kubernetes.names import SERVICE
from mc_ops.preflight.kubernetes.capacity import over_connections, over_quota
from mc_ops.preflight.kubernetes.findings import ELSEWHERE, Finding, results
from mc_ops.preflight.kubernetes.manifests import Object, mapping, sequence
from mc_ops.preflight.kubernetes.policies import matches
from mc_ops.preflight.kubernetes.quantities import (
    asked_for,
    asks_as_whole,
    portion,
    quantity,
)
from mc_ops.preflight.kubernetes.scaled import Scaled, number
from mc_ops.preflight.kubernetes.workloads import Pod
from mc_ops.preflight.result import CheckResult, unknown

VERSION = "autoscaling/v2"
_NOT_SCALED = ("DaemonSet", "Job", "CronJob", "Pod", "PodTemplate")
_OF_RESOURCE, _OF_WHOLE = ("Utilization", "AverageValue"), ("Value", "AverageValue")
_METRICS = {  # by type: its field, and the types of target that it takes
    "Resource": ("resource", _OF_RESOURCE),
    "ContainerResource": ("containerResource", _OF_RESOURCE),
    "Pods": ("pods", ("AverageValue",)),
    "Object": ("object", _OF_WHOLE),
    "External": ("external", _OF_WHOLE),
}
_VALUES = {
    "Utilization": "averageUtilization",
    "Value": "value",
    "AverageValue": "averageValue",
}
_OF_RESOURCES = ("cpu", "memory")
_LONGEST_WINDOW_S, _LONGEST_PERIOD_S = 3600, 1800
_QUICK_S = 60
_SHORT_S = 300
"""How long in all a load may be above what all replicas have requested."""


def check_autoscaling(
    objects: Sequence[Object],
    pods: Sequence[Pod],
    *,
    minimum: int,
    server: connections.Server,
    load: Recorded | None = None,
    live: bool = False,
) -> list[CheckResult]:
    """Every check of this subject.

    Args:
        objects: Autoscalers, disruption budgets and quotas among them.
        minimum: Replicas that each side must have.
        server: The database's connections.
        load: What all replicas of one autoscaler together used of its resource (cores, or bytes).
        live: Whether the objects are a cluster's, with a status and with replicas set by it.
    """
    made = {(pod.owner.kind, pod.owner.namespace, pod.owner.name): pod for pod in pods}
    made |= _by_reference(objects, made)
    all_scaled = [
        Scaled(one, made.get(_target(one)), live=live)
        for one in objects
        if one.kind == "HorizontalPodAutoscaler"
    ]
    if not all_scaled:
        return [unknown("hpa", "there is no HorizontalPodAutoscaler", ELSEWHERE)]
    budgets = [one for one in objects if one.kind == "PodDisruptionBudget"]
    checks: dict[str, tuple[Iterable[Finding], str]] = {
        "hpa-version": (_version(all_scaled), f"all speak {VERSION}"),
        "hpa-target": (_targets(all_scaled, live=live), "each scales a workload that is there"),
        "hpa-minimum": (_minimum(all_scaled, minimum), f"at least {minimum} replicas each"),
        "hpa-bounds": (_bounds(all_scaled), "each has room above its minimum"),
        "hpa-metrics": (_metrics(all_scaled), "each metric can be read"),
        "hpa-requests": (_requests(all_scaled), "what is measured is requested"),
        "hpa-behaviour": (_behaviour(all_scaled), "quick up, slow down"),
        "pdb-coherent": (
            _budgets(all_scaled, budgets),
            "one budget each, and nodes can be drained",
        ),
        "quota": (over_quota(objects, pods, all_scaled), "all workloads at their maximum fit"),
        "connection-budget": over_connections(all_scaled, server),
    }
    told = [one for name, (found, good) in checks.items() for one in results(name, found, good)]
    if live:
        told += [
            one for each in all_scaled for one in _conditions(each, _stands_down(each, objects))
        ]
    return told + ([one for each in all_scaled for one in _replayed(each, load)] if load else [])


def _target(hpa: Object) -> tuple[str, str, str]:
    target = mapping(hpa.spec.get("scaleTargetRef"), "scaleTargetRef", hpa)
    return str(target.get("kind")), hpa.namespace, str(target.get("name"))


def _by_reference(
    objects: Sequence[Object], made: Mapping[tuple[str, str, str], Pod]
) -> dict[tuple[str, str, str], Pod]:
    """Of each Rollout that has no template of its own, the workload that it names."""
    found = {}
    for one in (each for each in objects if each.kind == "Rollout"):
        reference = mapping(one.spec.get("workloadRef"), "workloadRef", one)
        place = (str(reference.get("kind")), one.namespace, str(reference.get("name")))
        if place in made:
            found[one.kind, one.namespace, one.name] = made[place]
    return found


def _version(all_scaled: Sequence[Scaled]) -> Iterator[Finding]:
    for one in all_scaled:
        version = one.hpa.data.get("apiVersion")
        if version != VERSION:
            yield one.finding("apiVersion", f"is {version!r}: it has no behaviour", VERSION)


def _targets(all_scaled: Sequence[Scaled], *, live: bool) -> Iterator[Finding]:
    seen: dict[tuple[str, str, str], Object] = {}
    for one in all_scaled:
        kind, namespace, name = _target(one.hpa)
        field = "spec.scaleTargetRef"
        if one.pod is None:
            why = f"there is no {kind} {namespace}/{name}"
            yield one.finding(field, why, "name the workload, with its kind")
            continue
        if kind in _NOT_SCALED:
            yield one.finding(f"{field}.kind", f"is {kind}: it has no replicas", "a Deployment")
            continue
        target = mapping(one.spec.get("scaleTargetRef"), "scaleTargetRef", one.hpa)
        version = one.pod.owner.data.get("apiVersion")
        if one.pod.owner.kind == kind and target.get("apiVersion") != version:
            why = f"is {target.get('apiVersion')!r}, the workload's is {version!r}"
            yield one.finding(f"{field}.apiVersion", why, str(version))
        if (other := seen.setdefault(_target(one.hpa), one.hpa)) is not one.hpa:
            yield one.finding(
                field, f"{other.name} scales the same: they fight", "keep one of them"
            )
        if "replicas" in one.pod.owner.spec and not live:
            why = "stands beside an autoscaler: each apply sets the replicas back to it"
            yield Finding(str(one.pod.owner), "spec.replicas", why, "leave it out")


def _minimum(all_scaled: Sequence[Scaled], minimum: int) -> Iterator[Finding]:
    for one in all_scaled:
        if one.least < minimum:
            told = repr(one.spec["minReplicas"]) if "minReplicas" in one.spec else "not set (1)"
            why = f"is {told}, must be a whole number, at least {minimum}"
            yield one.finding("spec.minReplicas", why, str(minimum))


def _bounds(all_scaled: Sequence[Scaled]) -> Iterator[Finding]:
    for one in all_scaled:
        if one.most <= one.least:
            why = f"is {one.spec.get('maxReplicas')!r}, minReplicas {one.least}: it cannot scale"
            yield one.finding("spec.maxReplicas", why, f"more than {one.least}")


def _metrics(all_scaled: Sequence[Scaled]) -> Iterator[Finding]:
    for one in all_scaled:
        metrics = sequence(one.spec.get("metrics"), "metrics", one.hpa)
        if not metrics and one.hpa.data.get("apiVersion") == VERSION:
            why = "is empty: the default of 80 % of CPU is nobody's choice"
            yield one.finding("spec.metrics", why, "name the metric and its target")
        for place, metric in enumerate(metrics):
            field = f"spec.metrics[{place}]"
            for inner, why, fix in _metric(one, mapping(metric, field, one.hpa)):
                yield one.finding(f"{field}{inner}", why, fix)


def _metric(one: Scaled, metric: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    key, kinds = _METRICS.get(str(metric.get("type")), (None, ()))
    if key is None or key not in metric:
        why = (
            f"is {metric.get('type')!r}, with {', '.join(sorted(set(metric) - {'type'})) or 'none'}"
        )
        yield ".type", why, f"one of {', '.join(_METRICS)}, with its field beside it"
        return
    told = mapping(metric[key], key, one.hpa)
    if kinds == _OF_RESOURCE:
        if told.get("name") not in _OF_RESOURCES:
            yield f".{key}.name", f"is {told.get('name')!r}: nobody measures it", "cpu or memory"
        containers = one.pod.containers() if one.pod else ()
        names = [container.get("name") for _, container in containers]
        if key == "containerResource" and told.get("container") not in names:
            why = f"is {told.get('container')!r}, the pod has {', '.join(sorted(map(str, names)))}"
            yield f".{key}.container", why, "the name of a container"
    elif not mapping(told.get("metric"), "metric", one.hpa).get("name"):
        yield f".{key}.metric.name", "is not set", "the name by which the metrics API has it"
    described = mapping(told.get("describedObject"), "describedObject", one.hpa)
    if key == "object" and not (described.get("kind") and described.get("name")):
        why = "does not say which object has the metric"
        yield f".{key}.describedObject", why, "its apiVersion, kind and name"
    yield from _metric_target(one, key, told, kinds)


def _metric_target(
    one: Scaled, key: str, told: Mapping[str, Any], kinds: Sequence[str]
) -> Iterator[tuple[str, str, str]]:
    target = mapping(told.get("target"), "target", one.hpa)
    kind = str(target.get("type"))
    value = target.get(_VALUES.get(kind, ""))
    if kind not in kinds:
        why = f"is {target.get('type')!r}, which the API refuses for this metric"
        yield f".{key}.target.type", why, " or ".join(kinds)
    elif kind == "Utilization":
        if not 1 <= number(value) <= 100:
            why = f"is {value!r}: above 100 % it waits until pods have more than they asked for"
            if not isinstance(value, int):
                why = f"is {value!r}, which is no whole number"
            yield f".{key}.target.averageUtilization", why, "1 to 100, such as 70"
    elif value is None or quantity(value, one.hpa) <= 0:
        why = f"is {value!r}, of a target of type {kind}"
        yield f".{key}.target.{_VALUES[kind]}", why, "a quantity above 0, such as 100 or 500m"


def _requests(all_scaled: Sequence[Scaled]) -> Iterator[Finding]:
    for one in all_scaled:
        for metric in sequence(one.spec.get("metrics"), "metrics", one.hpa):
            told = mapping(metric, "metrics[]", one.hpa)
            for key in ("resource", "containerResource"):
                measured = mapping(told.get(key), key, one.hpa)
                target = mapping(measured.get("target"), "target", one.hpa)
                if measured.get("name") in _OF_RESOURCES and target.get("type") != "AverageValue":
                    yield from _unrequested(one, str(measured["name"]), measured.get("container"))


def _unrequested(one: Scaled, resource: str, only: Any) -> Iterator[Finding]:
    """The containers that do not ask for what is measured, against which it is measured."""
    if one.pod is None or (only is None and asks_as_whole(one.pod, "requests", resource)):
        return
    for field, container in one.pod.containers():
        counts = ".containers[" in field or container.get("restartPolicy") == "Always"
        if not counts or only not in (None, container.get("name")):
            continue
        resources = one.pod.of("resources", container)
        if all(
            one.pod.of(kind, resources).get(resource) is None for kind in ("requests", "limits")
        ):
            why = f"no {resource} is requested: its utilisation cannot be told"
            where = f"{field}.resources.requests.{resource}"
            yield Finding(str(one.pod.owner), where, why, "what the container needs")


def _behaviour(all_scaled: Sequence[Scaled]) -> Iterator[Finding]:
    for one in all_scaled:
        behaviour = mapping(one.spec.get("behavior"), "behavior", one.hpa)
        up, down = (mapping(behaviour.get(way), way, one.hpa) for way in ("scaleUp", "scaleDown"))
        for way, rules in (("scaleUp", up), ("scaleDown", down)):
            field = f"spec.behavior.{way}"
            window = rules.get("stabilizationWindowSeconds")
            if not rules:
                yield one.finding(field, "is not set", "a window and policies of your own")
            elif window is None or not 0 <= number(window) <= _LONGEST_WINDOW_S:
                fix = f"0 to {_LONGEST_WINDOW_S} s"
                yield one.finding(f"{field}.stabilizationWindowSeconds", f"is {window!r}", fix)
            if rules.get("selectPolicy") == "Disabled":
                why = "is Disabled: it never moves that way"
                yield one.finding(f"{field}.selectPolicy", why, "Max or Min")
            yield from _policies(one, field, rules)
        slow, quick = (number(rules.get("stabilizationWindowSeconds")) for rules in (down, up))
        if quick > _QUICK_S:
            why = f"is {quick} s: load waits for it"
            field = "spec.behavior.scaleUp.stabilizationWindowSeconds"
            yield one.finding(field, why, f"0 to {_QUICK_S}")
        if down and slow <= quick:
            why = f"is {slow} s, that of scaleUp {quick} s: it oscillates"
            field = "spec.behavior.scaleDown.stabilizationWindowSeconds"
            yield one.finding(
                field, why, "300 or more, or what mcctl incident hpa-oscillation finds"
            )


def _policies(one: Scaled, field: str, rules: Mapping[str, Any]) -> Iterator[Finding]:
    for place, told in enumerate(sequence(rules.get("policies"), "policies", one.hpa)):
        policy = mapping(told, "policies[]", one.hpa)
        period = number(policy.get("periodSeconds"))
        where = f"{field}.policies[{place}]"
        if policy.get("type") not in ("Pods", "Percent"):
            yield one.finding(f"{where}.type", f"is {policy.get('type')!r}", "Pods or Percent")
        if number(policy.get("value")) < 1:
            yield one.finding(f"{where}.value", f"is {policy.get('value')!r}", "1 or more")
        if not 1 <= period <= _LONGEST_PERIOD_S:
            why = f"is {policy.get('periodSeconds')!r}"
            yield one.finding(f"{where}.periodSeconds", why, f"1 to {_LONGEST_PERIOD_S}")


def _budgets(all_scaled: Sequence[Scaled], budgets: Sequence[Object]) -> Iterator[Finding]:
    for one in all_scaled:
        if one.pod is None:
            continue
        pod, owner = one.pod, str(one.pod.owner)
        of_pod = [
            budget
            for budget in budgets
            if budget.namespace == pod.owner.namespace
            and matches(budget.spec.get("selector"), pod.labels, budget)
        ]
        if len(of_pod) != 1:
            names = ", ".join(budget.name for budget in of_pod) or "none"
            why = f"its pods have {counted(len(of_pod), 'disruption budget')} ({names}), must have one"
            fix = "a PodDisruptionBudget that selects them; with several, no pod can be evicted"
            yield Finding(owner, "", why, fix)
        for budget in of_pod:
            spec = budget.spec
            if "minAvailable" in spec:
                field = "spec.minAvailable"
                free = one.least - portion(spec["minAvailable"], one.least, budget, up=True)
            else:
                field = "spec.maxUnavailable"
                free = portion(spec.get("maxUnavailable", 0), one.least, budget, up=True)
            told = f"is {spec.get(field.removeprefix('spec.'))!r}, with {counted(one.least, 'replica')}"
            if free < 1:
                why = f"{told}: no pod may leave, and no node can be drained"
                yield Finding(str(budget), field, why, "maxUnavailable: 1")
            elif free >= one.least:
                why = f"{told}: all may leave at once"
                yield Finding(str(budget), field, why, "maxUnavailable: 1")


def _stands_down(one: Scaled, objects: Sequence[Object]) -> bool:
    """Whether it is a side at 0 replicas that clients do not reach: the controller leaves it alone."""
    if one.pod is None or one.pod.owner.spec.get("replicas") != 0:
        return False
    labels = one.pod.labels.items()
    selectors = [
        mapping(each.spec.get("selector"), "spec.selector", each)
        for each in objects
        if (each.kind, each.namespace, each.name) == ("Service", one.hpa.namespace, SERVICE)
    ]
    # Without the Service nobody can say who serves, and a workload at 0 is a finding
    return bool(selectors) and not any(selector.items() <= labels for selector in selectors)


def _conditions(one: Scaled, stands_down: bool) -> Iterator[CheckResult]:
    name = f"hpa-conditions {one.hpa.name}"
    if stands_down:
        why = "it stands down: 0 replicas, its autoscaler is off until somebody scales it up"
        yield from results(name, [], why)
        return
    status = mapping(one.hpa.data.get("status"), "status", one.hpa)
    told = {
        str(condition.get("type")): condition
        for each in sequence(status.get("conditions"), "conditions", one.hpa)
        for condition in (mapping(each, "conditions[]", one.hpa),)
    }
    if not told:
        yield unknown(name, f"{one.hpa} has no status yet", "kubectl describe hpa; is it observed?")
        return
    findings = []
    for kind, wanted in (("AbleToScale", "True"), ("ScalingActive", "True")):
        condition = told.get(kind, {})
        if condition.get("status") != wanted:
            why = f"{condition.get('reason', 'missing')}: {condition.get('message', '')}"
            fix = (
                f"nothing scales it up from 0: kubectl scale to {one.least}"
                if condition.get("reason") == "ScalingDisabled"
                else "kubectl describe hpa; metrics-server and the requests of the pods"
            )
            findings.append(one.finding(f"status.conditions[{kind}]", why, fix))
    limited = told.get("ScalingLimited", {})
    too_many = limited.get("reason") == "TooManyReplicas" and not one.held
    if limited.get("status") == "True" and too_many:
        why = f"it wants more than maxReplicas {one.most}"
        fix = "raise maxReplicas within the budgets, or find what brings the load"
        findings.append(one.finding("status.conditions[ScalingLimited]", why, fix))
    good = f"{counted(status.get('currentReplicas') or 0, 'replica')}, it is able and active"
    yield from results(name, findings, good)


def _replayed(one: Scaled, load: Recorded) -> Iterator[CheckResult]:
    """The algorithm over the load, from the minimum; the load holds whatever the replicas."""
    name = f"hpa-load {one.hpa.name}"
    target = _target_of_one(one)
    if load.load is None or target is None:
        why = "the record has no load" if target else "no utilisation of a requested resource"
        yield unknown(name, why, "a CSV of time,replicas,load, and a metric of type Resource")
        return
    rules = rules_of(one.spec)
    per_pod, requested = target
    trace = Trace.from_load(load.load, target=float(per_pod), replicas=one.least)
    replicas = replay(trace, rules)
    findings = []
    swings = busiest_hour(reversal_times(replicas))
    if swings > CALM_PER_HOUR:
        window = smallest_window(trace, rules)
        why = f"{counted(swings, 'reversal')} in the busiest hour of the load, by replay"
        field = "spec.behavior.scaleDown.stabilizationWindowSeconds"
        fix = window.why if window.seconds is None else f"{window.seconds}: {window.why}"
        findings.append(one.finding(field, why, fix))
    peak = max(trace.demand)
    if peak > one.most:
        why = f"is {one.most}, the load asks for {peak:.1f} replicas at its highest"
        findings.append(one.finding("spec.maxReplicas", why, f"{int(peak) + 1} or more"))
    in_units = float(requested / per_pod)
    short_s = SYNC_S * sum(
        demand > count * in_units for demand, (_, count) in zip(trace.demand, replicas, strict=True)
    )
    if short_s > _SHORT_S:
        why = f"for {short_s} s the load is above what all replicas have requested, by replay"
        findings.append(one.finding("spec.metrics", why, "a lower target, or a quicker scaleUp"))
    counts = [count for _, count in replicas]
    told = f"{min(counts)} to {max(counts)} replicas, {counted(swings, 'reversal')} in the busiest hour"
    yield from results(name, findings, f"{told}, {short_s} s above what is requested, by replay")


def _target_of_one(one: Scaled) -> tuple[Decimal, Decimal] | None:
    """What one replica should carry of a resource, and what it requests of it."""
    for metric in sequence(one.spec.get("metrics"), "metrics", one.hpa):
        told = mapping(mapping(metric, "metrics[]", one.hpa).get("resource"), "resource", one.hpa)
        target = mapping(told.get("target"), "target", one.hpa)
        share = number(target.get("averageUtilization"))
        asked = asked_for(one.pod, "requests", str(told.get("name"))) if one.pod and told else None
        if asked and share:
            return asked * share / 100, asked
    return None
