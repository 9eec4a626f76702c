"""Manifests that others wrote: kinds of other APIs, JSON of other tools, fields that are misspelt."""

from __future__ import annotations

import copy
import json

import pytest
import yaml

from mc_contract.connections import Server
from mc_ops.errors import UnusableInput
from mc_ops.preflight.kubernetes import Limits, hpa_of_cluster
from mc_ops.preflight.kubernetes.autoscaling import check_autoscaling
from mc_ops.preflight.kubernetes.capacity import database_of
from mc_ops.preflight.kubernetes.egress import check_egress
from mc_ops.preflight.kubernetes.egress_table import read_table
from mc_ops.preflight.kubernetes.manifests import Object, objects_of
from mc_ops.preflight.kubernetes.pod_security import check_pod_security
from mc_ops.preflight.kubernetes.policies import Port, evaluate
from mc_ops.preflight.kubernetes.quantities import asked_for
from mc_ops.preflight.kubernetes.workloads import pods_of
from mc_ops.preflight.result import Status

ARGO = "argoproj.io/v1alpha1"
BOX = {"name": "web", "image": "web", "resources": {"requests": {"cpu": "100m"}}}
BAD = {**BOX, "securityContext": {"privileged": True}}


def workload(kind="Deployment", version="apps/v1", box=BOX, **spec):
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [box]}}
    meta = {"name": "web", "namespace": "n"}
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": meta,
        "spec": {"template": template, **spec},
    }


def hpa(metric=None, *, target="Deployment", version="apps/v1", **spec):
    metric = metric or of_resource()
    rules = {"stabilizationWindowSeconds": 0}, {"stabilizationWindowSeconds": 300}
    told = {
        "scaleTargetRef": {"apiVersion": version, "kind": target, "name": "web"},
        "minReplicas": 3,
        "maxReplicas": 5,
        "metrics": [metric],
        "behavior": dict(zip(("scaleUp", "scaleDown"), rules, strict=True)),
        **spec,
    }
    meta = {"name": "web", "namespace": "n"}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": meta,
        "spec": told,
    }


def of_resource(kind="Utilization", field="averageUtilization", value=70):
    return {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": kind, field: value}},
    }


def failed(*objects):
    """What the autoscaler's checks find: (check, field)."""
    made = [Object(one) for one in objects]
    results = check_autoscaling(made, pods_of(made), minimum=3, server=Server(200, 3, 10))
    return {
        (one.name, one.field)
        for one in results
        if one.status is not Status.passed and one.name != "pdb-coherent"
    }


OTHER_KINDS = [
    (workload("Rollout", ARGO, BAD), "spec.template.spec.containers[0]"),
    (workload("Service", "serving.knative.dev/v1", BAD), "spec.template.spec.containers[0]"),
    (workload("StatefulSet", "apps.kruise.io/v1", BAD), "spec.template.spec.containers[0]"),
    (
        {
            "apiVersion": "batch.volcano.sh/v1alpha1",
            "kind": "Job",
            "metadata": {"name": "web", "namespace": "n"},
            "spec": {"tasks": [{"template": {"spec": {"containers": [BAD]}}}]},
        },
        "spec.tasks[0].template.spec.containers[0]",
    ),
]


@pytest.mark.parametrize(("told", "field"), OTHER_KINDS, ids=lambda one: str(one)[:60])
def test_pods_of_kinds_of_other_apis_are_looked_into(told, field):
    """A privileged one beside a good Deployment was passed over, and all 19 checks passed."""
    good = Object(workload())
    results = check_pod_security(pods_of([good, Object(told)]), [])
    found = {one.field for one in results if one.name == "privileged"}
    assert found == {f"{field}.securityContext.privileged"}


@pytest.mark.parametrize(
    "told",
    [
        {"apiVersion": "v1", "kind": "ConfigMap", "spec": {"containers": []}},
        workload("Rollout", ARGO) | {"spec": {"workloadRef": {"name": "web"}}},
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "spec": {"properties": {"spec": {"properties": {"containers": {"type": "array"}}}}},
        },
    ],
    ids=lambda one: one["kind"],
)
def test_what_makes_no_pods_makes_none(told):
    """A Rollout that names its workload, a definition, whatever has no template."""
    assert pods_of([Object({"metadata": {"name": "x"}, **told})]) == []


