"""What the engine's tests run against: a real PostgreSQL, and a real HTTP receiver of effects."""

from __future__ import annotations

import json
import threading
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.unit.mc_platform.enact.replicas import Replica

from mc_platform.enact import migrate_engine
from mc_platform.model.catalogue import Catalogue, parse_catalogue

_LEASES = Path(__file__).parents[4] / "src/mc_platform/migrations/0005_leases.sql"
_CATALOGUE = Path(__file__).parents[4] / "deploy" / "local" / "catalogue.toml"
_UNDO = {
    "/stock/reservations/cancel": "/stock/reservations",
    "/payments/refunds": "/payments/charges",
    "/courier/bookings/cancel": "/courier/bookings",
}
_ID_NAMES = {
    "/stock/reservations": "reservation_id",
    "/payments/charges": "charge_id",
    "/courier/bookings": "booking_id",
}


class Receiver:
    """The fulfilment endpoints over real HTTP; honours `Idempotency-Key`, fails as scripted.

    `script[path]` is a list of what happens to the next new requests there: a status to answer
    without effect, or `"drop"`: have the effect and close the connection without an answer.
    `contents[path]` is what is answered there, byte for byte, after the effect.
    A `Gate` in `gates[path]` holds a request after its effect, before its answer.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.script: dict[str, list[int | str]] = {}
        self.gates: dict[str, Gate] = {}
        self.contents: dict[str, bytes] = {}
        self.applied: dict[str, int] = {}
        self.undone: list[str] = []
        self._answers: dict[str, tuple[int, dict[str, Any]]] = {}
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = receiver.handle(self.path, self.headers["Idempotency-Key"], body)
                if answer is None:
                    self.close_connection = True
                    return
                status, value = answer
                content = receiver.contents.get(self.path) or json.dumps(value).encode()
                try:
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True  # the caller was killed meanwhile

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        for gate in self.gates.values():
            gate.open.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def standing(self) -> list[str]:
        """Keys of effects that happened and are not undone."""
        return [key for key in self.applied if key not in self.undone]

    def forget(self) -> None:
        """Lose the idempotency keys, as a receiver does that keeps them for too short a time."""
        with self._lock:
            self._answers.clear()

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.calls]

    def handle(
        self, path: str, key: str, body: dict[str, Any]
    ) -> tuple[int, dict[str, Any]] | None:
        with self._lock:
            self.calls.append((path, key, body))
            if key in self._answers:
                return self._answers[key]
            planned = self.script.get(path)
            what = planned.pop(0) if planned else None
            if isinstance(what, int):
                return what, {"error": "scripted", "echo": body}
            answer = self._undo(path, key, body) if path in _UNDO else self._do(path, key, body)
            if answer[0] < 300:
                self._answers[key] = answer
        gate = self.gates.get(path)
        if gate is not None:
            gate.arrived.set()
            gate.open.wait(300)  # `close` lets it go
        return None if what == "drop" else answer

    def _do(self, path: str, key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if path == "/courier/bookings" and body.get("item") == "unbookable":
            return 409, {"error": "no courier", "echo": body}
        self.applied[key] = self.applied.get(key, 0) + 1
        return 201, {_ID_NAMES[path]: f"id-{len(self.applied)}"}

    def _undo(self, path: str, key: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        effect = body["effect_key"]
        if effect not in self.applied:
            return 404, {"error": "unknown effect"}
        self.undone.append(effect)
        return 200, {}


class Gate:
    """Holds requests: `arrived` tells that one is there, setting `open` lets all go."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        self.open = threading.Event()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def gate() -> type[Gate]:
    return Gate


@pytest.fixture
def catalogue(receiver: Receiver) -> Catalogue:
    """The local environment's own catalogue, pointed at the receiver."""
    return parse_catalogue(tomllib.loads(catalogue_text(receiver.url)))


def catalogue_text(url: str) -> str:
    text = _CATALOGUE.read_text(encoding="utf-8")
    return text.replace("${MC_FULFILMENT_AGENT_URL}", url).replace("${MC_RECORDS_AGENT_URL}", url)


@pytest.fixture(scope="session")
def postgres(run_postgres: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """URL of the superuser of a PostgreSQL for the engine's tests alone."""
    with run_postgres() as url:
        yield url


@pytest.fixture(scope="session")
def engine_url(postgres: str) -> str:
    """URL of the service's role, which may use the migrated engine schema and no more."""
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE ROLE mc_owner LOGIN")
        connection.execute("CREATE ROLE mc_service LOGIN")
        connection.execute("CREATE DATABASE mc OWNER mc_owner")
    owner = postgres.replace("postgres@", "mc_owner@").removesuffix("/postgres") + "/mc"
    migrate_engine(owner, "mc_service")
    migrate_engine(owner, "mc_service")
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE ledger (index bigserial, id text PRIMARY KEY, kind text, detail text)"
        )
        connection.execute(
            "CREATE TABLE task_states (id text PRIMARY KEY, state text, status text)"
        )
        connection.execute("GRANT ALL ON ledger, ledger_index_seq, task_states TO mc_service")
        connection.execute("CREATE SCHEMA mc")
        connection.execute("GRANT USAGE ON SCHEMA mc TO mc_service")
        connection.execute(_LEASES.read_text(encoding="utf-8"))
    return owner.replace("mc_owner@", "mc_service@")


@pytest.fixture
def replica_of(engine_url: str, receiver: Receiver) -> Iterator[Callable[..., Replica]]:
    """Starts replicas by name, with the receiver behind them; they end with the test."""
    with ExitStack() as stack:

        def start(name: str, *requests: dict[str, Any], **more: Any) -> Replica:
            made = Replica(engine_url, catalogue_text(receiver.url), name, *requests, **more)
            stack.callback(made.kill)
            return made

        yield start
