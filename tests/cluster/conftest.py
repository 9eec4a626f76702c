"""A Kubernetes cluster of this machine, started once; `make cluster-test` runs what needs it."""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tests.conftest
import yaml

if TYPE_CHECKING:
    from tests.cluster.platform import Platform

HERE = Path(__file__).parent
CLUSTER = HERE / "cluster.sh"
STATE = Path("/var/tmp/mc-cluster")
NOT_SETTLED = 77  # what `cluster.sh needs` answers where something is missing


class Cluster:
    """What a test does with the cluster: by kubectl, as anybody could."""

    def __init__(self, *, ours: bool) -> None:
        self.ours = ours  # started for these tests

    def kubectl(
        self, *args: str, check: bool = True, **more: Any
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [CLUSTER, "kubectl", *args],
            check=False,
            capture_output=True,
            text=True,
            timeout=180,
            **more,
        )
        if check and done.returncode:
            raise AssertionError(
                f"kubectl {' '.join(args)}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def read(self, *args: str) -> Any:
        return json.loads(self.kubectl("get", *args, "-o", "json").stdout)

    def remove(self, *namespaces: str) -> None:
        """Delete namespaces, and wait until they are gone."""
        self.kubectl("delete", "namespace", *namespaces, "--ignore-not-found", "--timeout=150s")

    def driver(self, *args: str) -> None:
        subprocess.run([CLUSTER, *args], check=True, timeout=300)


class Space:
    """One namespace of a story, under Pod Security `restricted`."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster, self.name = cluster, name

    def kubectl(self, *args: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.cluster.kubectl("-n", self.name, *args, **more)

    def read(self, *args: str) -> Any:
        return self.cluster.read("-n", self.name, *args)

    def apply(
        self, *objects: dict[str, Any], check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return self.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(objects), check=check)

    def pods(self, label: str = "app") -> list[dict[str, Any]]:
        """Pods of a Deployment that are not on their way out."""
        all_of_them = self.read("pods", "-l", f"app={label}")["items"]
        return [p for p in all_of_them if "deletionTimestamp" not in p["metadata"]]

    def deploy(self, name: str = "app", *, replicas: int | None = 1, **container: Any) -> None:
        """A Deployment of `app.py` with a Service; returns when it is available."""
        self.apply(*deployment(name, replicas=replicas, **container))
        self.kubectl("rollout", "status", f"deployment/{name}", "--timeout=90s")

    def address(self, service: str = "app") -> str:
        return f"http://{self.read('service', service)['spec']['clusterIP']}"

    def ask(self, pod: str, target: str) -> str:
        """What a pod says when it is to reach a target itself."""
        found = self.read("pod", pod)["status"]["podIP"]
        return get(f"http://{found}:8080/reach/{target}", timeout=10)


def get(url: str, timeout: float = 5) -> str:
    with urllib.request.urlopen(url, timeout=timeout) as answer:
        return str(answer.read().decode())


def until(seen: Callable[[], Any], seconds: float = 90) -> Any:
    """Poll with longer pauses than elsewhere, as most questions start a kubectl."""
    return tests.conftest.until(seen, within_s=seconds, pause_s=0.25)


RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def pod_spec(**container: Any) -> dict[str, Any]:
    """A pod of `app.py` that the restricted profile admits."""
    field = {"POD_NAME": "metadata.name", "POD_IP": "status.podIP"}
    extra_env = container.pop("env", [])
    spec = container.pop("spec", {})
    main = {
        "name": "app",
        "image": "python:local",
        "args": ["/app/app.py"],
        "ports": [{"name": "http", "containerPort": 8080}],
        "env": [{"name": k, "valueFrom": {"fieldRef": {"fieldPath": v}}} for k, v in field.items()]
        + extra_env,
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1},
        "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
        "resources": {"requests": {"cpu": "50m", "memory": "32Mi"}},
        "securityContext": RESTRICTED,
        "volumeMounts": [
            {"name": "app", "mountPath": "/app"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
        **container,
    }
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 20,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [main],
        "volumes": [{"name": "app", "configMap": {"name": "app"}}, {"name": "tmp", "emptyDir": {}}],
        **spec,
    }


def deployment(name: str, *, replicas: int | None = 1, **container: Any) -> list[dict[str, Any]]:
    labels = {"app": name}
    spread = {
        "maxSkew": 1,
        "topologyKey": "topology.kubernetes.io/zone",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": labels},
    }
    template = pod_spec(**container)
    template["topologySpreadConstraints"] = [spread]
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                **({} if replicas is None else {"replicas": replicas}),
                "selector": {"matchLabels": labels},
                "strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": {"metadata": {"labels": labels}, "spec": template},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": "http"}]},
        },
    ]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The platform's stories last: one of the cluster's own kills it, and then all is gone."""
    items.sort(key=lambda item: "platform" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The cluster: one that runs is used and left, else one is started and taken away."""
    if not os.environ.get("TEST_CLUSTER"):
        pytest.skip("needs a Kubernetes cluster: make cluster-test runs it")
    asked = subprocess.run([CLUSTER, "needs"], check=False, capture_output=True, text=True)
    if asked.returncode == NOT_SETTLED:
        pytest.skip(asked.stderr.strip())
    ours = not STATE.exists()
    if ours:
        subprocess.run([CLUSTER, "up"], check=True, timeout=3600)
    try:
        yield Cluster(ours=ours)
    finally:
        if ours:
            subprocess.run([CLUSTER, "down"], check=True, timeout=60)


@pytest.fixture(scope="session")
def platform(
    cluster: Cluster,
    run_postgres: Callable[..., AbstractContextManager[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Platform]:
    """The platform on the cluster, started once for all stories of it."""
    from tests.cluster.platform import running

    with running(cluster, run_postgres, tmp_path_factory.mktemp("operator")) as ours:
        yield ours


@pytest.fixture
def space(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Space]:
    """A namespace of the test's own, with the program of the stories in it."""
    name = request.node.name.removeprefix("test_").replace("_", "-")[:50].rstrip("-")
    label = "pod-security.kubernetes.io/enforce"
    made = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {label: "restricted"}},
    }
    it = Space(cluster, name)
    it.apply(made)
    it.kubectl("create", "configmap", "app", f"--from-file={HERE / 'app.py'}")
    yield it
    cluster.kubectl("delete", "namespace", name, "--wait=false")