def test_a_workload_without_containers_is_no_pass():
    """A misspelt field left nothing to check, and everything passed."""
    told = workload()
    told["spec"]["template"]["spec"]["container"] = told["spec"]["template"]["spec"].pop(
        "containers"
    )
    with pytest.raises(UnusableInput, match=r"Deployment n/web: spec.template.spec.containers"):
        pods_of([Object(told)])


def test_json_is_read_as_json():
    """With tabs, escaped slashes and pairs of surrogates, as jq --tab and other tools write it."""
    text = '{\n\t"apiVersion": "v1",\n\t"kind": "Pod",\n\t"metadata": {"name": "a\\/b \\ud83d\\ude00"}\n}\n'
    [one] = objects_of(text.encode(), "x.json")
    assert one.name == "a/b \N{GRINNING FACE}"
    with pytest.raises(UnusableInput, match="'kind' stands twice"):
        list(objects_of(text.replace('"metadata"', '"kind": "Job", "metadata"').encode(), "x.json"))
    with pytest.raises(UnusableInput, match="apiVersion"):
        list(objects_of(b'{"kind": "Pod"}', "x.json"))


def test_definitions_of_prometheus_and_templates_of_helm():
    """`=` is a text (definitions have it among the values of an enum); a template says what to do."""
    [one] = objects_of(
        b"apiVersion: v1\nkind: X\nmetadata: {name: x}\nspec: {enum: ['!=', =]}\n", "x"
    )
    assert one.spec["enum"] == ["!=", "="]
    with pytest.raises(UnusableInput) as error:
        list(objects_of(b"apiVersion: v1\n{{ if .Values.x }}\nkind: Pod\n{{ end }}\n", "x"))
    assert "helm template" in error.value.hint


@pytest.mark.parametrize("version", ["projectcalico.org/v3", "crd.antrea.io/v1beta1"])
def test_a_policy_of_another_api_is_not_evaluated_as_kubernetes_own(tmp_path, version):
    """It is said that it was not: its kind's name is the same, and its meaning another one."""
    (tmp_path / "egress.toml").write_text(
        '[endpoints.web]\nworkload = "Deployment n/web"\n[endpoints.far]\nip = "1.2.3.4"\n'
        '[[pairs]]\nfrom = "web"\nto = "far"\nport = 443\nexpect = "deny"\nwhy = "none"\n'
    )
    pods = pods_of([Object(workload())])
    table = read_table(tmp_path / "egress.toml", pods)
    meta = {"name": "p", "namespace": "n"}
    spec = {"selector": "all()", "types": ["Egress"]}
    theirs = Object(
        {"apiVersion": version, "kind": "NetworkPolicy", "metadata": meta, "spec": spec}
    )
    ours = Object(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {**meta, "name": "deny"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        }
    )
    results = list(check_egress([theirs, ours], pods, table))
    assert [(one.name, one.status) for one in results if one.status is not Status.passed] == [
        ("policy-kinds", Status.unknown)
    ]
    [alone] = [one for one in check_egress([theirs], pods, table) if one.name.startswith("deny")]
    assert alone.status is Status.failed


@pytest.mark.parametrize(
    "spec",
    [
        {"podSelector": {"matchLabel": {"app": "web"}}},
        {"podSelector": {}, "egress": [{"to": [], "port": [{"port": 53}]}]},
        {"podSelector": {}, "egresss": []},
        {"podSelector": {}, "ingress": [{"ports": [{"number": 80}]}]},
        {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "1.0.0.0/8", "excpt": []}}]}]},
        {"podSelector": {}, "egress": [{"to": [{"ipBlock": {"cidr": "1.0.0.0/8", "except": ["1.0.0.0/8"]}}]}]},
        {"podSelector": {"matchExpressions": [{"key": "app", "operator": "In"}]}},
        {"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists", "values": ["a"]}]}},
    ],
    ids=str,
)  # fmt: skip
def test_a_misspelt_policy_is_refused(tmp_path, spec):
    """A field that is left out makes a rule for all, and a selector that selects all."""
    (tmp_path / "egress.toml").write_text(
        '[endpoints.web]\nworkload = "Deployment n/web"\n[endpoints.far]\nip = "1.2.3.4"\n'
        '[[pairs]]\nfrom = "far"\nto = "web"\nport = 80\nexpect = "deny"\nwhy = "none"\n'
        '[[pairs]]\nfrom = "web"\nto = "far"\nport = 80\nexpect = "deny"\nwhy = "none"\n'
    )
    pods = pods_of([Object(workload())])
    meta = {"name": "p", "namespace": "n"}
    whole = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": meta}
    table = read_table(tmp_path / "egress.toml", pods)
    with pytest.raises(UnusableInput, match="NetworkPolicy n/p"):
        list(check_egress([Object({**whole, "spec": spec})], pods, table))


