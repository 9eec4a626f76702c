"""Faults put into our manifests one at a time: the right check finds each; good sets pass all three."""

from __future__ import annotations

import contextlib
import copy
import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.deploy.rendered import MANIFESTS, needs_kustomize, objects

from mc_contract.connections import Server
from mc_ops.autoscaler.record import Recorded, read_csv
from mc_ops.environments.kubernetes.names import HELD
from mc_ops.errors import OpsError
from mc_ops.preflight.kubernetes.autoscaling import check_autoscaling
from mc_ops.preflight.kubernetes.capacity import database_of
from mc_ops.preflight.kubernetes.egress import check_egress
from mc_ops.preflight.kubernetes.egress_table import read_table
from mc_ops.preflight.kubernetes.manifests import Object
from mc_ops.preflight.kubernetes.pod_security import check_pod_security
from mc_ops.preflight.kubernetes.workloads import pods_of
from mc_ops.preflight.result import Status

pytestmark = needs_kustomize
BLUE = "Deployment agent-workbench"
GREEN = "Deployment agent-workbench-green"
HPA = "HorizontalPodAutoscaler agent-workbench"
PDB = "PodDisruptionBudget agent-workbench"
QUOTA = "ResourceQuota mc-platform"
SPACE = "Namespace mc-platform"
POD = "spec.template.spec"
BOX = f"{POD}.containers.0"
SAFE = f"{BOX}.securityContext"
BEHAVIOUR = "spec.behavior"
CPU = "spec.metrics.0.resource"
GONE = object()
SIDECAR = {
    "name": "sidecar",
    "image": "example.com/sidecar:1",
    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
}
PROFILE = "pod-security.kubernetes.io/enforce"
SELF = {"podSelector": {}}

