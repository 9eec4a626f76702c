"""A cluster as kubectl tells of it: a stand-in that answers as the real one did for our manifests."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from tests.deploy.rendered import MANIFESTS, needs_kustomize, objects

from mc_ops.errors import CouldNotTell
from mc_ops.preflight.kubernetes import (
    Limits,
    egress_of_cluster,
    hpa_of_cluster,
    pod_security_of_cluster,
)
from mc_ops.preflight.kubernetes.cluster import Cluster
from mc_ops.preflight.result import Status

pytestmark = needs_kustomize
KUBECTL = """#!{python}
import json, pathlib, sys
here = pathlib.Path({folder!r})
told = json.loads((here / "cluster.json").read_text())
words = sys.argv[1:]
(here / "calls").open("a").write(" ".join(words[:4]) + "\\n")
def end(code, text):
    print(text, file=sys.stderr if code else sys.stdout)
    sys.exit(code)
if words[0] == "config":
    end(0, told["context"])
if told["forbidden"]:
    end(1, "Error from server (Forbidden): pods is forbidden: User \\"u\\" cannot list resource")
if words[0] == "get":
    kinds = [kind.split(".")[0].rstrip("s") for kind in words[1].split(",")]
    space = words[words.index("-n") + 1] if "-n" in words else None
    items = [
        one for one in told["objects"]
        if one["kind"].lower() in kinds and space in (None, one["metadata"].get("namespace"))
    ]
    if "-n" not in words:
        [whole] = [one for one in items if one["metadata"]["name"] == words[2]]
        end(0, json.dumps(whole))
    end(0, json.dumps({{"apiVersion": "v1", "kind": "List", "items": items}}))
if words[0] == "create":
    pod = json.load(sys.stdin)
    kind = "bad" if pod["metadata"].get("name") == "preflight-bad" else "ours"
    assert pod["spec"]["serviceAccountName"] == "agent-workbench"
    end(*told["admission"][kind])
end(1, "unable to exec")
"""
REFUSED = [1, 'pods "x" is forbidden: violates PodSecurity "restricted:latest": privileged']
ADMITTED = [0, "pod/x"]


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Writes what the cluster has; `calls` tells what was asked."""
    ours = objects("overlays/local-test")  # rendered before kubectl is another
    (tmp_path / "kubectl").write_text(KUBECTL.format(python=sys.executable, folder=str(tmp_path)))
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    def has(**more):
        told = {
            "objects": ours,
            "context": "mc-platform",
            "forbidden": False,
            "admission": {"bad": REFUSED, "ours": ADMITTED},
        }
        (tmp_path / "cluster.json").write_text(json.dumps(told | more))
        return tmp_path / "calls"

    return has


def failing(results):
    """What did not pass, by status."""
    return {one.name: one.status for one in results if one.status is not Status.passed}


def test_the_cluster_has_what_our_manifests_say(cluster):
    """All checks pass, in the context's namespace; a cluster's own word is asked last."""
    calls = cluster()
    results = pod_security_of_cluster(None)
    assert failing(results) == {}
    assert [one.name for one in results][-2:] == [
        "admission-refuses-privileged",
        "admission-admits-ours",
    ]
    asked = calls.read_text().splitlines()
    assert asked[0].startswith("config view")
    assert all("mc-platform" in one for one in asked[1:] if "get" in one)


@pytest.mark.parametrize(
    ("admission", "expected"),
    [
        ({"bad": ADMITTED, "ours": ADMITTED}, {"admission-refuses-privileged": Status.failed}),
        ({"bad": [1, "quota"], "ours": ADMITTED}, {"admission-refuses-privileged": Status.unknown}),
        (  # a namespace that only warns: `would violate`
            {"bad": [1, "would violate PodSecurity; failed quota"], "ours": ADMITTED},
            {"admission-refuses-privileged": Status.unknown},
        ),
        ({"bad": REFUSED, "ours": REFUSED}, {"admission-admits-ours": Status.failed}),
    ],
    ids=str,
)
def test_its_admission_has_the_last_word(cluster, admission, expected):
    """Labels may say restricted, and an exemption something else."""
    cluster(admission=admission)
    results = pod_security_of_cluster("mc-platform")
    assert failing(results) == expected


