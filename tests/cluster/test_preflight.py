"""Our manifests on the cluster, and the runbook's three scripts in front of the cutover, verbatim."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.cluster.conftest import STATE, Cluster, Space, until
from tests.deploy.rendered import objects

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
HOST = "10.87.0.1"  # this machine, as pods see it
NAMESPACES = ("mc-platform", "mc-agents", "mc-siem", "mc-outside")
TABLE = "deploy/kubernetes/overlays/local-test/egress.toml"


@pytest.fixture(scope="module")
def platform(
    cluster: Cluster,
    run_postgres: Callable[[str], AbstractContextManager[str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Space]:
    """The overlay for a test cluster, blue alone, on a PostgreSQL of this machine."""
    ours = Space(cluster, "mc-platform")
    cluster.remove(*NAMESPACES)  # another story's, which may be on their way out
    with run_postgres(HOST) as admin_url:
        place = admin_url.partition("@")[2].partition("/")[0]
        service_url = f"postgresql://mc_service:pw@{place}/mc"
        found = [_at_zero(one) for one in objects("overlays/local-test")]
        cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(_only(found, "Namespace")))
        _secrets(cluster, tmp_path_factory.mktemp("secrets"), admin_url, service_url)
        cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(found))
        ours.apply(*objects("overlays/local-test/migrate"))
        ours.kubectl("wait", "--for=condition=complete", "job/mc-migrate", "--timeout=180s")
        for namespace in NAMESPACES:
            wait = ("wait", "--for=condition=available", "deployment", "--all", "--timeout=240s")
            cluster.kubectl("-n", namespace, *wait)
        yield ours
        cluster.remove(*NAMESPACES)  # the database goes after those who use it


def _at_zero(one: dict) -> dict:
    """Green stands down from the start: two cores start three replicas soon enough, and six not."""
    if (one["kind"], one["metadata"]["name"]) == ("Deployment", "agent-workbench-green"):
        return {**one, "spec": {**one["spec"], "replicas": 0}}
    return one


def _only(found: list[dict], kind: str) -> list[dict]:
    return [one for one in found if one["kind"] == kind]


def _secrets(cluster: Cluster, folder: Path, admin_url: str, service_url: str) -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    credential = {
        "principal": "agent@tenant-001",
        "key_id": "0123456789ab",
        "secret_sha256": hashlib.sha256(b"secret").hexdigest(),
        "role": "agent",
    }
    wanted: dict[tuple[str, str], dict[str, bytes]] = {
        ("mc-platform", "mc-platform-secrets"): {
            "ledger.key": pem,
            "pseudonym.key": os.urandom(32),
            "scrape.token": b"s" * 40,
            "AUDIT_SIEM_KEY": b"k" * 40,
            "MC_DATABASE_URL": service_url.encode(),
        },
        ("mc-platform", "mc-platform-admin"): {"MC_DATABASE_ADMIN_URL": admin_url.encode()},
        ("mc-platform", "mc-platform-credentials"): {
            "credentials.json": json.dumps({"TENANT_001": credential}).encode()
        },
        ("mc-siem", "siem-key"): {"key": b"k" * 40},
    }
    for (namespace, name), files in wanted.items():
        place = folder / name
        place.mkdir()
        for file, data in files.items():
            (place / file).write_bytes(data)
        cluster.kubectl(
            *("-n", namespace, "create", "secret", "generic", name, f"--from-file={place}")
        )


def script(name: str, *arguments: str) -> tuple[int, list[dict[str, str]]]:
    """One of the runbook's, on the cluster; its exit code and its checks."""
    path = f"{STATE}/bin:{os.environ['PATH']}"
    answer = subprocess.run(
        [ROOT / "scripts" / name, "--namespace", "mc-platform", "--output", "json", *arguments],
        env={
            **os.environ,
            "ENV": "kubernetes",
            "KUBECONFIG": str(STATE / "kubeconfig"),
            "PATH": path,
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert answer.stdout, answer.stderr
    return answer.returncode, json.loads(answer.stdout)["checks"]


def bad(checks: list[dict[str, str]]) -> list[dict[str, str]]:
    return [one for one in checks if one["status"] != "pass"]


def test_three_replicas_of_a_side_serve_and_a_side_at_zero_stays_there(platform: Space):
    """By their own autoscaler, each with its pod's name; the runbook's waiting line sees them."""
    label = "app.kubernetes.io/name=agent-workbench"
    platform.kubectl("wait", "--for=condition=ready", "pod", "-l", label, "--timeout=300s")
    pods = platform.read("pods", "-l", label)["items"]
    assert {one["metadata"]["labels"]["mc-platform/colour"] for one in pods} == {"blue"}
    assert 3 <= len(pods) <= 5  # starting is a load, too
    for pod in pods:
        name = pod["metadata"]["name"]
        health = platform.kubectl("exec", name, "--", "curl", "-s", "http://localhost:8080/health")
        said = json.loads(health.stdout)
        assert (said["status"], said["replica"], said["colour"]) == ("ok", name, "blue")
    assert platform.read("deploy", "agent-workbench-green")["spec"]["replicas"] == 0


def test_pod_security_is_what_the_cluster_enforces(platform: Space):
    """By our checks and by its own admission."""
    code, checks = script("verify-pod-security.sh")
    assert (code, bad(checks)) == (0, [])
    assert {"admission-refuses-privileged", "admission-admits-ours"} <= {
        one["name"] for one in checks
    }


def test_the_autoscaler_can_do_its_work(platform: Space):
    """When metrics-server has seen the pods, the controller's conditions say so."""

    def seen() -> bool:
        _, checks = script("validate-hpa.sh")
        told = {one["name"] for one in bad(checks)}
        # Green stands at 0, where its autoscaler says that it is disabled
        return told == {"hpa-conditions agent-workbench-green"}

    until(seen, 120)


def test_pods_reach_what_the_table_allows_and_no_more(platform: Space):
    """Tried from pods; and without the policies the same pairs leak, so the probe is worth something."""
    code, checks = script("test-egress-policy.sh", "--table", TABLE)
    assert (code, bad(checks)) == (0, [])
    probed = {one["name"] for one in checks if one["name"].startswith("probe")}
    assert {name.split()[1] for name in probed} == {"allow", "deny"}
    platform.kubectl("delete", "networkpolicy", "--all")

    def leaks() -> bool:
        code, checks = script("test-egress-policy.sh", "--table", TABLE)
        leaking = [one for one in bad(checks) if one["name"].startswith("probe deny")]
        return code == 1 and any("is open" in one["detail"] for one in leaking)

    until(leaks, 60)
