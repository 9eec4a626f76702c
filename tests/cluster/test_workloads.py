"""Pods as the real controllers and kubelets run them: what they are given, their ends, their failures."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

import pytest
from tests.cluster.conftest import CLUSTER, Space, get, until

# What the runtime of the test cluster promises: the platform's own stories ask for most of it as well
pytestmark = [pytest.mark.cluster, pytest.mark.long]


class Client(threading.Thread):
    """Asks a service for something new all the time, and counts what did not succeed."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.good, self.bad, self.over = url, 0, [], threading.Event()
        self.pods: set[str] = set()

    def run(self) -> None:
        while not self.over.is_set():
            try:
                self.pods.add(json.loads(get(self.url))["pod"])
                self.good += 1
            except OSError as problem:
                self.bad.append(repr(problem))
            time.sleep(0.005)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


def test_a_deployment_is_scaled_and_its_service_follows(space: Space):
    space.deploy(replicas=1)
    space.kubectl("scale", "deployment/app", "--replicas=3")
    space.kubectl("wait", "--for=condition=available", "deployment/app", "--timeout=60s")
    until(lambda: len([p for p in space.pods() if ready(p)]) == 3)
    assert {p["spec"]["nodeName"] for p in space.pods()} == {"node-1", "node-2"}
    answered = until(lambda: names if len(names := ask_often(space)) == 3 else None)
    assert answered == {p["metadata"]["name"] for p in space.pods()}
    space.kubectl("scale", "deployment/app", "--replicas=1")
    until(lambda: len(space.read("pods")["items"]) == 1)


def ready(pod: dict) -> bool:
    return any(
        c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", [])
    )


def ask_often(space: Space) -> set[str]:
    return {json.loads(get(space.address()))["pod"] for _ in range(30)}


def test_a_rollout_under_a_client_loses_no_request(space: Space):
    space.deploy(replicas=3)
    with Client(space.address()) as client:
        before = {p["metadata"]["name"] for p in space.pods()}
        space.kubectl("set", "env", "deployment/app", "T_VERSION=2")
        space.kubectl("rollout", "status", "deployment/app", "--timeout=120s")
        until(lambda: len(space.read("pods")["items"]) == 3)
        space.kubectl("rollout", "undo", "deployment/app")
        space.kubectl("rollout", "status", "deployment/app", "--timeout=120s")
        until(lambda: len(space.read("pods")["items"]) == 3)
    assert client.bad == []
    assert client.good > 100
    assert len(client.pods) > 3
    assert before & client.pods


