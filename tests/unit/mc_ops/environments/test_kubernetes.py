"""The environment of a cluster, before an API that says what each story needs."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from tests.fake_cluster import NAMESPACE, Cluster

from mc_contract.log_lines import framed
from mc_ops.environments import BASELINE, Colour, LogFilter, open_environment
from mc_ops.environments.kubernetes import Client, waiting
from mc_ops.environments.kubernetes.environment import KubernetesEnvironment
from mc_ops.environments.kubernetes.reading import Reading
from mc_ops.errors import CouldNotTell, NotAllowed, UnusableInput

CORE, APPS = f"/api/v1/namespaces/{NAMESPACE}", f"/apis/apps/v1/namespaces/{NAMESPACE}"
BLUE, GREEN = Colour.blue, Colour.green
STARTED, WRITTEN = "2026-12-01T10:00:00Z", "2026-12-01T09:00:00Z"


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    made = Cluster(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(made.kubeconfig))
    monkeypatch.setenv("MC_HOME", str(tmp_path / "home"))
    for name in ("MC_NAMESPACE", "MC_URL"):
        monkeypatch.delenv(name, raising=False)
    put(made, f"{CORE}/services/agent-workbench", spec={"selector": {"mc-platform/colour": "blue"}})
    settings(made, MC_PUBLIC_URL="https://mc.example.com", MC_REGION="eu-1")
    yield made
    made.stop()


@pytest.fixture
def environment(cluster) -> KubernetesEnvironment:
    found = open_environment("kubernetes")
    assert isinstance(found, KubernetesEnvironment)
    return found


def put(cluster: Cluster, path: str, kind: str = "", **more: Any) -> dict[str, Any]:
    """Have an object be there."""
    name = path.rsplit("/", 1)[1]
    made = {"kind": kind, "metadata": {"name": name, **more.pop("metadata", {})}, **more}
    cluster.objects[path] = made
    return made


def settings(cluster: Cluster, written: str = WRITTEN, **values: str) -> None:
    """The settings of the region, written at some time."""
    fields = [{"time": written, "fieldsV1": {"f:data": {}}}]
    path, metadata = f"{CORE}/configmaps/mc-platform-config", {"managedFields": fields}
    put(cluster, path, "ConfigMap", metadata=metadata, data=values)


def pod(
    cluster: Cluster, name: str, colour: str = "blue", state: Any = None, **more: Any
) -> dict[str, Any]:
    """A pod of a side; by default it runs and is ready, at an address where nobody answers."""
    labels = {"app.kubernetes.io/name": "agent-workbench", "mc-platform/colour": colour}
    refer = {"name": "mc-platform-config"}
    env = [
        {"name": "MC_REPLICA", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {
            "name": "MC_KEY",
            "valueFrom": {"secretKeyRef": {"name": "mc-platform-secrets", "key": "K"}},
        },
    ]
    container = {"name": "agent-workbench", "envFrom": [{"configMapRef": refer}], "env": env}
    status = {
        "name": "agent-workbench",
        "restartCount": 0,
        "state": state or {"running": {"startedAt": STARTED}},
        **more,
    }
    ready = "False" if state else "True"
    return put(
        cluster,
        f"{CORE}/pods/{name}",
        metadata={"labels": labels, "creationTimestamp": STARTED},
        spec={"containers": [container]},
        status={
            "phase": "Running",
            "podIP": "127.0.0.1",  # nothing of ours listens there at 8080 in a test
            "conditions": [{"type": "Ready", "status": ready}],
            "containerStatuses": [status],
        },
    )


def deployment(cluster: Cluster, name: str, replicas: int, **status: Any) -> None:
    """A Deployment whose controller has done its work."""
    done = {"observedGeneration": 1, "updatedReplicas": replicas, **status}
    path = f"{APPS}/deployments/{name}"
    put(cluster, path, metadata={"generation": 1}, spec={"replicas": replicas}, status=done)


def test_the_side_that_serves_is_that_of_the_service(cluster, environment):
    """And none is told where the Service selects neither, or is not there."""
    assert environment.active_colour() is BLUE
    cluster.objects[f"{CORE}/services/agent-workbench"]["spec"]["selector"] = {}
    assert environment.active_colour() is None
    del cluster.objects[f"{CORE}/services/agent-workbench"]
    assert environment.active_colour() is None


def test_instances_run_and_stay(cluster, environment):
    """One that waits, and one on its way out, are none; a baseline's have the colour that serves."""
    pod(cluster, "blue-a")
    pod(cluster, "blue-b", state={"waiting": {"reason": "CrashLoopBackOff"}})
    pod(cluster, "blue-c")["metadata"]["deletionTimestamp"] = STARTED
    pod(cluster, "green-a", "green")
    pod(cluster, "fresh-a", "baseline")
    assert [one.name for one in environment.instances(BLUE)] == ["blue-a"]
    assert [one.name for one in environment.instances()] == ["blue-a", "green-a"]
    [fresh] = environment.instances(BASELINE)
    assert (fresh.name, fresh.colour, fresh.url) == ("fresh-a", BLUE, "http://127.0.0.1:8080")


