"""A region's real ledger in PostgreSQL, behind the service's real audit routes."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route
from tests.fakes import handler_fields

from mc_contract.ledger.merkle import Frontier
from mc_ops.audit import AuditClient
from mc_platform.adapters.postgres.archive import archive_ledger
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.ledger import PostgresLedger
from mc_platform.adapters.postgres.migrate import database_url, migrate_schema
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.adapters.postgres.witnessing import PostgresCosignedLog
from mc_platform.errors import NotAuthenticated, PlatformError
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import PrincipalId
from mc_platform.model.tenant import PLATFORM, Principal, Role, Tenant
from mc_platform.query import AuditHandlers
from mc_platform.record import (
    CheckpointKeeper,
    EventFactory,
    Memory,
    ProcessMemory,
    Prover,
    TileKeeper,
)

TOKEN = "auditors-token"


class Loop:
    """An event loop in a thread of its own, as a service has one."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


class AppTransport(httpx.BaseTransport):
    """Sends a synchronous client's requests to an ASGI app on that loop; counts them."""

    def __init__(self, loop: Loop, app: Any) -> None:
        self._loop = loop
        self._inner = httpx.ASGITransport(app)
        self.requests: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request.url.raw_path.decode())

        async def send() -> httpx.Response:
            answer = await self._inner.handle_async_request(
                httpx.Request(request.method, request.url, headers=request.headers)
            )
            return httpx.Response(
                answer.status_code, headers=answer.headers, content=await answer.aread()
            )

        response: httpx.Response = self._loop.run(send())
        return response


