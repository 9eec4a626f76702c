"""One replica with its own PostgreSQL and an agent that answers what a test tells it to."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.loopback import until_answers
from tests.raw_peer import answer, raw_peer

from mc_platform.administration import migrate

ROOT = Path(__file__).parents[2]
SECRET = "s" * 43
PSEUDONYM_KEY = b"p" * 32
KEYS = {
    "TENANT_001": ("agent@tenant-001", "0123456789ab", "agent"),
    "TENANT_002": ("agent@tenant-002", "1123456789ab", "agent"),
    "PLATFORM": ("operator@platform", "2123456789ab", "operator"),
    "TENANT_GONE": ("agent@tenant-gone", "3123456789ab", "agent"),  # in no catalogue
}


@dataclass
class Replica:
    """A running replica, and what its agent answers."""

    url: str
    process: subprocess.Popen[str]
    reply: dict[str, bytes]
    admin_url: str
    _number: int = 0
    _told: queue.SimpleQueue[str] = field(default_factory=queue.SimpleQueue)

    def __post_init__(self) -> None:
        """Read what the replica writes, its log as well: a full pipe would stop it."""
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("@"):
                self._told.put(line[1:])

    def client(self, tenant: str = "TENANT_001") -> httpx.Client:
        """A client with a tenant's credential; of none with an empty name."""
        headers = {"A2A-Version": "1.0", "Content-Type": "application/json"}
        if tenant:
            headers["Authorization"] = f"Bearer mc_{KEYS[tenant][1]}_{SECRET}"
        return httpx.Client(
            base_url=self.url,
            timeout=60,
            headers=headers,
            trust_env=False,
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def message(self, parts: Any, **more: Any) -> bytes:
        """A SendMessage with these parts."""
        self._number += 1
        message = {"messageId": f"m-{self._number}", "role": "ROLE_USER", "parts": parts, **more}
        return self.call("SendMessage", {"message": message})

    @staticmethod
    def call(method: str, params: Any) -> bytes:
        """A JSON-RPC call."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        return json.dumps(call, ensure_ascii=False).encode("utf-8", "surrogatepass")

    def answers(self, parts: Any) -> None:
        """Have the agent answer with these parts from now on."""
        message = {"messageId": "r", "role": "ROLE_AGENT", "parts": parts}
        text = json.dumps({"message": message}, ensure_ascii=False)
        self.reply["result"] = text.encode("utf-8", "replace")

    def ask(self, what: str) -> Any:
        """One of the replica's own lines; see `replica.py`."""
        assert self.process.stdin is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return json.loads(self._told.get(timeout=60))


@pytest.fixture(scope="package")
def replica(
    run_postgres: Callable[[], AbstractContextManager[str]],
    free_port_block: Callable[[], AbstractContextManager[int]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Replica]:
    reply = {"result": b"null"}
    folder = tmp_path_factory.mktemp("replica")
    with (
        run_postgres() as admin_url,
        free_port_block() as port,
        raw_peer(lambda asked, connection: _agent(reply, asked, connection)) as peer,
    ):
        host = admin_url.split("@")[1].split("/")[0]
        service_url = f"postgresql://mc_service:pw@{host}/mc"
        asyncio.run(
            migrate(admin_url=admin_url, service_url=service_url, credentials=_credentials())
        )
        catalogue = ROOT / "deploy" / "local" / "catalogue.toml"
        placeholders = re.findall(r"\$\{(MC_\w+)\}", catalogue.read_text(encoding="utf-8"))
        settings = {
            **dict.fromkeys(placeholders, peer.by_address),
            "MC_DATABASE_URL": service_url,
            "MC_LEDGER_KEY_FILE": str(_key(folder / "ledger.pem")),
            "MC_PSEUDONYM_KEY_FILE": str(_pseudonym_key(folder / "pseudonyms.key")),
            "MC_CATALOGUE": str(catalogue),
            "MC_POLICY_DIR": str(ROOT / "policies"),
            "MC_PORT": str(port),
            "MC_RATE_LIMIT_PER_S": "100000",
            "MC_RATE_LIMIT_BURST": "1000000",
            "PYTHONPATH": str(ROOT),
        }
        process = subprocess.Popen(
            [sys.executable, str(Path(__file__).parent / "replica.py")],
            env={**os.environ, **settings},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        database = f"{admin_url.rpartition('/')[0]}/mc"
        made = Replica(f"http://127.0.0.1:{port}", process, reply, database)
        try:
            made.ask("longest")
            until_answers(f"{made.url}/health", process)
            yield made
        finally:
            process.terminate()
            process.wait(60)


def _agent(reply: dict[str, bytes], asked: Any, connection: Any) -> None:
    told = json.dumps(json.loads(asked.body)["id"]).encode() if asked.body else b"null"
    body = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (told, reply["result"])
    answer(body, "Content-Type: application/json")(asked, connection)


def _credentials() -> dict[str, Any]:
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    return {
        tenant: {"principal": principal, "key_id": key_id, "secret_sha256": digest, "role": role}
        for tenant, (principal, key_id, role) in KEYS.items()
    }


def _pseudonym_key(path: Path) -> Path:
    path.write_bytes(PSEUDONYM_KEY)
    return path


def _key(path: Path) -> Path:
    key = Ed25519PrivateKey.generate()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path
