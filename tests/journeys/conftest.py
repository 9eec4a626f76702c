"""A whole platform of real processes, started once for the journeys that may share it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests import forked

ROOT = Path(__file__).parents[2]
GOVERNANCE = "urn:mc-platform:a2a:governance:1"


@dataclass(frozen=True)
class Answer:
    """One HTTP answer: its status, and its JSON (None when it is not JSON)."""

    status: int
    body: Any
    headers: Any

    @property
    def task(self) -> dict[str, Any]:
        return self.body["result"]["task"]

    @property
    def text(self) -> str:
        return self.task["artifacts"][0]["parts"][0]["text"]

    @property
    def governance(self) -> dict[str, Any]:
        return self.task["metadata"][GOVERNANCE]


class Platform:
    """What a test does with a running platform: by HTTP and by `mcctl`, as any user could."""

    def __init__(self, home: Path, port: int) -> None:
        self.home = home
        self.cwd = ROOT
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.env = {
            **os.environ,
            "MC_HOME": str(home),
            "MC_EDGE_PORT": str(port),
            "NO_COLOR": "1",
            "COLUMNS": "200",
        }
        for name in ("MC_DATABASE_URL", "SLACK_WEBHOOK_URL", "AUDIT_SIEM_URL"):
            self.env.pop(name, None)

    def mcctl(
        self, *args: str, check: bool = True, **more: str
    ) -> subprocess.CompletedProcess[str]:
        command = [forked.MCCTL, *args]
        done = forked.run(command, cwd=self.cwd, env={**self.env, **more}, timeout=600)
        if check and done.returncode != 0:
            raise AssertionError(
                f"mcctl {' '.join(args)}: {done.returncode}\n{done.stdout}{done.stderr}"
            )
        return done

    def token(self, tenant: str) -> str:
        credentials = json.loads((self.home / "secrets" / "credentials.json").read_text())
        return str(credentials[tenant]["token"])

    def post(
        self,
        content: bytes,
        *,
        tenant: str | None = "TENANT_001",
        token: str | None = None,
        path: str = "/a2a",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        sent = {"Content-Type": "application/json", "A2A-Version": "1.0", **(headers or {})}
        bearer = token if token is not None else self.token(tenant) if tenant else None
        if bearer is not None:
            sent["Authorization"] = f"Bearer {bearer}"
        answer = httpx.post(self.url + path, content=content, headers=sent, timeout=60)
        try:
            body = answer.json()
        except ValueError:
            body = None
        return Answer(answer.status_code, body, answer.headers)

    def rpc(self, method: str, params: dict[str, Any], **more: Any) -> Answer:
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return self.post(json.dumps(call).encode(), **more)

    def ask(
        self,
        what: str | dict[str, Any],
        *,
        message_id: str | None = None,
        configuration: dict[str, Any] | None = None,
        tenant: str = "TENANT_001",
        context: str = "",
        references: tuple[str, ...] = (),
        more: tuple[dict[str, Any], ...] = (),
        **governance: Any,
    ) -> Answer:
        part = {"text": what} if isinstance(what, str) else {"data": what}
        message: dict[str, Any] = {
            "messageId": message_id or str(uuid.uuid4()),
            "role": "ROLE_USER",
            "parts": [part, *more],
            "metadata": {GOVERNANCE: governance},
            "referenceTaskIds": list(references),
        }
        if context:
            message["contextId"] = context
        params: dict[str, Any] = {"message": message}
        if configuration:
            params["configuration"] = configuration
        return self.rpc("SendMessage", params, tenant=tenant)

    def order(self, tenant: str = "TENANT_001", **more: Any) -> Answer:
        """`place-order`; `item="unbookable"` makes its third step fail."""
        names = ("configuration", "message_id", "context", "references", "more")
        sent = {name: more.pop(name) for name in names if name in more}
        return self.ask(
            {
                "item": "widget",
                "quantity": 1,
                "customer": "C-1001",
                "amount_cents": 1200,
                "address_ref": "A-1",
                **more,
            },
            tenant=tenant,
            operation="place-order",
            purpose="fulfilment",
            **sent,
        )

    def task(self, task_id: str, tenant: str = "TENANT_001") -> dict[str, Any]:
        return self.rpc("GetTask", {"id": task_id}, tenant=tenant).body["result"]

    def metrics(self, replica: str | None = None) -> str:
        port = self.port if replica is None else self.record(replica)["port"]
        return httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=60).text

    def metric(self, line_start: str) -> float:
        """The value of the series that begins so; 0 when there is none."""
        for line in self.metrics().splitlines():
            if line.startswith(line_start):
                return float(line.rsplit(" ", 1)[1])
        return 0.0

    def log(self, name: str = "blue-1") -> list[str]:
        return (self.home / "log" / f"{name}.log").read_text().splitlines()

    def record(self, name: str) -> dict[str, Any]:
        return json.loads((self.home / "run" / f"{name}.json").read_text())

    def effects(self, task_id: str = "") -> list[dict[str, Any]]:
        """Every effect and every undo at the receiver, in order; of one task if it is named."""
        port = self.record("fulfilment-agent")["port"]
        effects = httpx.get(f"http://127.0.0.1:{port}/effects", timeout=60).json()["effects"]
        return [effect for effect in effects if effect["key"].startswith(task_id)]

    def siem_events(self) -> list[dict[str, Any]]:
        """What the SIEM got, each event once: delivery is at least once, and a SIEM dedupes."""
        path = self.home / "siem" / "events.jsonl"
        # What stands after the last line's end is being written
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        events = map(json.loads, lines)
        return list({event["metadata"]["uid"]: event for event in events}.values())

    def ledger(self, subject: str) -> list[dict[str, Any]]:
        """Recorded events about a task or operation, as the SIEM received them, in log order."""
        events = [event["unmapped"] for event in self.siem_events()]
        return [
            event
            for event in events
            if subject in (event["detail"].get("subject"), event["detail"].get("operation_id"))
        ]


@contextmanager
def platforms(
    free_port_block: Callable[[], AbstractContextManager[int]],
) -> Iterator[Callable[..., Platform]]:
    started: list[Platform] = []
    stack = ExitStack()

    def start(*args: str, **env: str) -> Platform:
        home = Path(tempfile.mkdtemp(prefix="mc-journey-"))
        home.chmod(0o711)
        platform = Platform(home, stack.enter_context(free_port_block()))
        platform.env.update(env)
        started.append(platform)
        platform.mcctl("up", *args)
        return platform

    try:
        yield start
    finally:
        for platform in started:
            platform.mcctl("down", check=False)
            shutil.rmtree(platform.home, ignore_errors=True)
        stack.close()


@pytest.fixture(scope="module")
def start_platform(
    free_port_block: Callable[[], AbstractContextManager[int]],
) -> Iterator[Callable[..., Platform]]:
    """Starts platforms of their own; all are stopped and removed when the module is done."""
    with platforms(free_port_block) as start:
        yield start


@pytest.fixture(scope="package")
def platform(free_port_block: Callable[[], AbstractContextManager[int]]) -> Iterator[Platform]:
    """The platform that journeys share; a test that breaks it mends it.

    It ends with the last journey of its worker: idle, it would take 4 % of a core from all other tests.
    """
    with platforms(free_port_block) as start:
        yield start()