def test_the_table_names_ports_of_whom_no_manifest_shows(tmp_path):
    """A policy for `port: dns` lets port 53 of an endpoint that says so."""
    text = (
        '[endpoints.web]\nworkload = "Deployment n/web"\n'
        '[endpoints.dns]\nnamespace = "kube-system"\nports = { dns = 53 }\n'
        '[[pairs]]\nfrom = "web"\nto = "dns"\nport = 53\nprotocol = "UDP"\nexpect = "allow"\nwhy = "x"\n'
    )
    (tmp_path / "egress.toml").write_text(text)
    ends = read_table(tmp_path / "egress.toml", pods_of([Object(workload())])).endpoints
    rule = {"to": [{"namespaceSelector": {}}], "ports": [{"port": "dns", "protocol": "UDP"}]}
    policy = Object(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "p", "namespace": "n"},
            "spec": {"podSelector": {}, "egress": [rule], "policyTypes": ["Egress"]},
        }
    )
    assert evaluate([policy], ends["web"], ends["dns"], Port(53, "UDP")).allowed
    assert not evaluate([policy], ends["web"], ends["dns"], Port(54, "UDP")).allowed


def test_a_rollout_is_scaled_like_a_deployment():
    """With its template, or with that of the workload that it names; another one is not there."""
    rollout = workload("Rollout", ARGO)
    scaler = hpa(target="Rollout", version=ARGO)
    assert failed(rollout, scaler) == set()
    by_name = {**rollout, "spec": {"workloadRef": {"kind": "Deployment", "name": "web"}}}
    assert failed(by_name, workload(), scaler) == set()
    assert failed(workload(), scaler) == {("hpa-target", "spec.scaleTargetRef")}
    wrong = hpa(target="Rollout", version="apps/v1")
    assert failed(rollout, wrong) == {("hpa-target", "spec.scaleTargetRef.apiVersion")}
    daemon = hpa(target="DaemonSet")
    assert failed(workload("DaemonSet"), daemon) == {("hpa-target", "spec.scaleTargetRef.kind")}


@pytest.mark.parametrize(
    ("strategy", "most"),
    [
        ({}, 7),  # 25 % of 5, up
        ({"canary": {"maxSurge": 1}}, 6),
        ({"blueGreen": {"activeService": "web"}}, 10),
    ],
    ids=str,
)
def test_a_rollout_counts_in_the_quota(strategy, most):
    """With what a release adds to its maximum: of blue and green, all of it."""
    rollout = workload("Rollout", ARGO, strategy=strategy)
    for pods, expected in ((most, set()), (most - 1, {("quota", "spec.hard[pods]")})):
        quota = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "q", "namespace": "n"},
            "spec": {"hard": {"pods": str(pods)}},
        }
        assert failed(rollout, hpa(target="Rollout", version=ARGO), quota) == expected


OBJECT = {"metric": {"name": "depth"}, "target": {"type": "Value", "value": "10"}}


@pytest.mark.parametrize(
    ("metric", "field"),
    [
        (of_resource("AverageValue", "averageValue", "500m"), None),
        (of_resource("Value", "value", "500m"), ".resource.target.type"),
        (of_resource("Utilization", "averageUtilization", "70"), ".resource.target.averageUtilization"),
        (of_resource("Utilisation"), ".resource.target.type"),
        ({"type": "External", "external": OBJECT}, None),
        (
            {"type": "External", "external": {**OBJECT, "target": {"type": "Utilization", "averageUtilization": 70}}},
            ".external.target.type",
        ),
        ({"type": "External", "external": {**OBJECT, "target": {"type": "Value", "averageValue": 1}}}, ".external.target.value"),
        ({"type": "Pods", "pods": OBJECT}, ".pods.target.type"),
        ({"type": "Object", "object": OBJECT}, ".object.describedObject"),
        ({"type": "Object", "object": {**OBJECT, "describedObject": {"kind": "Ingress", "name": "x"}}}, None),
    ],
    ids=lambda one: json.dumps(one)[:80],
)  # fmt: skip
def test_each_type_of_metric_takes_its_own_targets(metric, field):
    """As autoscaling/v2 documents them."""
    expected = set() if field is None else {("hpa-metrics", f"spec.metrics[0]{field}")}
    assert failed(workload(), hpa(metric)) == expected