# (object, field, value, check): what is put where, and which check must find it
POD_SECURITY = [
    (BLUE, f"{SAFE}.privileged", True, "privileged"),
    (BLUE, f"{SAFE}.allowPrivilegeEscalation", GONE, "allowPrivilegeEscalation"),
    (BLUE, f"{SAFE}.capabilities", {"drop": ["NET_RAW"]}, "capabilities_restricted"),
    (BLUE, f"{SAFE}.capabilities.add", ["SYS_ADMIN"], "capabilities_baseline"),
    (BLUE, f"{POD}.securityContext.runAsNonRoot", GONE, "runAsNonRoot"),
    (BLUE, f"{POD}.securityContext.runAsUser", 0, "runAsUser"),
    (BLUE, f"{POD}.securityContext.seccompProfile", GONE, "seccompProfile_restricted"),
    (GREEN, f"{POD}.securityContext.seccompProfile.type", "Unconfined", "seccompProfile_baseline"),
    (GREEN, f"{POD}.hostNetwork", True, "hostNamespaces"),
    (GREEN, f"{POD}.volumes.0", {"name": "keys", "hostPath": {"path": "/"}}, "hostPathVolumes"),
    (BLUE, f"{POD}.volumes.0", {"name": "keys", "nfs": {"server": "x"}}, "restrictedVolumes"),
    (BLUE, f"{BOX}.ports.0.hostPort", 8080, "hostPorts"),
    (BLUE, f"{BOX}.livenessProbe.httpGet.host", "example.com", "hostProbesAndHostLifecycle"),
    (BLUE, f"{POD}.initContainers", [{"name": "init"}], "allowPrivilegeEscalation"),
    (BLUE, f"{POD}.ephemeralContainers", [{"name": "debug"}], "capabilities_restricted"),
    (SPACE, f"metadata.labels.{PROFILE}", "baseline", "namespace-enforces-restricted"),
    (SPACE, f"metadata.labels.{PROFILE}", GONE, "namespace-enforces-restricted"),
    (SPACE, f"metadata.labels.{PROFILE}-version", "v1.25", "namespace-enforces-restricted"),
]
EGRESS = [
    ("NetworkPolicy default-deny", "", GONE, "deny elsewhere -> stranger"),
    (BLUE, f"{POD}.hostNetwork", True, "isolated"),  # in its node's network no policy isolates it
    ("NetworkPolicy default-deny", "spec.ingress", [{}], "deny elsewhere -> stranger"),
    ("NetworkPolicy workbench-ingress", "", GONE, "allow ingress -> workbench"),
    ("NetworkPolicy workbench-ingress", "spec.ingress.0.from", GONE, "deny elsewhere -> workbench"),
    ("NetworkPolicy workbench-ingress", "spec.ingress.0.ports", GONE, "deny ingress -> workbench"),
    ("NetworkPolicy workbench-ingress", "spec.ingress.0.ports.0.port", "web", "allow prometheus"),
    ("NetworkPolicy egress-dns", "spec.egress.0.ports.0.protocol", "TCP", "allow workbench -> dns"),
    ("NetworkPolicy egress-dns", "spec.egress.0.to", GONE, "deny workbench -> slack 53"),
    ("NetworkPolicy egress-postgres", "spec.podSelector", {}, "deny tools -> postgres"),
    (
        "NetworkPolicy egress-postgres",
        "spec.policyTypes",
        ["Ingress"],
        "allow workbench -> postgres",
    ),
    ("NetworkPolicy egress-siem", "spec.egress.1.to.0.ipBlock.cidr", "198.51.100.0/24", "beside"),
    (
        "NetworkPolicy egress-agents",
        "spec.egress.0.ports.1.endPort",
        9999,
        "deny workbench -> agents",
    ),
    (
        "NetworkPolicy egress-agents",
        "spec.egress.0.to.0",
        {"ipBlock": {"cidr": "0.0.0.0/0"}},
        "slack",
    ),
    (
        "NetworkPolicy egress-slack",
        "spec.egress.0.to.0.ipBlock.except",
        GONE,
        "deny tools -> metadata",
    ),
    (
        "NetworkPolicy egress-slack",
        "spec.podSelector.matchLabels",
        {"mc-platform/role": "tool"},
        "policy-selects",
    ),
    ("NetworkPolicy egress-workbench", "metadata.namespace", "default", "allow tools -> workbench"),
]
AUTOSCALING = [
    (HPA, "apiVersion", "autoscaling/v1", "hpa-version"),
    (HPA, "spec.scaleTargetRef.name", "workbench", "hpa-target"),
    (HPA, "spec.scaleTargetRef.name", "agent-workbench-green", "hpa-target"),
    (HPA, "spec.scaleTargetRef.apiVersion", "extensions/v1beta1", "hpa-target"),
    (BLUE, "spec.replicas", 3, "hpa-target"),
    (HPA, "spec.minReplicas", 2, "hpa-minimum"),
    (HPA, "spec.minReplicas", GONE, "hpa-minimum"),
    (HPA, "spec.maxReplicas", 3, "hpa-bounds"),
    (HPA, "spec.maxReplicas", 9, "connection-budget"),
    (BLUE, "spec.strategy.rollingUpdate.maxSurge", "50%", "connection-budget"),
    (HPA, "spec.metrics", [], "hpa-metrics"),
    (HPA, f"{CPU}.name", "gpu", "hpa-metrics"),
    (HPA, f"{CPU}.target.averageUtilization", 150, "hpa-metrics"),
    (HPA, "spec.metrics.0.type", "Pods", "hpa-metrics"),
    (BLUE, f"{BOX}.resources", {}, "hpa-requests"),
    (BLUE, f"{POD}.containers.1", SIDECAR, "hpa-requests"),
    (HPA, BEHAVIOUR, GONE, "hpa-behaviour"),
    (HPA, f"{BEHAVIOUR}.scaleDown.stabilizationWindowSeconds", GONE, "hpa-behaviour"),
    (HPA, f"{BEHAVIOUR}.scaleDown.stabilizationWindowSeconds", 0, "hpa-behaviour"),
    (HPA, f"{BEHAVIOUR}.scaleUp.stabilizationWindowSeconds", 300, "hpa-behaviour"),
    (HPA, f"{BEHAVIOUR}.scaleUp.selectPolicy", "Disabled", "hpa-behaviour"),
    (HPA, f"{BEHAVIOUR}.scaleDown.policies.0.periodSeconds", 3600, "hpa-behaviour"),
    (PDB, "", GONE, "pdb-coherent"),
    (PDB, "spec.selector.matchLabels.mc-platform/colour", GONE, "pdb-coherent"),
    (PDB, "spec.maxUnavailable", 0, "pdb-coherent"),
    (PDB, "spec.maxUnavailable", "100%", "pdb-coherent"),
    (PDB, "spec", {"minAvailable": 3, "selector": {}}, "pdb-coherent"),
    (QUOTA, "spec.hard.pods", "17", "quota"),
    (QUOTA, "spec.hard.requests\\.memory", "8Gi", "quota"),
    (QUOTA, "spec.hard.limits\\.cpu", "35", "quota"),
    (BLUE, f"{BOX}.resources.limits.cpu", GONE, "quota"),
    (BLUE, f"{BOX}.resources.requests.cpu", "50m", "hpa-load"),
    (HPA, f"{CPU}.target.averageUtilization", 40, "hpa-load"),
]
FAULTS = [
    *(("pod-security", *fault) for fault in POD_SECURITY),
    *(("egress", *fault) for fault in EGRESS),
    *(("hpa", *fault) for fault in AUTOSCALING),
]
LOAD = read_csv((MANIFESTS / "overlays" / "region" / "load.csv").read_text())


