"""The repository's own manifests: both sides, the sample agents, the migration; PostgreSQL of this machine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.cluster.conftest import Cluster, Space, until

pytestmark = pytest.mark.cluster

MANIFESTS = Path(__file__).parents[2] / "deploy" / "kubernetes"
HOST = "10.87.0.1"  # this machine, as pods see it
SIEM_KEY = "a-key-of-the-sample-receiver"
SIDES = ("agent-workbench", "agent-workbench-green")


@pytest.fixture
def platform(cluster: Cluster) -> Iterator[Space]:
    """The namespace of the service, and those beside it until the test is over."""
    beside = ("mc-platform", "mc-agents", "mc-siem", "mc-outside")
    cluster.remove(*beside)  # another story's, which may be on their way out
    yield Space(cluster, "mc-platform")
    cluster.remove(*beside)


def test_both_sides_of_the_manifests_run_and_their_autoscalers_measure(
    platform: Space, run_postgres: Callable[[str], AbstractContextManager[str]], tmp_path: Path
):
    with run_postgres(HOST) as admin_url:
        secrets(platform, admin_url, tmp_path)
        platform.cluster.kubectl("apply", "-k", str(MANIFESTS / "overlays" / "local-test"))
        platform.cluster.kubectl("apply", "-k", str(MANIFESTS / "migrate"))
        platform.kubectl("wait", "--for=condition=complete", "job/mc-migrate", "--timeout=170s")
        for side in SIDES:
            platform.kubectl("rollout", "status", f"deployment/{side}", "--timeout=170s")
        pods = platform.read("pods", "-l", "app.kubernetes.io/name=agent-workbench")["items"]
        assert len(pods) == 6
        for pod in pods:
            name = pod["metadata"]["name"]
            health = platform.kubectl(
                "exec", name, "--", "curl", "-s", "http://localhost:8080/health"
            ).stdout
            said = json.loads(health)
            assert (said["status"], said["replica"]) == ("ok", name)
        metrics = (
            "exec",
            "-it",
            "deploy/agent-workbench",
            "--",
            "curl",
            "-s",
            "http://localhost:8080/metrics",
        )
        assert "mc_a2a_requests_total" in platform.kubectl(*metrics).stdout
        for side in SIDES:
            until(lambda side=side: active(platform.read("hpa", side)))
        assert [b["status"]["disruptionsAllowed"] > 0 for b in platform.read("pdb")["items"]] == [
            True,
            True,
        ]
        platform.kubectl("delete", "deployment", *SIDES, "--cascade=foreground")


def secrets(platform: Space, admin_url: str, folder: Path) -> None:
    """What a region's operator makes before the first time (docs/how-to/kubernetes.md)."""
    service_url = (
        f"postgresql://mc_service:pw@{admin_url.split('@')[1].split('/', maxsplit=1)[0]}/mc"
    )
    key = Ed25519PrivateKey.generate()
    (folder / "ledger.key").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    (folder / "pseudonym.key").write_bytes(bytes(range(32)))
    (folder / "scrape.token").write_text("0123456789abcdef" * 4)
    files = [
        f"--from-file={folder / name}" for name in ("ledger.key", "pseudonym.key", "scrape.token")
    ]
    made = {
        ("mc-platform", "mc-platform-secrets"): [
            *files,
            f"--from-literal=MC_DATABASE_URL={service_url}",
            f"--from-literal=AUDIT_SIEM_KEY={SIEM_KEY}",
        ],
        ("mc-platform", "mc-platform-admin"): [f"--from-literal=MC_DATABASE_ADMIN_URL={admin_url}"],
        ("mc-siem", "siem-key"): [f"--from-literal=key={SIEM_KEY}"],
    }
    for space in ("mc-platform", "mc-siem"):
        platform.cluster.kubectl("create", "namespace", space)
    for (space, name), words in made.items():
        platform.cluster.kubectl("-n", space, "create", "secret", "generic", name, *words)


def active(autoscaler: dict) -> bool:
    """Whether it has a figure to go by."""
    conditions = {c["type"]: c["status"] for c in autoscaler["status"].get("conditions", [])}
    return conditions.get("ScalingActive") == "True"