def test_a_side_is_ready_when_all_of_its_newest_pods_are(cluster, environment):
    """As many as are wanted, and no older ones beside them."""
    deployment(cluster, "agent-workbench", 2)
    pod(cluster, "blue-a")
    with pytest.raises(CouldNotTell, match="2 of 2 replicas are new, 1 run after 0 s"):
        environment.wait_ready(BLUE, 0)
    pod(cluster, "blue-b")
    assert [one.name for one in environment.wait_ready(BLUE, 0)] == ["blue-a", "blue-b"]
    deployment(cluster, "agent-workbench", 2, observedGeneration=0)
    with pytest.raises(CouldNotTell, match="was not looked at by its controller"):
        environment.wait_ready(BLUE, 0)


def test_a_side_that_stands_down_is_not_waited_for(cluster, environment):
    """Neither is a baseline that was never made."""
    deployment(cluster, "agent-workbench-green", 0)
    with pytest.raises(CouldNotTell, match="no replica of green was started"):
        environment.wait_ready(GREEN, 60)
    with pytest.raises(CouldNotTell, match="no replica of the fresh baseline was started"):
        environment.wait_ready(BASELINE, 60)


def test_a_pod_that_cannot_start_is_told_at_once(cluster, environment):
    """With how it ended; nobody waits for it."""
    deployment(cluster, "agent-workbench", 1)
    ended = {"terminated": {"reason": "Error", "exitCode": 2}}
    crashes = {"waiting": {"reason": "CrashLoopBackOff"}}
    pod(cluster, "blue-a", state=crashes, lastState=ended, restartCount=3)
    with pytest.raises(CouldNotTell, match="blue-a: CrashLoopBackOff: Error, exit 2") as caught:
        environment.wait_ready(BLUE, 60)
    assert caught.value.hint == "mcctl logs blue-a --env kubernetes"


def test_a_quota_that_goes_on_refusing_pods_is_told(cluster, environment):
    """In the controller's words."""
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: region"}
    deployment(cluster, "agent-workbench", 1, conditions=[refused])
    with pytest.raises(CouldNotTell, match="exceeded quota: region"):
        environment.wait_ready(BLUE, 0)


def test_a_pod_that_may_yet_come_up_is_waited_for_and_named_in_the_end(cluster, environment):
    """One that crashed once, and one for which a node may be added."""
    deployment(cluster, "agent-workbench", 1)
    pod(cluster, "blue-a", state={"waiting": {"reason": "CrashLoopBackOff"}}, restartCount=1)
    with pytest.raises(CouldNotTell, match=r"after 0 s: starting \(CrashLoopBackOff\)"):
        environment.wait_ready(BLUE, 0)
    waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    status = pod(cluster, "blue-a")["status"]
    status["conditions"] = [{**waits, "message": "0/2 nodes are available"}]
    status["containerStatuses"] = []
    with pytest.raises(CouldNotTell, match="after 0 s: unschedulable: 0/2 nodes"):
        environment.wait_ready(BLUE, 0)


def test_those_that_go_are_waited_for_and_those_that_stay_are_not(
    cluster, environment, monkeypatch
):
    """What is past its grace is on a node that is silent; what has ended does not run."""
    monkeypatch.setattr(waiting, "_GONE_WITHIN_S", 0.0)
    told: list[str] = []
    pod(cluster, "blue-a")
    pod(cluster, "blue-b")["metadata"]["deletionTimestamp"] = STARTED
    pod(cluster, "blue-c")["status"]["phase"] = "Failed"
    waiting.await_gone(Reading(Client.from_env()), BLUE, told.append, but=1)
    assert told == []
    pod(cluster, "blue-b")["metadata"]["deletionTimestamp"] = "2999-01-01T00:00:00Z"
    waiting.await_gone(Reading(Client.from_env()), BLUE, told.append, but=1)
    assert told == ["still on their way out: blue-b"]


def test_settings_are_made_of_what_the_spec_names(cluster, environment):
    """Of ConfigMaps, secrets and the pod itself."""
    pod(cluster, "blue-a")
    put(cluster, f"{CORE}/secrets/mc-platform-secrets", "Secret", data={"K": "c2VjcmV0"})
    found = environment.settings("blue-a")
    assert (found["MC_REGION"], found["MC_REPLICA"], found["MC_KEY"]) == (
        "eu-1",
        "blue-a",
        "secret",
    )
    with pytest.raises(CouldNotTell, match="nobody does not run"):
        environment.settings("nobody")