def test_a_pod_gets_its_settings_and_no_token(space: Space):
    space.kubectl("create", "secret", "generic", "keys", "--from-literal=siem=s3cret")
    space.kubectl("create", "configmap", "settings", "--from-literal=level=high")
    source = {"secret": {"name": "keys", "items": [{"key": "siem", "path": "siem/key"}]}}
    label = {"path": "labels/app", "fieldRef": {"fieldPath": "metadata.labels['app']"}}
    space.deploy(
        env=[
            {"name": "T_SECRET", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "siem"}}},
            {
                "name": "T_LEVEL",
                "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "level"}},
            },
            {"name": "T_NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
            {
                "name": "T_CPU",
                "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}},
            },
            {"name": "T_BOTH", "value": "$(T_LEVEL)-$(T_NODE)"},
        ],
        volumeMounts=[
            {"name": "app", "mountPath": "/app"},
            {"name": "all", "mountPath": "/all", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        spec={
            "volumes": [
                {"name": "app", "configMap": {"name": "app"}},
                {
                    "name": "all",
                    "projected": {"sources": [source, {"downwardAPI": {"items": [label]}}]},
                },
                {"name": "tmp", "emptyDir": {"medium": "Memory"}},
            ]
        },
    )
    said = json.loads(get(space.address()))
    node = space.pods()[0]["spec"]["nodeName"]
    assert said["env"] == {
        "T_SECRET": "s3cret",
        "T_LEVEL": "high",
        "T_NODE": node,
        "T_CPU": "50",
        "T_BOTH": f"high-{node}",
    }
    seen = space.kubectl(
        "exec", "deploy/app", "--", "cat", "/all/siem/key", "/all/labels/app"
    ).stdout
    assert seen == "s3cretapp"
    assert (
        space.kubectl("exec", "deploy/app", "--", "ls", "/var/run/secrets", check=False).returncode
        == 2
    )


def test_a_pod_that_asks_for_a_token_can_speak_with_the_api_server(space: Space):
    space.deploy(spec={"automountServiceAccountToken": True})
    place = "/var/run/secrets/kubernetes.io/serviceaccount"
    token = space.kubectl("exec", "deploy/app", "--", "cat", f"{place}/token").stdout
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["sub"] == f"system:serviceaccount:{space.name}:default"
    assert claims["kubernetes.io"]["pod"]["name"] == space.pods()[0]["metadata"]["name"]
    command = f'curl -s --cacert {place}/ca.crt -H "Authorization: Bearer $(cat {place}/token)" https://kubernetes.default.svc/version'
    # the certificate names the service as the API server's own does: kubernetes.default.svc
    assert "v1.36.0" in space.kubectl("exec", "deploy/app", "--", "sh", "-c", command).stdout


def test_a_restricted_pod_is_restricted(space: Space):
    space.deploy(
        spec={
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "runAsGroup": 70,
                "fsGroup": 71,
                "seccompProfile": {"type": "RuntimeDefault"},
            }
        }
    )
    said = json.loads(get(space.address()))
    assert (said["uid"], said["groups"], said["capabilities"]) == (65532, [71], "0" * 16)
    assert said["no_new_privileges"] == "1"
    assert said["host"] == said["pod"]
    inside = "id -u; id -g; grep -E 'CapBnd|NoNewPrivs' /proc/self/status; touch /etc/x; touch /tmp/x && echo written"
    done = space.kubectl("exec", "deploy/app", "--", "sh", "-c", inside)
    assert done.stdout.split() == [
        "65532",
        "70",
        "CapBnd:",
        "0" * 16,
        "NoNewPrivs:",
        "1",
        "written",
    ]
    assert "Read-only file system" in done.stderr


def test_what_the_restricted_profile_forbids_is_refused_with_each_rule(space: Space):
    refused = space.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "free"},
            "spec": {
                "containers": [
                    {
                        "name": "free",
                        "image": "python:local",
                        "securityContext": {"privileged": True},
                    }
                ]
            },
        },
        check=False,
    )
    assert refused.returncode == 1
    for rule in (
        "privileged",
        "allowPrivilegeEscalation != false",
        "unrestricted capabilities",
        "runAsNonRoot != true",
        "seccompProfile",
    ):
        assert rule in refused.stderr


def test_a_process_that_ends_is_started_again_with_backoff_and_its_last_words_are_kept(
    space: Space,
):
    script = "echo trying; echo cause >&2; exit 3"
    space.apply(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "fails"}, "spec": failing(script)}
    )
    until(lambda: waiting(space, "fails") == "CrashLoopBackOff")
    state = space.read("pod", "fails")["status"]["containerStatuses"][0]
    assert state["lastState"]["terminated"]["exitCode"] == 3
    until(lambda: space.read("pod", "fails")["status"]["containerStatuses"][0]["restartCount"] >= 2)
    # A kubelet keeps one dead container: while it starts the next, the one named last may be gone
    words = ["cause", "trying"]
    until(lambda: sorted(space.kubectl("logs", "fails", "--previous").stdout.split()) == words)
    events = space.kubectl("get", "events", "--field-selector", "involvedObject.name=fails").stdout
    assert "BackOff" in events


def failing(script: str) -> dict:
    return {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "fails", "image": "python:local", "command": ["sh", "-c", script],
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}],
    }  # fmt: skip


def waiting(space: Space, pod: str) -> str | None:
    states = space.read("pod", pod)["status"].get("containerStatuses", [])
    return states[0]["state"].get("waiting", {}).get("reason") if states else None