def checked(subject, found, overlay="region"):
    """The results of one subject on objects."""
    made = [Object(one) for one in found]
    pods = pods_of(made)
    if subject == "pod-security":
        return check_pod_security(pods, made)
    if subject == "egress":
        table = read_table(MANIFESTS / "overlays" / overlay / "egress.toml", pods)
        return list(check_egress([o for o in made if o.kind == "NetworkPolicy"], pods, table))
    server = database_of(made, 200, 10)
    return check_autoscaling(made, pods, minimum=3, server=server, load=LOAD)


def changed(overlay, *changes):
    """An overlay's objects with values put into them."""
    found = copy.deepcopy(objects(f"overlays/{overlay}"))
    for who, field, value in changes:
        kind, _, name = who.partition(" ")
        [one] = [o for o in found if o["kind"] == kind and o["metadata"]["name"] == name]
        if not field:
            found.remove(one)
            continue
        *path, last = _steps(field)
        node = one
        for step in path:
            node = node[int(step)] if isinstance(node, list) else node.setdefault(step, {})
        if isinstance(node, list):
            node[int(last) : int(last) + 1] = [] if value is GONE else [value]
        elif value is GONE:
            del node[last]
        else:
            node[last] = value
    return found


def _steps(field):
    """`a.b\\.c` is a, then `b.c`; a label's key is one step."""
    if field.startswith("metadata.labels."):
        return ["metadata", "labels", field.removeprefix("metadata.labels.")]
    return [step.replace("\0", ".") for step in field.replace("\\.", "\0").split(".")]


def test_there_are_enough_faults():
    """Of each script's kind, and of none twice."""
    assert len(FAULTS) >= 60
    assert len({repr(fault) for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize(
    ("subject", "who", "field", "value", "check"),
    FAULTS,
    ids=[f"{check}-{number}" for number, (*_, check) in enumerate(FAULTS)],
)
def test_a_fault_is_found_by_the_right_check(subject, who, field, value, check):
    """That check fails, and names an object, what is wrong and what to do."""
    failed = [
        one
        for one in checked(subject, changed("region", (who, field, value)))
        if one.status is Status.failed
    ]
    assert any(check in one.name for one in failed), failed
    assert all(one.object and one.detail and one.remedy for one in failed)


GOOD = {
    "region": ("region",),
    "local-test": ("local-test",),
    "cloudnative-pg": ("cloudnative-pg",),
    "a percentage may be away": ("region", (PDB, "spec.maxUnavailable", "33%")),
    "some must be there": (
        "region",
        (PDB, "spec.minAvailable", 2),
        (PDB, "spec.maxUnavailable", GONE),
    ),
    "memory is measured": (
        "region",
        (HPA, CPU, {"name": "memory", "target": {"type": "AverageValue", "averageValue": "400Mi"}}),
    ),
    "one container is measured": (
        "region",
        (
            HPA,
            "spec.metrics.0",
            {
                "type": "ContainerResource",
                "containerResource": {
                    "name": "cpu",
                    "container": "agent-workbench",
                    "target": {"type": "Utilization", "averageUtilization": 70},
                },
            },
        ),
    ),
    "limits alone are requests": (
        "region",
        (BLUE, f"{BOX}.resources", {"limits": {"cpu": "500m", "memory": "512Mi"}}),
    ),
    "each container says its own": (
        "region",
        (BLUE, f"{POD}.securityContext.runAsNonRoot", GONE),
        (BLUE, f"{SAFE}.runAsNonRoot", True),
        (BLUE, f"{POD}.securityContext.seccompProfile", GONE),
        (BLUE, f"{SAFE}.seccompProfile", {"type": "Localhost", "localhostProfile": "p.json"}),
    ),
    "a port by its number": ("region", ("NetworkPolicy workbench-ingress", "spec.ingress.0.ports.0.port", 8080)),
    "a smaller side": ("region", (HPA, "spec.maxReplicas", 7)),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_good_set_passes(name):
    """Nothing fails; only a load in another unit than the metric's cannot be told."""
    overlay, *changes = GOOD[name]
    found = changed(overlay, *changes)
    for subject in ("pod-security", "egress", "hpa"):
        for one in checked(subject, found, overlay):
            if one.name == "hpa-load agent-workbench" and "measured" in name:
                continue
            assert one.status is Status.passed or (
                one.name.startswith("hpa-load")
                and (
                    overlay != "region"  # whose load it is
                )
            ), one


def test_an_annotation_in_a_manifest_does_not_stand_for_bounds():
    """mcctl holds an autoscaler on a cluster; in a file the annotation would hide its minimum."""
    told = '{"minReplicas": 3, "maxReplicas": 8}'
    found = changed(
        "region", (HPA, "metadata.annotations", {HELD: told}), (HPA, "spec.minReplicas", 1)
    )
    failed = [one.name for one in checked("hpa", found) if one.status is Status.failed]
    assert "hpa-minimum" in failed


_ANYTHING = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        2**62,
        1.5,
        "",
        "x",
        "1e999999",
        "100%",
        [],
        [None],
        {},
        {"a": 1},
        [{}],
        [[]],
    ]
)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_value_anywhere_is_a_finding_or_refused(data):
    """Never an error of the program: what the API would not take either is told as such."""
    found = copy.deepcopy(objects("overlays/cloudnative-pg"))
    places = [place for one in found for level in _nodes(one) for place in level]
    node, key = data.draw(st.sampled_from(places))
    node[key] = data.draw(_ANYTHING)
    for subject in ("pod-security", "egress", "hpa"):
        with contextlib.suppress(OpsError):
            checked(subject, found, "cloudnative-pg")


def _nodes(node):
    """Each place below a node: what holds it, and its key."""
    if isinstance(node, dict | list):
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        yield [(node, key) for key in keys]
        for key in keys:
            yield from _nodes(node[key])


def conditions(**changes):
    """What a controller tells of blue, with a change."""
    told = {
        "AbleToScale": ("True", "ReadyForNewScale"),
        "ScalingActive": ("True", "ValidMetricFound"),
    }
    told["ScalingLimited"] = ("False", "DesiredWithinRange")
    told |= changes
    return {
        "currentReplicas": 3,
        "conditions": [
            {"type": kind, "status": status, "reason": reason, "message": "m"}
            for kind, (status, reason) in told.items()
        ],
    }


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (conditions(), Status.passed),
        (conditions(ScalingLimited=("True", "TooFewReplicas")), Status.passed),  # at its minimum
        (conditions(ScalingLimited=("True", "TooManyReplicas")), Status.failed),
        (conditions(ScalingActive=("False", "FailedGetResourceMetric")), Status.failed),
        (conditions(ScalingActive=("False", "ScalingDisabled")), Status.failed),
        (conditions(AbleToScale=("Unknown", "FailedGetScale")), Status.failed),
        ({"conditions": []}, Status.unknown),
        (GONE, Status.unknown),
    ],
)
def test_what_the_controller_tells_of_a_cluster(status, expected):
    """Its conditions; and there a Deployment has replicas, which the controller sets."""
    found = changed("region", (BLUE, "spec.replicas", 3), (GREEN, "spec.replicas", 3))
    [hpa] = [
        one
        for one in found
        if one["kind"] == HPA.split(maxsplit=1)[0] and one["metadata"]["name"] == HPA.split()[1]
    ]
    if status is not GONE:
        hpa["status"] = status
    made = [Object(one) for one in found]
    results = check_autoscaling(
        made, pods_of(made), minimum=3, server=Server(200, 3, 10), live=True
    )
    [told] = [one for one in results if one.name == "hpa-conditions agent-workbench"]
    assert told.status is expected
    assert not [one for one in results if one.name == "hpa-target" and one.status is Status.failed]


