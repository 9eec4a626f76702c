"""How each process of the local platform is started: its arguments, its environment, its probe.

The one place that says which environment variable goes to which process. A process gets what
it needs: no neighbour of the service sees the database's password or the SIEM's key.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mc_ops.environments import policy_set
from mc_ops.environments.faults import Faults
from mc_ops.environments.interface import Colour
from mc_ops.environments.local import releases
from mc_ops.environments.local.keyring import DatabaseUrls, database_urls
from mc_ops.environments.local.layout import ARCHIVER, LINK, Layout, argv_of, colour_of
from mc_ops.environments.local.processes import ProcessSpec, http_probe
from mc_ops.environments.workspace import HOST, catalogue_path, checkout
from mc_ops.outgoing.loopback import is_open

_FOR_THE_SERVICE_ONLY = (
    "MC_DATABASE_URL",
    "MC_ARBITER_URL",
    "AUDIT_SIEM_KEY",
    "SLACK_WEBHOOK_URL",
)


@dataclass(frozen=True, slots=True)
class Specs:
    """Builds the specifications of one platform.

    Attributes:
        service: The command of the workbench, before `serve` or `migrate`.
    """

    layout: Layout
    urls: DatabaseUrls
    service: tuple[str, ...] = (sys.executable, "-m", "mc_platform")

    @classmethod
    def of(cls, layout: Layout, service: tuple[str, ...], external: str | None) -> Specs:
        """Of a platform with its own database, or one at the admin URL `external`."""
        return cls(layout, database_urls(layout, external), service)

    def neighbour(self, name: str) -> ProcessSpec:
        """A sample agent or the SIEM receiver."""
        env = self._own(name)
        if name == "siem":
            env["MC_SIEM_KEY_FILE"] = str(self.layout.secret("siem.key"))
        return self._spec(name, env)

    def edge(self) -> ProcessSpec:
        """The edge; it is ready when a request gets through it, not when it listens."""
        env = self._own("edge")
        env["MC_EDGE_STATE_FILE"] = str(self.layout.home / "edge.json")
        env["MC_EDGE_CONTROL_SOCKET"] = str(self.layout.control_socket())
        return self._spec("edge", env)

    def archiver(self, binaries: Path) -> ProcessSpec:
        """What archives the WAL, from the first backup on."""
        env = self._own(ARCHIVER)
        env["MC_PG_BIN"] = str(binaries)
        env["MC_PG_PORT"] = str(self.layout.port_of("postgres"))
        return self._spec(ARCHIVER, env)

    def link(self) -> ProcessSpec:
        """What connects this region with the second one."""
        env = self._own(LINK)
        env["MC_LINKS"] = ",".join(f"{port}:{to}" for port, to in self.layout.ways().values())
        return replace(self._spec(LINK, env), ready=lambda _pid: is_open(self.layout.port_of(LINK)))

    def workbench(self, name: str, faults: Faults) -> ProcessSpec:
        """One replica of the service, running today's code."""
        env = self.service_env()
        env |= releases.settings(releases.keep(self.layout), env)
        env["MC_COLOUR"] = (colour_of(name) or Colour.blue).value
        return self._replica(name, env | faults.settings(), faults)

    def baseline(self, name: str, like: Mapping[str, str], faults: Faults) -> ProcessSpec:
        """A fresh replica of what serves: the same code, the same settings, nothing else.

        Args:
            name: Of the fresh baseline.
            like: The environment of the replica that serves.
            faults: Its faults, which are in `like`, too.
        """
        return self._replica(name, like, faults)

    def administration(self, *command: str) -> tuple[tuple[str, ...], dict[str, str]]:
        """A command of the service (`migrate`, ...) with the rights of the database's administrator."""
        env = {**self.service_env(), "MC_DATABASE_ADMIN_URL": self.urls.admin}
        if known := self.layout.membership():
            env["MC_REPLICATION_PEER"] = known.peer
            env["MC_REPLICATION_PEER_URL"] = known.replication_url
            env["MC_REPLICATION_PASSWORD"] = known.replication_password
        return (*self.service, *command), env

    def service_env(self) -> dict[str, str]:
        """What every process of the service gets; a user's own settings win where noted."""
        layout = self.layout
        env = self._inherited(private=True)
        own = {
            "MC_HOME": str(layout.home),
            "MC_DATABASE_URL": self.urls.service,
            "MC_LEDGER_KEY_FILE": str(layout.secret("ledger.key")),
            "MC_KEYRING_FILE": str(layout.secret("keyring.json")),
            "MC_RECORDS_AGENT_URL": layout.url_of("records-agent"),
            "MC_FULFILMENT_AGENT_URL": layout.url_of("fulfilment-agent"),
            "MC_PUBLIC_URL": layout.url,
            "MC_SCRAPE_TOKEN_FILE": str(layout.scrape_token),
        }
        defaults = {
            "MC_REGION": "local-1",
            "MC_TRUSTED_PROXIES": HOST,  # the edge
            "MC_CATALOGUE": str(catalogue_path({})),
            policy_set.SETTING: str(policy_set.read_from(layout, checkout() / "policies")),
            "MC_SIGNER_STATE_DIR": str(layout.signer),
            "AUDIT_FILE_ENABLED": "true",
            "AUDIT_FILE_PATH": str(layout.home / "audit" / "audit.jsonl"),
        }
        if not env.get("AUDIT_SIEM_URL"):
            # A SIEM of the user's own comes with its own key; ours must not be sent to it.
            path = "/ingest" if (env.get("AUDIT_SIEM_FORMAT") or "ocsf") == "ocsf" else ""
            own["AUDIT_SIEM_URL"] = layout.url_of("siem") + path  # the receiver speaks no cef
            own["AUDIT_SIEM_KEY"] = layout.siem_key() or ""
        if known := layout.membership():
            own["MC_REGION"] = known.region
            own["MC_ARBITER_URL"] = known.arbiter_url
            own["MC_PEERS_FILE"] = str(layout.peers_file)
            if not env.get("MC_WITNESSES_FILE") and layout.witnesses_file.exists():
                own["MC_WITNESSES_FILE"] = str(layout.witnesses_file)
                own["MC_WITNESS_KEY_FILE"] = str(layout.secret("witness.key"))
        for key, value in defaults.items():
            env[key] = env.get(key) or value
        return {**env, **own}

    def _inherited(self, *, private: bool) -> dict[str, str]:
        left_out = {
            "MC_DATABASE_ADMIN_URL",
            "MC_PSEUDONYM_KEY_FILE",
            *(() if private else _FOR_THE_SERVICE_ONLY),
        }
        env = {
            key: value
            for key, value in os.environ.items()
            if key not in left_out and not key.startswith(("MC_FAULT", "MC_PORT"))
        }
        return {**env, "PYTHONUNBUFFERED": "1"}

    def _own(self, name: str) -> dict[str, str]:
        """The environment of a process that is none of the service's."""
        port = str(self.layout.port_of(name))
        return {**self._inherited(private=False), "MC_PORT": port, "MC_HOME": str(self.layout.home)}

    def _replica(self, name: str, env: Mapping[str, str], faults: Faults) -> ProcessSpec:
        own = {"MC_REPLICA": name, "MC_PORT": str(self.layout.port_of(name))}
        return replace(self._spec(name, {**env, **own}), settings=faults.settings())

    def _spec(self, name: str, env: dict[str, str]) -> ProcessSpec:
        return ProcessSpec(
            name=name,
            argv=argv_of(name, self.service),
            env=env,
            port=self.layout.port_of(name),
            ready=http_probe(self.layout.port_of(name), "/health"),
            cwd=Path.cwd(),
        )