def test_an_image_that_nobody_has_is_waited_for(space: Space):
    space.deploy(replicas=1)
    space.kubectl("set", "image", "deployment/app", "app=agent-workbench:v9.9.9")
    broken = until(lambda: next((p["metadata"]["name"] for p in space.pods() if waiting(space, p["metadata"]["name"])
                                 in {"ErrImagePull", "ImagePullBackOff"}), None))  # fmt: skip
    assert "not in the test cluster's catalogue" in space.kubectl("describe", "pod", broken).stdout
    assert get(space.address()), "the old pod goes on"


def test_exec_hands_on_input_output_and_exit_code(space: Space):
    space.deploy()
    done = space.kubectl(
        "exec",
        "-i",
        "deploy/app",
        "--",
        "sh",
        "-c",
        "cat; echo err >&2; exit 7",
        input="typed\n",
        check=False,
    )
    assert (done.returncode, done.stdout) == (7, "typed\n")
    assert "err" in done.stderr
    metrics = space.kubectl(
        "exec", "-it", "deploy/app", "--", "curl", "-s", "http://localhost:8080/"
    )
    assert json.loads(metrics.stdout)["pod"] == space.pods()[0]["metadata"]["name"]
    terminal = [
        "script",
        "-qec",
        f"{CLUSTER} kubectl -n {space.name} exec -it deploy/app -- sh -c 'test -t 0 && echo yes'",
        "/dev/null",
    ]
    assert (
        "yes"
        in subprocess.run(terminal, check=False, capture_output=True, text=True, timeout=60).stdout
    )


@contextmanager
def following(space: Space, pod: str) -> Iterator[subprocess.Popen[str]]:
    """`kubectl logs -f`, ended with the test whatever it saw."""
    command = [CLUSTER, "kubectl", "-n", space.name, "logs", "-f", pod]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        try:
            yield follower
        finally:
            follower.kill()


def test_logs_of_all_pods_can_be_read_and_followed(space: Space):
    space.deploy(replicas=2)
    both = space.kubectl("logs", "-l", "app=app", "--since=1h", "--prefix").stdout
    assert both.count("started 10.88.") == 2
    assert both.count("to the other stream") == 2
    assert space.kubectl("logs", "deploy/app", "--tail=1").stdout.count("\n") == 1
    pod = space.pods()[0]["metadata"]["name"]
    with following(space, pod) as follower:
        lines = {
            follower.stdout.readline(),
            follower.stdout.readline(),
        }  # two streams, in any order
        assert any(line.startswith("started") for line in lines)
        space.kubectl("delete", "pod", pod, "--wait=false")
        assert "bye" in follower.stdout.read(), "the log is followed to its end"


def test_the_end_of_a_pod_has_its_hook_and_its_grace(space: Space):
    stubborn = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stubborn"},
                "spec": {**failing("trap 'echo asked to end' TERM; echo up; while :; do sleep 0.1; done"), "terminationGracePeriodSeconds": 3}}  # fmt: skip
    stubborn["spec"]["containers"][0]["lifecycle"] = {
        "preStop": {"exec": {"command": ["sh", "-c", "echo hook >/proc/1/fd/1"]}}
    }
    space.apply(stubborn)
    space.kubectl("wait", "--for=condition=ready", "pod/stubborn", "--timeout=60s")
    with following(space, "stubborn") as follower:
        assert follower.stdout.readline() == "up\n"
        space.kubectl("delete", "pod", "stubborn")
        assert follower.stdout.read() == "hook\nasked to end\n"


def test_a_sick_process_is_restarted_and_gets_no_request_meanwhile(space: Space):
    space.deploy(
        livenessProbe={
            "httpGet": {"path": "/live", "port": "http"},
            "periodSeconds": 1,
            "failureThreshold": 2,
        },
        startupProbe={
            "httpGet": {"path": "/ready", "port": "http"},
            "periodSeconds": 1,
            "failureThreshold": 30,
        },
    )
    pod = space.pods()[0]["metadata"]["name"]
    space.kubectl("exec", pod, "--", "touch", "/tmp/sick")
    until(lambda: space.read("pod", pod)["status"]["containerStatuses"][0]["restartCount"] >= 1)
    assert "Liveness probe failed" in space.kubectl("describe", "pod", pod).stdout
    space.kubectl("exec", pod, "--", "rm", "/tmp/sick", check=False)