def test_a_load_that_swings_is_found_with_the_window_that_calms_it():
    """A burst every six minutes makes a window of one minute swing, and says which does not."""
    times = range(0, 3 * 3600, 15)
    load = tuple((float(at), 2.4 if at % 360 < 120 else 0.8) for at in times)
    swinging = Recorded(((0.0, 3),), load, "a test", ())
    field = f"{BEHAVIOUR}.scaleDown"
    quick = {
        "stabilizationWindowSeconds": 60,
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}],
    }
    made = [Object(one) for one in changed("region", (HPA, field, quick))]
    results = check_autoscaling(
        made, pods_of(made), minimum=3, server=Server(200, 3, 10), load=swinging
    )
    by_name = {one.name: one for one in results if one.name.startswith("hpa-load")}
    bad = by_name["hpa-load agent-workbench"]
    assert bad.status is Status.failed
    assert "reversals" in bad.detail
    seconds = int(bad.remedy.partition(":")[0])
    assert 60 < seconds <= 360
    assert by_name["hpa-load agent-workbench-green"].status is Status.passed
    calm = {**quick, "stabilizationWindowSeconds": seconds}
    made = [Object(one) for one in changed("region", (HPA, field, calm))]
    results = check_autoscaling(
        made, pods_of(made), minimum=3, server=Server(200, 3, 10), load=swinging
    )
    assert not [one for one in results if one.status is Status.failed]


def test_no_autoscaler_is_no_pass():
    """Nothing to look at is unknown, and so is a load without a figure."""
    [result] = check_autoscaling([], [], minimum=3, server=Server(200, 3, 10))
    assert result.status is Status.unknown
    made = [Object(one) for one in changed("region")]
    nothing = dataclasses.replace(LOAD, load=None)
    results = check_autoscaling(
        made, pods_of(made), minimum=3, server=Server(200, 3, 10), load=nothing
    )
    assert {one.status for one in results if one.name.startswith("hpa-load")} == {Status.unknown}