class LedgerUnderTest:
    """A ledger that a test fills, tampers with as the superuser, and has verified."""

    def __init__(self, admin_url: str, loop: Loop) -> None:
        self.loop = loop
        self.admin_url = admin_url
        self.region = "test-1"
        self.former: list[str] = []
        self.database = f"mc_{uuid.uuid4().hex[:12]}"
        host = admin_url.split("@")[1].split("/", maxsplit=1)[0]
        self.service_url = f"postgresql://mc_service:pw@{host}/{self.database}"
        self.owner_url = database_url(admin_url, self.database)
        self.key = Ed25519PrivateKey.generate()
        self.public = self.key.public_key()
        self.events = EventFactory(clock=lambda: datetime.now(UTC))
        loop.run(migrate_schema(admin_url=admin_url, service_url=self.service_url))
        loop.run(self._open())

    async def _open(self) -> None:
        self.pools = Pools(database_url=self.service_url, application_name="test")
        await self.pools.open()
        self.journal = PostgresJournal(self.pools, region=self.region)
        await self.journal.start()
        self.ledger = PostgresLedger(self.pools, region=self.region)
        self.cosigned = PostgresCosignedLog(self.pools, region=self.region)
        self.tiles = TileKeeper(self.ledger)
        self.prover = Prover(self.ledger, self.tiles)
        self.restart()
        self.transport = AppTransport(self.loop, self._app())
        self._owner = await asyncpg.connect(self.owner_url)

    def restart(self, memory: Memory | None = None) -> None:
        """Have another process sign, which remembers nothing unless `memory` does."""
        self.checkpoints = CheckpointKeeper(
            region=self.region,
            keys=[self.key],
            log=self.journal,
            proof=self.prover.consistency,
            memory=memory or ProcessMemory(),
            interval_s=3600,
        )
        self.journal._committed = 0, Frontier().to_bytes()

    async def _sign_head(self) -> str:
        return await self.checkpoints.current()

    def _app(self) -> Starlette:
        def principal_of(request: Request) -> Principal:
            if request.headers.get("authorization") != f"Bearer {TOKEN}":
                raise NotAuthenticated("no")
            return Principal(PrincipalId("eve"), PLATFORM, "", Role.auditor)

        async def head(_request: Request) -> Any:
            return PlainTextResponse(await self._sign_head())

        async def refuse(_request: Request, error: Exception) -> JSONResponse:
            assert isinstance(error, PlatformError)
            return JSONResponse({"error": error.as_dict()}, status_code=error.http_status)

        tenant = Tenant(PLATFORM, "eu", frozenset(), frozenset(), 0)
        handlers = AuditHandlers(
            **handler_fields(principal_of=principal_of, tenants={PLATFORM: tenant}),
            ledger=self.ledger,
            prover=self.prover,
            sign_head=self._sign_head,
            cosigned_notes=self.cosigned.of_log,
            former={name: self._former(name) for name in self.former},
        )
        return Starlette(
            routes=[Route("/ledger/checkpoint", head), *handlers.routes()],
            exception_handlers={PlatformError: refuse},
        )

    def _former(self, name: str) -> Any:
        log = PostgresLedger(self.pools, region=name)
        return log, Prover(log, TileKeeper(log)), log.newest_note

    def reopen(self, logs: Sequence[str]) -> None:
        """Have a new process serve the region's logs; `close` was called."""
        *self.former, self.region = logs
        self.loop.run(self._open())

    def empty(self) -> None:
        """As it was at first: no entries, and no partition but the one that catches all."""
        for row in self.sql(
            "SELECT inhrelid::regclass::text AS name FROM pg_inherits "
            "WHERE inhparent = 'mc.ledger_event'::regclass"
        ):
            if row["name"] != "mc.ledger_event_default":
                self.sql(f"DROP TABLE {row['name']}")
        self.sql(
            "TRUNCATE mc.ledger_event, mc.ledger_id, mc.ledger_tile, mc.ledger_archive, "
            "mc.ledger_checkpoint, mc.ledger_cosigned, mc.witnessed_log, mc.delivery_cursor"
        )
        self.sql(
            "UPDATE mc.ledger_head SET size = 0, frontier = $1, updated_at = now()",
            Frontier().to_bytes(),
        )
        self.sql("SELECT mc.ensure_ledger_partitions()")
        self.restart()
        self.transport.requests.clear()

    def close(self) -> None:
        self.loop.run(self._owner.close())
        self.loop.run(self.journal.stop())
        self.loop.run(self.pools.close())

    def client(self, token: str = TOKEN) -> AuditClient:
        return AuditClient("http://service", token, transport=self.transport)

    def sql(self, statement: str, *arguments: Any) -> Any:
        """As the superuser, to whom no grant and no policy applies."""
        return self.loop.run(self._owner.fetch(statement, *arguments))

    def record(self, count: int, tenant: str = "TENANT_001") -> None:
        """Append events; nothing is kept or signed."""
        made = [
            self.events.event(Kind.request_accepted, tenant, str(uuid.uuid4()), reason="because")
            for _ in range(count)
        ]
        self.loop.run(self.journal.record(made))

    def record_event(self, event: Event) -> Any:
        return self.loop.run(self.journal.record([event]))

    def sign(self) -> str:
        """Store a checkpoint over the log as it is now, as the keeper does; return its note."""

        async def store() -> str:
            await self.checkpoints.store()
            return await self.checkpoints.current()

        note: str = self.loop.run(store())
        return note

    def keep_tiles(self) -> int:
        written: int = self.loop.run(self.tiles.keep())
        return written

    def grow(self, *counts: int) -> None:
        """Append, and sign after each count; then keep the tiles."""
        for count in counts:
            self.record(count)
            self.sign()
        self.keep_tiles()

    def backdate(self, below: int, at: datetime) -> None:
        """Let the entries before `below` that are not backdated yet be recorded at `at`."""
        self.sql("SELECT mc.make_ledger_partition($1)", at)
        self.sql(
            "UPDATE mc.ledger_checkpoint SET created_at = $2 "
            "WHERE size <= $1 AND created_at > now() - interval '1 hour'",
            below,
            at,
        )
        for table in ("ledger_event", "ledger_id"):
            self.sql(
                f"UPDATE mc.{table} SET recorded_at = $2 "
                "WHERE index < $1 AND recorded_at > now() - interval '1 hour'",
                below,
                at,
            )

    def archive(self, folder: Path, days: int = 30, *, delivery_configured: bool = False) -> Any:
        return self.loop.run(
            archive_ledger(
                admin_url=self.owner_url,
                older_than_days=days,
                folder=folder,
                delivery_configured=delivery_configured,
            )
        )


@pytest.fixture(scope="session")
def shared_ledger(
    run_postgres: Callable[[], AbstractContextManager[str]],
) -> Iterator[LedgerUnderTest]:
    """One ledger for all of these tests, each of which begins with it empty."""
    with run_postgres() as admin_url:
        loop = Loop()
        made = LedgerUnderTest(admin_url, loop)
        yield made
        made.close()
        loop.close()


@pytest.fixture
def ledger(shared_ledger: LedgerUnderTest) -> LedgerUnderTest:
    """A ledger without entries."""
    shared_ledger.empty()
    return shared_ledger
