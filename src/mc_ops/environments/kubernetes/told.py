"""What replicas tell of themselves in /health, to who shows the platform's scrape credential."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from mc_contract.running import Facts, facts_of
from mc_ops.environments.interface import Instance
from mc_ops.environments.workspace import Workspace
from mc_ops.service_client.client import SCRAPE_TOKEN_FILE
from mc_ops.service_client.http import HttpClient

_TIMEOUT_S = 5.0
_NOTHING = 0


@dataclass(frozen=True, slots=True)
class Told:
    """What one replica told; `status` is 0 where none answered."""

    instance: Instance
    status: int
    body: Mapping[str, Any]

    @property
    def healthy(self) -> bool:
        """Whether it can serve."""
        return self.status == httpx.codes.OK

    @property
    def word(self) -> str:
        """How it does, in its own word."""
        return str(self.body.get("status", "does not answer"))

    @property
    def faults(self) -> Mapping[str, Any]:
        """The faults that are switched on in it."""
        found = self.body.get("faults")
        return found if isinstance(found, dict) else {}

    @property
    def ships(self) -> bool:
        """Whether it, and not another replica, ships to the SIEM."""
        dependencies = self.body.get("dependencies")
        siem = dependencies.get("siem") if isinstance(dependencies, dict) else None
        return isinstance(siem, dict) and siem.get("shipper") not in (None, "standby", "starting")

    @property
    def facts(self) -> Facts:
        """What it runs, by its own word."""
        return facts_of(self.body)


def ask(instances: Iterable[Instance]) -> list[Told]:
    """Ask all of them at once."""
    token, every = _token(), list(instances)
    if not every:
        return []
    with ThreadPoolExecutor(max_workers=len(every)) as pool:
        return list(pool.map(lambda one: _ask(one, token), every))


def _ask(instance: Instance, token: str | None) -> Told:
    try:
        with HttpClient(instance.url, token, timeout_s=_TIMEOUT_S) as client:
            answer = client.ask("GET", "/health")
        body = json.loads(answer.content)
    except (httpx.HTTPError, ValueError, RecursionError):
        return Told(instance, _NOTHING, {})
    return Told(instance, answer.status_code, body if isinstance(body, dict) else {})


def _token() -> str | None:
    """The scrape credential of `MC_SCRAPE_TOKEN_FILE`, or of the workspace; None if there is none."""
    path = Path(os.environ.get(SCRAPE_TOKEN_FILE) or Workspace.from_env().scrape_token)
    try:
        return path.read_text(encoding="ascii").strip() or None
    except (OSError, ValueError):
        return None