def test_autoscalers_are_read_with_what_their_controller_says(cluster):
    """Without a status nothing is known of them; a Deployment's replicas are the controller's."""
    found = json.loads(json.dumps(objects("overlays/local-test")))
    for one in found:
        if one["kind"] == "Deployment":
            one["spec"]["replicas"] = 3
    cluster(objects=found)
    results = hpa_of_cluster(None, Limits())
    assert set(failing(results).values()) == {Status.unknown}
    assert {name.split()[0] for name in failing(results)} == {"hpa-conditions"}


# As a controller of Kubernetes 1.36 says it
OFF = "scaling is disabled since the replica count of the target is zero"
OF_REPLICAS = {
    0: [("AbleToScale", "True", "SucceededGetScale", ""), ("ScalingActive", "False", "ScalingDisabled", OFF)],
    3: [("AbleToScale", "True", "ReadyForNewScale", ""), ("ScalingActive", "True", "ValidMetricFound", "")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("blue", "green", "expected"),
    [
        (3, 0, {}),
        (3, 3, {}),
        (0, 3, {"hpa-conditions agent-workbench": Status.failed}),
        (0, 0, {"hpa-conditions agent-workbench": Status.failed}),
    ],
)
def test_a_side_at_zero_is_fine_where_clients_do_not_reach_it(cluster, blue, green, expected):
    """The controller leaves what is at 0 alone: right for the side that stands down, never for blue."""
    found = json.loads(json.dumps(objects("overlays/local-test")))
    replicas = {"agent-workbench": blue, "agent-workbench-green": green}
    for one in found:
        count = replicas.get(one["metadata"]["name"])
        if one["kind"] == "Deployment" and count is not None:
            one["spec"]["replicas"] = count
        if one["kind"] == "HorizontalPodAutoscaler":
            names = ("type", "status", "reason", "message")
            told = [dict(zip(names, values, strict=True)) for values in OF_REPLICAS[count]]
            one["status"] = {"currentReplicas": count, "conditions": told}
    cluster(objects=found)
    results = hpa_of_cluster(None, Limits())
    assert failing(results) == expected
    [serving] = [one for one in results if one.name == "hpa-conditions agent-workbench"]
    assert ("kubectl scale to 3" in serving.remedy) == (blue == 0)
    without = [one for one in found if one["kind"] != "Service"]  # nobody can say who serves
    cluster(objects=without)
    assert len(failing(hpa_of_cluster(None, Limits()))) == [blue, green].count(0)


def test_policies_are_evaluated_and_then_tried(cluster):
    """In each namespace that the table names; where nothing can be tried, it is not known."""
    calls = cluster()
    table = MANIFESTS / "overlays" / "local-test" / "egress.toml"
    found = failing(egress_of_cluster(None, table))
    assert {name.split()[0] for name in found} == {"probe"}
    assert set(found.values()) == {Status.unknown}
    asked = calls.read_text()
    for space in ("mc-platform", "mc-agents", "mc-siem", "mc-outside"):
        assert space in asked


def test_what_may_not_be_read_is_not_taken_for_nothing(cluster):
    """Missing rights are told with whose and which; no check passes."""
    cluster(forbidden=True)
    with pytest.raises(CouldNotTell, match='User "u" cannot list resource'):
        pod_security_of_cluster(None)


def test_a_context_without_a_namespace_is_default(cluster):
    """As kubectl has it."""
    cluster(context="")
    assert Cluster.of_context(None).namespace == "default"


def test_without_kubectl_it_says_so(monkeypatch, tmp_path: Path):
    """And what works without it."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(CouldNotTell, match="kubectl is not installed") as told:
        Cluster.of_context(None)
    assert "--manifests" in told.value.hint
