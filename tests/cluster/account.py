"""Who uses the platform's cluster with the rights of a Role that mcctl prints, and with no others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Self

import pytest
import yaml
from tests.cluster.platform import NAMESPACES, Platform

ROOT = Path(__file__).parents[2]


class Account:
    """A service account of the platform's namespace, and the environment variables of who uses it."""

    def __init__(self, platform: Platform, name: str, folder: Path) -> None:
        self.platform, self.name = platform, name
        platform.kubectl("create", "serviceaccount", name)
        token = platform.kubectl("create", "token", name, "--duration=1h").stdout.strip()
        config = yaml.safe_load(Path(platform.env["KUBECONFIG"]).read_text())
        config["users"] = [{"name": "operator", "user": {"token": token}}]
        config["contexts"][0]["context"] |= {"user": "operator", "namespace": platform.name}
        path = folder / f"{name}.kubeconfig"
        path.write_text(yaml.safe_dump(config))
        bins = f"{Path(sys.executable).parent}:{platform.env['PATH']}"
        self.env = {**platform.env, "KUBECONFIG": str(path), "PATH": bins, "COLUMNS": "200"}

    @classmethod
    def operator(cls, platform: Platform, name: str, folder: Path) -> Self:
        """One with an operator's Role, and a neighbour's in the other namespaces of the egress table."""
        account = cls(platform, name, folder)
        account.given()
        for namespace in NAMESPACES[1:]:
            account.given("--for", "neighbour", namespace=namespace)
        return account

    def given(self, *options: str, namespace: str = "mc-platform") -> None:
        """Give it the Role that mcctl prints, in a namespace."""
        where = ("--env", "kubernetes", "--namespace", namespace)
        printed = self.run("mcctl", "preflight", "rights", "--role", *where, *options).stdout
        made = yaml.safe_load(printed)["metadata"]["name"]
        cluster = self.platform.cluster
        cluster.kubectl("apply", "-f", "-", input=printed)
        account = f"--serviceaccount={self.platform.name}:{self.name}"
        binding = ("create", "rolebinding", f"{self.name}-{made}", f"--role={made}", account)
        cluster.kubectl("-n", namespace, *binding)

    def gone(self) -> None:
        """Take it away; what it was given gives nobody a right then."""
        self.platform.kubectl("delete", "serviceaccount", self.name)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command as this account, in the checkout."""
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.env,
            check=False,
            capture_output=True,
            text=True,
            timeout=300,
        )


def entered(monkeypatch: pytest.MonkeyPatch, env: Mapping[str, str]) -> None:
    """Have this process be who has these variables."""
    for name in ("KUBECONFIG", "MC_HOME"):
        monkeypatch.setenv(name, env[name])
    for name in ("MC_NAMESPACE", "MC_URL", "MC_SCRAPE_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
