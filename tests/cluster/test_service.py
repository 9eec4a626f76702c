"""Our service in pods: settings by environment, keys by a secret, PostgreSQL of this machine."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.cluster.conftest import RESTRICTED, Space, until

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).parents[2]
HOST = "10.87.0.1"  # this machine, as pods see it
AGENTS = dict.fromkeys(("MC_RECORDS_AGENT_URL", "MC_FULFILMENT_AGENT_URL"), "http://agents.invalid")


def workbench() -> dict:
    """The least that a pod of the service needs."""
    probe = {"path": "/.well-known/agent-card.json", "port": 8080}
    container = {
        "name": "agent-workbench",
        "image": "agent-workbench:local",
        "envFrom": [{"secretRef": {"name": "settings"}}],
        "env": [{"name": "MC_REPLICA", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "startupProbe": {"httpGet": probe, "periodSeconds": 1, "failureThreshold": 60},
        "readinessProbe": {
            "httpGet": {"path": "/health", "port": 8080},
            "periodSeconds": 2,
            "timeoutSeconds": 5,
        },
        "lifecycle": {"preStop": {"sleep": {"seconds": 2}}},
        "securityContext": RESTRICTED,
        "volumeMounts": [
            {"name": "keys", "mountPath": "/etc/mc-platform/keys", "readOnly": True},
            {"name": "catalogue", "mountPath": "/etc/mc-platform/catalogue"},
            {"name": "tmp", "mountPath": "/tmp"},
        ],
    }
    labels = {"app.kubernetes.io/name": "agent-workbench"}
    spec = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "keys", "secret": {"secretName": "keys", "defaultMode": 0o440}},
            {"name": "catalogue", "configMap": {"name": "catalogue"}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }  # fmt: skip
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "agent-workbench"},
        "spec": {"replicas": 2, "selector": {"matchLabels": labels},
                 "template": {"metadata": {"labels": labels}, "spec": spec}},
    }  # fmt: skip


def test_two_workbenches_serve_and_say_who_they_are(
    space: Space, run_postgres: Callable[[str], AbstractContextManager[str]], tmp_path: Path
):
    with run_postgres(HOST) as admin_url:
        service_url = f"postgresql://mc_service:pw@{admin_url.split('@')[1].split('/')[0]}/mc"
        migrate(admin_url, service_url)
        key = Ed25519PrivateKey.generate()
        (tmp_path / "ledger.key").write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        space.kubectl(
            "create", "secret", "generic", "keys", f"--from-file={tmp_path / 'ledger.key'}"
        )
        settings = {
            **AGENTS,
            "MC_DATABASE_URL": service_url,
            "MC_LEDGER_KEY_FILE": "/etc/mc-platform/keys/ledger.key",
            "MC_CATALOGUE": "/etc/mc-platform/catalogue/catalogue.toml",
        }
        space.kubectl(
            "create",
            "secret",
            "generic",
            "settings",
            *(f"--from-literal={k}={v}" for k, v in settings.items()),
        )
        space.kubectl(
            "create",
            "configmap",
            "catalogue",
            f"--from-file={ROOT / 'deploy/local/catalogue.toml'}",
        )
        space.apply(workbench())
        space.kubectl(
            "wait", "--for=condition=available", "deployment/agent-workbench", "--timeout=120s"
        )
        until(
            lambda: space.read("deployment", "agent-workbench")["status"].get("readyReplicas") == 2
        )
        select = ("-l", "app.kubernetes.io/name=agent-workbench")
        for pod in space.read("pods", *select)["items"]:
            name = pod["metadata"]["name"]
            health = space.kubectl(
                "exec", name, "--", "curl", "-s", "http://localhost:8080/health"
            ).stdout
            said = json.loads(health)
            # Its agents are nowhere here, and that is all that it misses
            assert (said["status"], said["replica"]) == ("degraded", name)
            assert name in space.kubectl("logs", name).stdout
        metrics = space.kubectl(
            "exec",
            "-it",
            "deploy/agent-workbench",
            "--",
            "curl",
            "-s",
            "http://localhost:8080/metrics",
        ).stdout
        assert "mc_a2a_requests_total" in metrics
        space.kubectl("delete", "deployment", "agent-workbench", "--cascade=foreground")


def migrate(admin_url: str, service_url: str) -> None:
    digest = hashlib.sha256(b"secret").hexdigest()
    credentials = {
        "TENANT_001": {
            "principal": "agent@tenant-001",
            "key_id": "0123456789ab",
            "secret_sha256": digest,
            "role": "agent",
        }
    }
    subprocess.run(
        [sys.executable, "-m", "mc_platform", "migrate"],
        input=json.dumps(credentials), text=True, check=True, capture_output=True, timeout=120,
        env={"PATH": "/usr/bin:/bin", "MC_DATABASE_ADMIN_URL": admin_url, "MC_DATABASE_URL": service_url},
    )  # fmt: skip
