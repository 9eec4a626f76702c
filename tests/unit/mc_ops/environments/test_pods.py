"""What a pod's status says, and the environment variables that its spec makes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_ops.environments import kubernetes
from mc_ops.environments.interface import Holder, LogFilter, State
from mc_ops.environments.kubernetes import pods
from mc_ops.environments.kubernetes.client import Absent, Client
from mc_ops.environments.kubernetes.logs import read_logs, restart_line
from mc_ops.environments.kubernetes.rights import RIGHTS, RIGHTS_OF, role
from mc_ops.environments.kubernetes.settings import expanded, field_of, plain_data
from mc_ops.preflight.kubernetes.workloads import KINDS

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)
RUNS = {"running": {"startedAt": "2026-12-01T11:59:00Z"}}


def pod(
    state: dict[str, Any] | None = None, *, is_ready: bool = False, **status: Any
) -> dict[str, Any]:
    """A pod of the workbench, whose container is in this state."""
    container = {"name": "agent-workbench", "restartCount": 0, "state": state or RUNS}
    container |= status.pop("container", {})
    return {
        "metadata": {
            "name": "agent-workbench-1",
            "creationTimestamp": "2026-12-01T11:58:00Z",
            "labels": {"mc-platform/colour": "blue"},
        },
        "spec": {"containers": [{"name": "agent-workbench", "env": []}]},
        "status": {
            "phase": "Running",
            "podIP": "10.88.1.7",
            "conditions": [{"type": "Ready", "status": str(is_ready)}],
            "containerStatuses": [container],
            **status,
        },
    }


def waiting(reason: str, **more: Any) -> dict[str, Any]:
    """The state of a container that waits."""
    return {"waiting": {"reason": reason, **more}}


def test_a_pod_that_serves():
    """It runs, is ready, and tells since when."""
    found = pod(is_ready=True)
    assert (pods.running(found), pods.ready(found), pods.stays(found)) == (True, True, True)
    assert (pods.word_of(found), pods.state_of(found)) == ("ready", State.running)
    assert (pods.uptime_s(found, NOW), pods.age_s(found, NOW)) == (60.0, 120.0)


@pytest.mark.parametrize(
    ("state", "told"),
    [
        (
            waiting("ImagePullBackOff", message='no such "image"'),
            'ImagePullBackOff: no such "image"',
        ),
        (waiting("CreateContainerConfigError", message="no secret"), "no secret"),
        (waiting("InvalidImageName"), "InvalidImageName"),
    ],
)
def test_what_only_a_change_brings_up_is_dead(state: dict[str, Any], told: str):
    """And says why in the kubelet's words."""
    found = pod(state, phase="Pending")
    assert pods.state_of(found) is State.dead
    assert told in pods.word_of(found)


def test_a_container_that_crashes_again_and_again_tells_how_it_ended():
    """The back-off's own message says nothing about why."""
    ended = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    found = pod(
        waiting("CrashLoopBackOff", message="back-off 40s"),
        container={"lastState": ended, "restartCount": 4},
    )
    assert pods.word_of(found) == "CrashLoopBackOff: OOMKilled, exit 137"
    assert pods.restarts(found) == 4
    assert not pods.running(found)
    assert json.loads(restart_line(found))["text"] == "--- restarted: OOMKilled, exit 137 ---"


def test_a_pod_that_starts_is_neither_dead_nor_ready():
    """It says what it waits for."""
    found = pod(waiting("ContainerCreating"), phase="Pending")
    assert (pods.word_of(found), pods.state_of(found)) == (
        "starting (ContainerCreating)",
        State.running,
    )
    conditions = [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/2 nodes\n are available",
        }
    ]
    nowhere = pod(phase="Pending", conditions=conditions, containerStatuses=[])
    assert pods.word_of(nowhere) == "unschedulable: 0/2 nodes are available"
    assert (pods.restarts(nowhere), pods.uptime_s(nowhere, NOW)) == (0, None)


def test_what_leaves_or_was_evicted_does_not_stay():
    """Its Deployment has made another."""
    leaving = pod(is_ready=True)
    leaving["metadata"]["deletionTimestamp"] = "2026-12-01T12:00:00Z"
    assert not pods.stays(leaving)
    assert not pods.stays(pod(phase="Failed", reason="Evicted"))


def test_variables_refer_to_earlier_ones_as_kubernetes_has_it():
    """An unknown one stays as it is written; two dollars are one."""
    values = {"HOST": "db", "PORT": "5432"}
    assert expanded("$(HOST):$(PORT)/$(NOBODY) $$(HOST) $HOST", values) == (
        "db:5432/$(NOBODY) $(HOST) $HOST"
    )


@given(st.text(), st.dictionaries(st.from_regex(r"[A-Z_]{1,8}", fullmatch=True), st.text()))
def test_a_text_without_a_dollar_is_itself(text: str, values: dict[str, str]):
    """Whatever the values are."""
    plain = text.replace("$", "")
    assert expanded(plain, values) == plain


