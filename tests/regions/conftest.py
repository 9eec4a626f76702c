"""Two regions on one machine: two databases, two replicas of the service, one arbiter, one receiver.

The regions share nothing but the arbiter, their catalogue, their keys and their credentials. Those of
`regions` have only what each wrote itself; those of `replicated_regions` replicate to each other, those of
`regions_by_person` too, and have no arbiter.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests import forked, ports
from tests.link import Link, link_to

from mc_platform.adapters.postgres import replication
from mc_platform.administration import migrate, migrate_arbiter

ROOT = Path(__file__).parents[2]
GOVERNANCE = "urn:mc-platform:a2a:governance:1"
_PLACED = {
    "/stock/reservations": "reservation_id",
    "/payments/charges": "charge_id",
    "/courier/bookings": "booking_id",
}


@dataclass(frozen=True)
class Call:
    """What a receiver was asked."""

    path: str
    key: str
    term: str | None


class Receiver:
    """Fulfilment that records each call with its fencing token, and has one effect for each key.

    `hold` keeps calls from being answered; those of `refused` paths are answered 409.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.held = ""
        self.refused: set[str] = set()
        self.standing: dict[str, str] = {}  # path by key
        self.undone: list[str] = []
        self._answers: dict[str, int] = {}
        self.arrived = threading.Event()
        self.open = threading.Event()
        self.open.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                told = self.headers["MC-Home-Term"]
                key = self.headers["Idempotency-Key"]
                receiver.calls.append(Call(self.path, key, told))
                status = receiver.handle(self.path, key)
                if self.path.startswith(receiver.held):
                    receiver.arrived.set()
                    receiver.open.wait(120)
                content = json.dumps({_PLACED.get(self.path, "done"): "id-1"}).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def handle(self, path: str, key: str) -> int:
        """Have the effect, or undo it; the status, which is the same for each repeat of a key."""
        if path in self.refused:
            return 409
        if key not in self._answers:
            self._answers[key] = 201
            effect = key.removesuffix(":undo") + ":do"
            if path in _PLACED:
                self.standing[key] = path
            elif key.endswith(":undo"):
                self._answers[key] = 201 if self.standing.pop(effect, None) else 404
                self.undone += [key] if self._answers[key] == 201 else []
        return self._answers[key]

    def hold(self, path: str = "") -> None:
        """From now on calls there are recorded and not answered, until `open` is set."""
        self.held = path
        self.arrived.clear()
        self.open = threading.Event()

    def close(self) -> None:
        self.open.set()
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Region:
    """One region's replica as a process."""

    name: str
    url: str
    env: dict[str, str]
    tokens: dict[str, str]
    log: Path
    admin_url: str
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mc_platform", "serve"],
                env=self.env,
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def signal(self, what: signal.Signals) -> None:
        self.process.send_signal(what)

    def call(self, method: str, path: str, *, who: str = "TENANT_001", **more: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[who]}", "A2A-Version": "1.0"}
        headers |= more.pop("headers", {})
        return httpx.request(
            method, self.url + path, headers=headers, timeout=60, trust_env=False, **more
        )

    def rpc(self, method: str, params: dict[str, Any], **more: Any) -> Any:
        call = {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}
        return self.call("POST", "/a2a", json=call, **more)

    def order(self, message_id: str | None = None, *, at_once: bool = False, **more: Any) -> Any:
        return self.rpc("SendMessage", order(message_id, at_once=at_once), **more)

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Of its database, as its owner."""
        url = self.admin_url.rpartition("/")[0] + f"/mc_{self.name[0]}"
        with psycopg.connect(url, autocommit=True) as connection:
            done = connection.execute(statement, values)
            return done.fetchall() if done.description else []

    def homes(self) -> dict[str, Any]:
        told = self.call("GET", "/operator/homes", who="OPERATOR").json()
        return {one["tenant"]: one for one in told["homes"]}

    def move(self, tenant: str, to: str, **more: Any) -> Any:
        body = {"tenant": tenant, "to": to, "reason": "a rehearsal", **more}
        return self.call("POST", "/operator/homes/move", who="OPERATOR", json=body)

    def figure(self, name: str) -> float:
        lines = self.call("GET", "/metrics", who="OPERATOR").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    def recorded(self, kind: str) -> list[dict[str, Any]]:
        told = self.call("GET", "/audit/entries?limit=1000", who="OPERATOR").json()
        leaves = [json.loads(base64.b64decode(entry["leaf"])) for entry in told["entries"]]
        return [leaf for leaf in leaves if leaf["kind"] == kind]


def mcctl(region: Region, folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """The command against a region, as its operator."""
    token = folder / "token"
    token.write_text(region.tokens["OPERATOR"])
    env = {**os.environ, "MC_TOKEN_FILE": str(token), "NO_COLOR": "1", "COLUMNS": "200"}
    return forked.run([forked.MCCTL, *args, "--url", region.url], env=env)


def order(message_id: str | None = None, *, at_once: bool = False) -> dict[str, Any]:
    """The parameters of a message that places an order."""
    data = {"item": "kettle", "quantity": 1, "customer": "C-1", "amount_cents": 5}
    message = {
        "messageId": message_id or str(uuid.uuid4()),
        "role": "ROLE_USER",
        "parts": [{"data": {**data, "address_ref": "A-1"}}],
        "metadata": {GOVERNANCE: {"operation": "place-order", "purpose": "fulfilment"}},
    }
    return {"message": message, "configuration": {"returnImmediately": at_once}}


@dataclass(frozen=True)
class TwoRegions:
    a: Region
    b: Region
    receiver: Receiver
    arbiter_admin_url: str
    arbiter_url: str
    links: dict[str, Link]  # by which the other one reads a region's database


def made_credentials() -> tuple[dict[str, Any], dict[str, str]]:
    made, tokens = {}, {}
    for name, tenant, role in (
        ("TENANT_001", "TENANT_001", "agent"),
        ("TENANT_002", "TENANT_002", "agent"),
        ("TENANT_003", "TENANT_003", "agent"),
        ("OPERATOR", "PLATFORM", "operator"),
    ):
        key, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
        digest = hashlib.sha256(secret.encode()).hexdigest()
        entry = {"key_id": key, "secret_sha256": digest, "tenant": tenant, "role": role}
        made[name] = {**entry, "principal": f"{name.lower()}@example"}
        tokens[name] = f"mc_{key}_{secret}"
    return made, tokens


@pytest.fixture(scope="module")
def regions(
    run_postgres: Callable[[], AbstractContextManager[str]],
    tmp_path_factory: pytest.TempPathFactory,
    wait_until: Callable[..., object],
) -> Iterator[TwoRegions]:
    """Both serve; region a-1 has every home."""
    folder = tmp_path_factory.mktemp("regions")
    with _two_regions(run_postgres, folder, wait_until, replicated=False) as made:
        yield made


@pytest.fixture(scope="module")
def replicated_regions(
    run_postgres: Callable[[], AbstractContextManager[str]],
    tmp_path_factory: pytest.TempPathFactory,
    wait_until: Callable[..., object],
) -> Iterator[TwoRegions]:
    """The same, each with a server of its own, and what either writes comes to the other."""
    folder = tmp_path_factory.mktemp("replicated")
    with _two_regions(run_postgres, folder, wait_until, replicated=True) as made:
        yield made


@pytest.fixture(scope="module")
def regions_by_person(
    run_postgres: Callable[[], AbstractContextManager[str]],
    tmp_path_factory: pytest.TempPathFactory,
    wait_until: Callable[..., object],
) -> Iterator[TwoRegions]:
    """They replicate and have no arbiter; no tenant has a home yet."""
    folder = tmp_path_factory.mktemp("by-person")
    with _two_regions(run_postgres, folder, wait_until, replicated=True, arbiter=False) as made:
        yield made


def _replicate(admin_urls: dict[str, str], links: dict[str, Link]) -> None:
    """Each subscribes to the other; the first can only once the second publishes."""
    names = list(admin_urls)
    for own in [*names, names[0]]:
        peer = next(name for name in names if name != own)
        at = f"127.0.0.1:{links[peer].port}"
        way = f"postgresql://{replication.ROLE}:secret@{at}/mc_{peer[0]}"
        peering = replication.Peering(own, peer, "secret", way, passfile="/nonexistent")
        service_url = f"postgresql://mc_service:secret@{_server(admin_urls[own])}/mc_{own[0]}"
        asyncio.run(
            replication.set_up(admin_url=admin_urls[own], service_url=service_url, peering=peering)
        )


def _server(admin_url: str) -> str:
    return admin_url.partition("@")[2].partition("/")[0]


@contextmanager
def _two_regions(
    run_postgres: Callable[[], AbstractContextManager[str]],
    folder: Path,
    wait_until: Callable[..., object],
    *,
    replicated: bool,
    arbiter: bool = True,
) -> Iterator[TwoRegions]:
    key = folder / "ledger.pem"
    key.write_bytes(
        Ed25519PrivateKey.generate().private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )
    )
    credentials, tokens = made_credentials()
    receiver = Receiver()
    with ExitStack() as stack:
        stack.callback(receiver.close)
        admin_url = stack.enter_context(run_postgres())
        other = stack.enter_context(run_postgres()) if replicated else admin_url
        admin_urls = {"a-1": admin_url, "b-1": other}
        first = stack.enter_context(ports.free_block())
        arbiter_url = f"postgresql://mc_arbiter:secret-of-it@{_server(admin_url)}/mc_arbiter"
        asyncio.run(migrate_arbiter(admin_url=admin_url, arbiter_url=arbiter_url))
        found = {}
        addresses = {"a-1": first, "b-1": first + 1}
        for name, port in addresses.items():
            at = admin_urls[name]
            database = f"postgresql://mc_service:secret@{_server(at)}/mc_{name[0]}"
            asyncio.run(migrate(admin_url=at, service_url=database, credentials=credentials))
            peers = folder / f"peers-{name}.json"
            peer = next(one for one in addresses if one != name)
            url = f"http://127.0.0.1:{addresses[peer]}"
            peers.write_text(json.dumps({"peers": [{"region": peer, "url": url}]}))
            env = {
                **{k: v for k, v in os.environ.items() if not k.startswith(("MC_", "AUDIT_"))},
                "MC_DATABASE_URL": database,
                **({"MC_ARBITER_URL": arbiter_url} if arbiter else {}),
                "MC_PEERS_FILE": str(peers),
                "MC_REGION": name,
                "MC_REPLICA": f"{name}-blue-1",
                "MC_PORT": str(port),
                "MC_LEDGER_KEY_FILE": str(key),
                "MC_CATALOGUE": str(ROOT / "deploy/local/catalogue.toml"),
                "MC_POLICY_DIR": str(ROOT / "policies"),
                "MC_FULFILMENT_AGENT_URL": receiver.url,
                "MC_RECORDS_AGENT_URL": receiver.url,
                "MC_WORKER_PROCESSES": "1",
                "MC_OPERATION_WAIT_S": "20",
            }
            region = Region(
                name, f"http://127.0.0.1:{port}", env, tokens, folder / f"{name}.log", at
            )
            found[name] = region
        links = {}
        if replicated:
            for name, url in admin_urls.items():
                at = urlsplit(url)
                links[name] = stack.enter_context(link_to(at.hostname, at.port))
            _replicate(admin_urls, links)
        for name, region in found.items():
            region.start()
            stack.callback(region.kill)
            wait_until(lambda region=region: serves(region), what=f"{name} serves")
        yield TwoRegions(found["a-1"], found["b-1"], receiver, admin_url, arbiter_url, links)


def serves(region: Region) -> bool:
    assert region.process.poll() is None, region.log.read_text()[-3000:]
    try:
        answer = httpx.get(f"{region.url}/health", timeout=5, trust_env=False)
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and answer.json()["dependencies"]["homes"]["state"] == "ok"