def test_settings_that_may_not_be_read_name_the_right(cluster, environment):
    """An operator without secrets does everything else."""
    pod(cluster, "blue-a")
    cluster.failures = {("GET", "/secrets/"): 403}
    with pytest.raises(CouldNotTell, match="may not be read") as caught:
        environment.settings("blue-a")
    assert "get secrets" in caught.value.hint


def test_settings_that_were_changed_since_are_not_the_pod_s(cluster, environment):
    """It has what they said when it started, which nobody can read any more."""
    pod(cluster, "blue-a")
    settings(cluster, written="2026-12-01T11:00:00Z", MC_REGION="eu-2")
    with pytest.raises(CouldNotTell, match="changed after blue-a had started"):
        environment.settings("blue-a")


def test_logs_are_of_pods_and_tell_of_restarts(cluster, environment):
    """What a container wrote before it was started again stands before the rest."""
    pod(
        cluster,
        "blue-a",
        lastState={"terminated": {"reason": "OOMKilled", "exitCode": 137}},
        restartCount=1,
    )
    at = "2026-12-01T10:00:0"
    cluster.logs["previous blue-a"] = f'{at}1Z {{"event": "one"}}\n{at}2.5Z {{"event": "two"}}\n'
    cluster.logs["blue-a"] = f'{at}3Z {{"event": "three"}}\n{at}4.5Z foreign\n'
    texts = [line.text for line in environment.logs(["blue-a"], LogFilter(lines=3))]
    told = [json.loads(text).get("text") or json.loads(text)["event"] for text in texts]
    assert told == ["two", "--- restarted: OOMKilled, exit 137 ---", "three", "foreign"]
    only = LogFilter(pattern=re.compile("fo"), since_s=1.0)
    foreign = list(environment.logs(["blue-a"], only))[-1]
    assert (foreign.at, foreign.text) == (1796119204.5, framed("foreign"))
    with pytest.raises(UnusableInput, match='no log of "blue-9"') as caught:
        list(environment.logs(["blue-9"]))
    assert caught.value.hint == "known: blue-a"


def test_a_name_that_only_pods_can_look_up_becomes_an_address(cluster, environment):
    """Over plain HTTP; what a Service of the cluster is not stays as it is."""
    assert environment.url == "https://mc.example.com"
    inside = "http://agent-workbench.prod.svc.cluster.local:8080"
    settings(cluster, MC_PUBLIC_URL=inside, AUDIT_SIEM_URL="https://siem.example.com/ingest")
    cluster.objects[f"{CORE}/services/agent-workbench"]["spec"]["clusterIP"] = "10.96.1.2"
    assert environment.url == "http://10.96.1.2:8080"
    assert environment.neighbour_url("siem") == "https://siem.example.com"
    with pytest.raises(UnusableInput, match="unknown neighbour"):
        environment.neighbour_url("nobody")


def test_another_url_is_taken_with_the_home_that_belongs_to_it(environment, monkeypatch):
    """The tokens of a platform on this machine are no business of another's."""
    monkeypatch.setenv("MC_URL", "https://edge.example.com/")
    assert environment.url == "https://edge.example.com"
    monkeypatch.delenv("MC_HOME")
    with pytest.raises(UnusableInput, match="MC_HOME is not"):
        _ = environment.url


def test_without_a_home_a_cluster_s_files_stand_apart(environment, monkeypatch, tmp_path):
    """No file of a platform on this machine is taken for one of the cluster's."""
    monkeypatch.delenv("MC_HOME")
    monkeypatch.chdir(tmp_path)
    assert environment.workspace.home == tmp_path / ".mc" / "kubernetes" / NAMESPACE


def test_status_tells_by_the_probe_what_cannot_be_asked(cluster, environment):
    """No connection from here is no failure of the pod's."""
    pod(cluster, "blue-a")
    found = environment.status()
    assert (found.url, found.active_colour) == ("https://mc.example.com", BLUE)
    assert [(one.name, one.health, one.colour) for one in found.processes] == [
        ("blue-a", "ready", BLUE)
    ]


def test_a_right_that_is_missing_is_named(cluster, environment):
    """At any verb."""
    cluster.failures = {("GET", "/pods"): 403}
    with pytest.raises(NotAllowed) as caught:
        environment.status()
    assert "list pods" in caught.value.hint
    assert "mcctl preflight rights" in caught.value.hint