def test_fields_of_a_pod_become_variables():
    """By the paths of the downward API; what is not there is empty."""
    found = pod()
    assert field_of(found, "metadata.name") == "agent-workbench-1"
    assert field_of(found, "metadata.labels['mc-platform/colour']") == "blue"
    assert field_of(found, "status.podIP") == "10.88.1.7"
    assert field_of(found, "metadata.annotations['none']") == ""


def test_secrets_are_decoded_and_settings_are_not():
    """As each is kept."""
    assert plain_data("secrets", {"data": {"KEY": "c2VjcmV0"}}) == {"KEY": "secret"}
    assert plain_data("configmaps", {"data": {"KEY": "c2VjcmV0"}}) == {"KEY": "c2VjcmV0"}
    assert plain_data("secrets", {}) == {}


def test_the_role_has_each_right_once_and_no_wildcard():
    """Verbs of the same objects stand together; the read-only one can change nothing."""
    made = role("prod")
    pairs = [
        (verb, resource, tuple(rule.get("resourceNames", ())))
        for rule in made["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]
    assert sorted(pairs) == sorted((one.verb, one.resource, one.names) for one in RIGHTS)
    assert "*" not in str(made)
    reading = {verb for rule in role("prod", Holder.reader)["rules"] for verb in rule["verbs"]}
    assert reading == {"get", "list"}
    # Whoever reads the Secret can sign a ledger and write the database
    assert not any("secrets" in rule["resources"] for rule in role("prod", Holder.reader)["rules"])


AT = "2026-12-01T10:00:0"


class Logs:
    """The API of one pod whose container crashes once, and which is then taken away."""

    def __init__(self) -> None:
        self.pods = {"agent-workbench-1": pod(is_ready=True)}
        self.asked: list[tuple[int | None, str | None]] = []

    def get(self, _resource: str, name: str) -> dict[str, Any]:
        """The pod, while it is there."""
        if name not in self.pods:
            raise Absent("gone")
        return self.pods[name]

    def log(self, name: str, **options: Any) -> Iterator[str]:
        """Two lines of the first container, then one of the second."""
        self.asked.append((options.get("tail_lines"), options["since_time"]))
        if len(self.asked) == 1:
            yield from (f"{AT}1Z one", f"{AT}2.5Z two")
        elif len(self.asked) == 2:
            yield f"{AT}2.5Z two"  # its time was asked for, to the second
            ended = {"terminated": {"reason": "Error", "exitCode": 3}}
            self.pods[name] = pod(container={"lastState": ended, "restartCount": 1})
        else:
            yield f"{AT}3Z three"
            del self.pods[name]


def test_a_log_is_followed_across_a_restart_until_the_pod_is_gone():
    """All lines of the new container, after a line that says why there is one."""
    api = Logs()
    followed = read_logs(
        cast("Client", api),
        lambda: list(api.pods.values()),
        ["agent-workbench-1"],
        LogFilter(lines=2, follow=True),
    )
    told = [json.loads(line.text)["text"] for line in followed]
    assert told == ["one", "two", "--- restarted: Error, exit 3 ---", "three"]
    assert api.asked == [(2, None), (None, f"{AT}2Z"), (None, f"{AT}2Z")]


_CALL = re.compile(
    r'client\.(get|find|objects|patch|create|delete|log)\(\s*(?:"(\w+)"|_HPAS)?([^\n]*)'
)
_VERBS = {"find": "get", "objects": "list"}
# By kubectl: the pre-flight's scripts, and the playbook of a SIEM failure
_SCRIPTS = {
    *(("list", f"{kind.lower()}s") for kind in KINDS),
    *(("list", "networkpolicies"), ("list", "poddisruptionbudgets"), ("list", "resourcequotas")),
    *(("list", "horizontalpodautoscalers"), ("list", "services"), ("get", "namespaces")),
    *(("create", "pods"), ("create", "pods/exec"), ("watch", "deployments")),
}


def calls(*files: Path) -> set[tuple[str, str]]:
    """The calls to the API in source files, as RBAC has them."""
    found: set[tuple[str, str]] = set()
    for path in files:
        for verb, resource, rest in _CALL.findall(path.read_text(encoding="utf-8")):
            if verb == "log":
                found.add(("get", "pods/log"))
                continue
            part = "/scale" if 'subresource="scale"' in rest else ""
            found.add((_VERBS.get(verb, verb), (resource or "horizontalpodautoscalers") + part))
    return found


def test_the_rights_are_those_of_the_calls_that_are_made():
    """Each call to the API in the environment's source, and no right that no call needs."""
    # Of a pod's settings, by names from its spec
    needed = {("get", "configmaps"), ("get", "secrets"), *_SCRIPTS}
    folder = Path(kubernetes.__file__).parent
    pods = folder / "administration.py"  # an administrator's
    apart = {pods, folder / "client.py", folder / "rights.py"}
    needed |= calls(*(path for path in folder.glob("*.py") if path not in apart))
    assert needed == {(one.verb, one.resource) for one in RIGHTS}
    serving = {("get", "services"), ("get", "deployments")}
    administrators = {(one.verb, one.resource) for one in RIGHTS_OF[Holder.administrator]}
    assert administrators == calls(pods) | serving
