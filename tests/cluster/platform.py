"""The platform on the cluster: the overlay for a test cluster, on a PostgreSQL of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from tests.cluster.conftest import STATE, Cluster, Space, until
from tests.deploy.rendered import objects

from mc_contract.keyring import keyring_text, new_keyring
from mc_ops.environments import Workspace, credentials

HOST = "10.87.0.1"  # this machine, as pods see it
OVERLAY = "overlays/local-test"
NAMESPACES = ("mc-platform", "mc-agents", "mc-siem", "mc-outside")
SIDES = {"blue": "agent-workbench", "green": "agent-workbench-green"}
PODS = "app.kubernetes.io/name=agent-workbench"
SIEM_KEY = "k" * 40
SCRAPE_TOKEN = "s" * 40


class Platform(Space):
    """Both sides of the manifests, the sample agents and the SIEM receiver; blue serves, green is at 0.

    A story that changes it calls `restore` before it ends, or leaves the objects as they were.
    """

    def __init__(self, cluster: Cluster, workspace: Workspace, admin_url: str) -> None:
        super().__init__(cluster, "mc-platform")
        self.workspace, self.admin_url = workspace, admin_url

    def start(self) -> None:
        """Apply everything, migrate, and wait until all of it is available."""
        spaces = [one for one in objects(OVERLAY) if one["kind"] == "Namespace"]
        self.cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(spaces))
        self._secrets()
        self.restore(wait=False)
        self.apply(*objects(f"{OVERLAY}/migrate"))
        self.kubectl("wait", "--for=condition=complete", "job/mc-migrate", "--timeout=180s")
        self.restore()

    def restore(self, *, wait: bool = True) -> None:
        """Make every object of the overlay as it was at the start: blue serves with three or more replicas."""
        found = [_at_zero(one) for one in objects(OVERLAY)]
        self.cluster.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(found))
        for namespace in NAMESPACES if wait else ():
            available = ("wait", "--for=condition=available", "deployment", "--all")
            self.cluster.kubectl("-n", namespace, *available, "--timeout=240s")
        if wait:  # a pod on its way out keeps `kubectl wait` of a later story waiting
            green = f"{PODS},mc-platform/colour=green"
            until(lambda: not self.read("pods", "-l", green)["items"])

    def side(self, colour: str) -> list[dict[str, Any]]:
        """The pods of a side that are not on their way out."""
        found = self.read("pods", "-l", f"{PODS},mc-platform/colour={colour}")["items"]
        return [one for one in found if "deletionTimestamp" not in one["metadata"]]

    def url(self, service: str = "agent-workbench") -> str:
        """What clients on this machine reach: the public Service, or that of a side."""
        return f"http://{self.read('service', service)['spec']['clusterIP']}:8080"

    def token(self, name: str = "TENANT_001") -> str:
        """The bearer token of a tenant, or of a role (`OPERATOR`, ...)."""
        return credentials.tenant_token(self.workspace, name)

    @property
    def env(self) -> dict[str, str]:
        """The environment variables for `mcctl`, the scripts and `kubectl` of an operator of this cluster."""
        path = f"{STATE}/bin:{os.environ['PATH']}"
        own = {"ENV": "kubernetes", "KUBECONFIG": str(STATE / "kubeconfig"), "PATH": path}
        return {**os.environ, **own, "MC_HOME": str(self.workspace.home)}

    def _secrets(self) -> None:
        """What a region's operator makes before the first time (docs/how-to/kubernetes.md)."""
        self.workspace.prepare()
        tenants = credentials.catalogue_tenants(
            Path(__file__).parents[2] / "deploy/kubernetes/overlays/local-test/catalogue.toml"
        )
        credentials.prepare(self.workspace, tenants)
        for name, text in (("scrape.token", SCRAPE_TOKEN), ("siem.key", SIEM_KEY)):
            self.workspace.secret(name).write_text(text)
        service_url = (
            f"postgresql://mc_service:pw@{self.admin_url.partition('@')[2].partition('/')[0]}/mc"
        )
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.workspace.ledger_key.write_bytes(public)  # whoever verifies has a copy of it
        wanted: dict[tuple[str, str], dict[str, bytes]] = {
            ("mc-platform", "mc-platform-secrets"): {
                "ledger.key": pem,
                "keyring.json": keyring_text(new_keyring(datetime.now(UTC))).encode(),
                "scrape.token": SCRAPE_TOKEN.encode(),
                "AUDIT_SIEM_KEY": SIEM_KEY.encode(),
                "MC_DATABASE_URL": service_url.encode(),
            },
            ("mc-platform", "mc-platform-admin"): {
                "MC_DATABASE_ADMIN_URL": self.admin_url.encode()
            },
            ("mc-platform", "mc-platform-credentials"): {
                "credentials.json": credentials.hashes(self.workspace).encode()
            },
            ("mc-siem", "siem-key"): {"key": SIEM_KEY.encode()},
        }
        for (namespace, name), files in wanted.items():
            place = self.workspace.home / "cluster" / name
            place.mkdir(parents=True)
            for file, data in files.items():
                (place / file).write_bytes(data)
            made = ("create", "secret", "generic", name, f"--from-file={place}")
            self.cluster.kubectl("-n", namespace, *made)


@contextmanager
def running(cluster: Cluster, run_postgres: Any, home: Path) -> Iterator[Platform]:
    """The platform, started; taken away at the end, and the database after those who use it."""
    cluster.remove(*NAMESPACES)  # what somebody left, who was killed
    with run_postgres(HOST) as admin_url:
        platform = Platform(cluster, Workspace(home=home), admin_url)
        try:
            platform.start()
            yield platform
        finally:
            if not cluster.ours:  # else the cluster goes as a whole, at once
                cluster.remove(*NAMESPACES)


def _at_zero(one: dict[str, Any]) -> dict[str, Any]:
    """Green stands down from the start: two cores start three replicas soon enough, and six not."""
    if (one["kind"], one["metadata"]["name"]) == ("Deployment", SIDES["green"]):
        return {**one, "spec": {**one["spec"], "replicas": 0}}
    return one
