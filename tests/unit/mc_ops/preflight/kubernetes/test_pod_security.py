"""Pod Security's restricted profile, by the fixtures with which Kubernetes tests its own plugin."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from mc_ops.preflight.kubernetes.manifests import Object
from mc_ops.preflight.kubernetes.pod_security import CHECKS, check_pod_security, violations
from mc_ops.preflight.kubernetes.workloads import KINDS, pods_of
from mc_ops.preflight.result import Status, exit_of

HERE = Path(__file__).parent
VERSION = "v0.37.2"
_HEAD, *_LINES = (HERE / "restricted-1.37.jsonl").read_text().splitlines()
FIXTURES = {
    f"{'pass' if one['passes'] else 'fail'}/{one['fixture']}": one
    for one in map(json.loads, _LINES)
}
PASSING = sorted(name for name, one in FIXTURES.items() if one["passes"])
FAILING = sorted(set(FIXTURES) - set(PASSING))
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def found(*objects):
    """The checks that find something."""
    pods = pods_of(map(Object, objects))
    assert pods
    return {name for name in CHECKS if list(violations(name, pods))}


def within(kind, pod):
    """A workload of that kind around a pod."""
    template = {"metadata": {**pod["metadata"], "name": None}, "spec": pod["spec"]}
    metadata = {"name": "w", "namespace": "n"}
    if kind == "Pod":
        return {**pod, "metadata": {**pod["metadata"], "namespace": "n"}}
    if kind == "PodTemplate":
        return {"apiVersion": "v1", "kind": kind, "metadata": metadata, "template": template}
    spec = {"template": template}
    if kind == "CronJob":
        spec = {"jobTemplate": {"spec": spec}}
    version = {"Job": "batch/v1", "CronJob": "batch/v1", "ReplicationController": "v1"}
    api = version.get(kind, "apps/v1")
    return {"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}


def test_the_fixtures_are_all_there():
    """76 pods that violate the profile and 23 that do not; 19 checks."""
    assert (len(FAILING), len(PASSING), len(CHECKS)) == (76, 23, 19)


@pytest.mark.skipif(shutil.which("go") is None, reason="Go is not installed")
def test_the_fixtures_are_those_of_upstream():
    """What is kept here is what the module has, where it has been downloaded, but for the image's host."""
    cache = subprocess.run(
        ["go", "env", "GOMODCACHE"], capture_output=True, text=True, check=True, timeout=60
    ).stdout.strip()
    folder = Path(cache) / f"k8s.io/pod-security-admission@{VERSION}/test/testdata/restricted/v1.37"
    if not folder.is_dir():
        pytest.skip(f"k8s.io/pod-security-admission {VERSION} is not in Go's module cache")
    theirs = {
        f"{path.parent.name}/{path.stem}": yaml.safe_load(
            re.sub(r"image: \S+/", "image: ", path.read_text())
        )
        for path in folder.rglob("*.yaml")
    }
    assert theirs == {name: one["pod"] for name, one in FIXTURES.items()}


@pytest.mark.parametrize("name", FAILING)
def test_a_violating_pod_is_found_by_the_check_of_its_name(name):
    """The check that upstream made the fixture for finds it, and says what to write."""
    [check] = [one for one in CHECKS if f"fail/{one.lower()}" == name.rstrip("0123456789")]
    findings = list(violations(check, pods_of([Object(FIXTURES[name]["pod"])])))
    assert findings
    assert all(one.field and one.why and one.fix for one in findings)


@pytest.mark.parametrize("name", PASSING)
def test_a_passing_pod_passes(name):
    """No check finds anything."""
    assert found(FIXTURES[name]["pod"]) == set()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_workload_is_looked_into(kind):
    """All 76 are found in the template of each kind, and all 23 pass."""
    for name, one in FIXTURES.items():
        assert bool(found(within(kind, one["pod"]))) is not one["passes"], name


@pytest.mark.parametrize("name", FAILING)
def test_ephemeral_containers_are_looked_at(name):
    """What an ordinary container must not have, an ephemeral one must not have."""
    pod = FIXTURES[name]["pod"]
    containers = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())]
    spec = {**pod["spec"], "containers": [], "ephemeralContainers": containers}
    spec.pop("initContainers", None)
    assert found({**pod, "spec": spec}) == found(pod)


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"allowPrivilegeEscalation": "false"}, "allowPrivilegeEscalation"),
        ({"privileged": "yes"}, "privileged"),
        ({"runAsUser": "0"}, "runAsUser"),
        ({"runAsUser": 0.0}, "runAsUser"),
        ({"runAsNonRoot": "true"}, "runAsNonRoot"),
        ({"capabilities": {"drop": ["all"]}}, "capabilities_restricted"),
    ],
    ids=str,
)
def test_a_value_of_another_type_is_no_way_round(change, check):
    """`"false"` is no false, and `all` is not ALL."""
    pod = json.loads(json.dumps(FIXTURES[PASSING[0]]["pod"]))
    pod["spec"]["containers"][0]["securityContext"].update(change)
    assert found(pod) == {check}


@pytest.mark.parametrize(
    ("labels", "status"),
    [
        (RESTRICTED, Status.passed),
        ({**RESTRICTED, "pod-security.kubernetes.io/enforce-version": "latest"}, Status.passed),
        ({**RESTRICTED, "pod-security.kubernetes.io/enforce-version": "v1.24"}, Status.failed),
        ({"pod-security.kubernetes.io/enforce": "baseline"}, Status.failed),
        ({"pod-security.kubernetes.io/warn": "restricted"}, Status.failed),
        ({}, Status.failed),
        (None, Status.unknown),
    ],
    ids=str,
)
def test_the_namespace_must_enforce_it(labels, status):
    """By its label; one that nobody showed is unknown, and no pass."""
    pod = Object(within("Deployment", FIXTURES[PASSING[0]]["pod"]))
    space = {"kind": "Namespace", "metadata": {"name": "n", "labels": labels}}
    objects = [pod] if labels is None else [pod, Object(space)]
    checks = check_pod_security(pods_of(objects), objects)
    assert [one.status for one in checks if one.name.startswith("namespace")] == [status]
    assert exit_of(checks) == {Status.passed: 0, Status.failed: 1, Status.unknown: 3}[status]


def test_no_workload_is_no_pass():
    """Nothing to look at is unknown."""
    assert exit_of(check_pod_security([], [])) == 3


def test_history_is_not_looked_at():
    """A Deployment's old ReplicaSet, scaled to none, makes no pods."""
    old = within("ReplicaSet", FIXTURES[FAILING[0]]["pod"])
    old["metadata"]["ownerReferences"] = [{"kind": "Deployment", "name": "w"}]
    old["spec"]["replicas"] = 0
    assert pods_of([Object(old)]) == []
    old["spec"]["replicas"] = 1
    assert len(pods_of([Object(old)])) == 1