def test_version_1_is_told_by_its_version_alone():
    """It has no list of metrics: that it is empty is nobody's choice of a default."""
    old = hpa(targetCPUUtilizationPercentage=60) | {"apiVersion": "autoscaling/v1"}
    del old["spec"]["metrics"]
    names = {name for name, _ in failed(workload(), old)}
    assert "hpa-version" in names
    assert "hpa-metrics" not in names


def test_a_container_that_is_measured_must_ask():
    """Also where one container alone is measured; others need not."""
    silent = {"name": "log", "image": "log"}
    told = workload()
    told["spec"]["template"]["spec"]["containers"].append(silent)
    target = {"type": "Utilization", "averageUtilization": 70}
    one = {"type": "ContainerResource"}
    of_web, of_log = (
        {**one, "containerResource": {"name": "cpu", "container": name, "target": target}}
        for name in ("web", "log")
    )
    field = "spec.template.spec.containers[1].resources.requests.cpu"
    assert failed(told, hpa(of_web)) == set()
    assert failed(told, hpa(of_log)) == {("hpa-requests", field)}
    assert failed(told, hpa()) == {("hpa-requests", field)}
    assert failed(told, hpa(of_resource("AverageValue", "averageValue", "1"))) == set()
    whole = copy.deepcopy(told)
    whole["spec"]["template"]["spec"]["resources"] = {"requests": {"cpu": 1}}
    assert failed(whole, hpa()) == set()


def test_what_a_pod_asks_for_as_a_whole_counts():
    """Beside its overhead, and in place of what its containers ask for."""
    told = workload()
    spec = told["spec"]["template"]["spec"]
    spec |= {"resources": {"requests": {"cpu": "2"}}, "overhead": {"cpu": "250m"}}
    [pod] = pods_of([Object(told)])
    assert str(asked_for(pod, "requests", "cpu")) == "2.250"


def test_a_cluster_of_another_api_is_no_postgresql():
    """Cluster API has the kind, too: it takes no place in a quota, and says no connections."""
    theirs = {
        "apiVersion": "cluster.x-k8s.io/v1beta1",
        "kind": "Cluster",
        "metadata": {"name": "c", "namespace": "n"},
        "spec": {"postgresql": {"parameters": {"max_connections": "7"}}},
    }
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "q", "namespace": "n"},
        "spec": {"hard": {"requests.cpu": "1"}},
    }
    assert failed(workload(), hpa(), theirs, quota) == set()
    assert database_of([Object(theirs)], 200, 10).most == 200


def test_a_quoted_number_is_told_as_what_it_is():
    """`"3"` is no number: the message said that it is 3, and must be at least 3."""
    made = [Object(workload()), Object(hpa(minReplicas="3"))]
    results = check_autoscaling(made, pods_of(made), minimum=3, server=Server(200, 3, 10))
    [told] = [one for one in results if one.name == "hpa-minimum"]
    assert "is '3', must be a whole number" in told.detail


def test_on_a_cluster_the_target_of_another_kind_is_asked_for(tmp_path, monkeypatch):
    """By kubectl's full name of the kind, since `kubectl get` knows no other for all."""
    calls = tmp_path / "calls"
    found = {"apiVersion": "v1", "kind": "List", "items": [hpa(target="Rollout", version=ARGO)]}
    theirs = {"apiVersion": "v1", "kind": "List", "items": [workload("Rollout", ARGO)]}
    for name, told in (("found", found), ("theirs", theirs)):
        (tmp_path / name).write_text(yaml.safe_dump(told))
    script = tmp_path / "kubectl"
    script.write_text(
        f'#!/bin/sh\necho "$2" >> {calls}\n'
        f"case $2 in Rollout.*) cat {tmp_path}/theirs;; *) cat {tmp_path}/found;; esac\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    results = hpa_of_cluster("n", Limits())
    assert calls.read_text().splitlines()[1] == "Rollout.v1alpha1.argoproj.io"
    [target] = [one for one in results if one.name == "hpa-target"]
    assert target.status is Status.passed
