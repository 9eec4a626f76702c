"""The PostgreSQL side: pools, and credentials.

Two pools with one login: `tenant` stays `mc_service` and sees a tenant's rows only through
row-level security; `record` becomes `mc_recorder`, which may append to the log. With the operation
engine's connections and its lease's they are what `mc_contract.connections` budgets for a replica.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import asyncpg

from mc_contract import connections
from mc_platform.adapters.postgres.rows import read_all_times
from mc_platform.bulkheads import Slots
from mc_platform.errors import Misconfigured, RateLimited, Unavailable
from mc_platform.model.credential import Found
from mc_platform.model.ids import PrincipalId, TenantId
from mc_platform.model.tenant import Principal

P = ParamSpec("P")
R = TypeVar("R")

# InternalClientError: a connection that the server has just ended, and that does not know it yet
DATABASE_ERRORS = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
_REFUSED = (
    asyncpg.exceptions.ClientConfigurationError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
)
_ACQUIRE_TIMEOUT_S = 5.0
_COMMAND_TIMEOUT_S = 10.0
_TENANT_KEPT = 1  # for credentials, the switch, probes
_IDLE_S = 10.0  # then a connection is closed: what is used in turn is the one used last
_MOST_WAITING = 1_000  # of one tenant, for a connection


def unavailable(what: str, error: BaseException) -> Unavailable:
    """The database error as ours; its text may quote data, so only its type is told."""
    return Unavailable(
        f"{what}: {type(error).__name__}", hint="see the dependency `postgres` in /health"
    )


def wrapped(
    what: str,
) -> Callable[[Callable[P, Coroutine[Any, Any, R]]], Callable[P, Coroutine[Any, Any, R]]]:
    """Turn database errors of an async method into `Unavailable`."""

    def decorate(
        method: Callable[P, Coroutine[Any, Any, R]],
    ) -> Callable[P, Coroutine[Any, Any, R]]:
        @wraps(method)
        async def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return await method(*args, **kwargs)
            except DATABASE_ERRORS as error:
                raise unavailable(what, error) from error

        return call

    return decorate


async def _become_recorder(connection: Any) -> None:
    await read_all_times(connection)
    await connection.execute("SET ROLE mc_recorder")


async def _no_reset(_connection: Any) -> None:
    """Asyncpg's reset would drop SET ROLE; what our transactions set is local to them."""


class _Pool(asyncpg.Pool):
    """A pool in which nothing waits for a connection without end."""

    def acquire(self, *, timeout: float | None = None) -> Any:
        """As asyncpg's, after `_ACQUIRE_TIMEOUT_S` with a TimeoutError."""
        return super().acquire(timeout=_ACQUIRE_TIMEOUT_S if timeout is None else timeout)


class _RecordPool(_Pool):
    """A pool whose last connection is the ledger's writer's, however slow all others are."""

    def __init__(self, *connect_args: Any, **options: Any) -> None:
        super().__init__(*connect_args, **options)
        self._others = asyncio.Semaphore(connections.RECORD - 1)

    def acquire(self, *, timeout: float | None = None) -> Any:
        """A connection for anyone else; raises as the other pool."""
        return self._one_of_others(_ACQUIRE_TIMEOUT_S if timeout is None else timeout)

    @asynccontextmanager
    async def _one_of_others(self, wait_s: float) -> AsyncIterator[Any]:
        if self._others.locked():
            async with asyncio.timeout(wait_s):
                await self._others.acquire()
        else:
            await self._others.acquire()
        try:
            async with super().acquire(timeout=wait_s) as connection:
                yield connection
        finally:
            self._others.release()

    def acquire_to_write(self) -> Any:
        """The writer's connection, of which one is used at a time."""
        return super().acquire()


def _slots(kind: str, total: int) -> Slots:
    return Slots(
        kind,
        per_tenant=max(1, total * 3 // 4),
        total=total,
        wait_s=_ACQUIRE_TIMEOUT_S,
        most_waiting=_MOST_WAITING,
    )


@asynccontextmanager
async def _share(slots: Slots, tenant: TenantId) -> AsyncIterator[None]:
    """A place of the tenant's share; waiting for it is bounded.

    Raises:
        RateLimited: the tenant has its share already.
        Unavailable: it has not, and no connection became free: others, or the server, are slow.
    """
    try:
        slot = await slots.take(tenant)
    except RateLimited as error:
        if slots.taken(tenant) >= slots.per_tenant:
            raise
        raise Unavailable(
            f"no connection to the database became free in {_ACQUIRE_TIMEOUT_S:g} s",
            hint="try again in a second; docs/how-to/connections.md",
        ) from error
    try:
        yield
    finally:
        slot.release()


class Pools:
    """The process's connections. `open` before use, `close` at the end."""

    def __init__(self, *, database_url: str, application_name: str) -> None:
        self._url = database_url
        self._name = application_name
        self.tenant: asyncpg.Pool[Any]
        self.record: asyncpg.Pool[Any]
        # Queries are short, so waiting tenants take turns
        self._reading = _slots("reads", connections.TENANT - _TENANT_KEPT)

    async def open(self) -> None:
        """Connect both pools.

        Raises:
            Misconfigured: the URL is malformed, or the server refuses the role.
            Unavailable: the server does not answer.
        """
        try:
            self.tenant = await self._pool(_Pool, read_all_times, connections.TENANT)
            self.record = await self._pool(_RecordPool, _become_recorder, connections.RECORD)
        except _REFUSED as error:
            raise Misconfigured(
                f"MC_DATABASE_URL is not usable: {type(error).__name__}",
                hint="form: postgresql://mc_service:PASSWORD@HOST:PORT/mc; "
                "`python -m mc_platform migrate` makes role and database",
            ) from error
        except DATABASE_ERRORS as error:
            raise Unavailable(
                f"cannot connect to the database: {type(error).__name__}",
                hint="is the server of MC_DATABASE_URL up?",
            ) from error

    async def _pool(self, kind: Any, init: Any, most: int) -> asyncpg.Pool[Any]:
        made: asyncpg.Pool[Any] = await kind(
            self._url,
            min_size=1,
            max_size=most,
            max_queries=50_000,
            max_inactive_connection_lifetime=_IDLE_S,
            setup=None,
            init=init,
            reset=_no_reset,
            loop=None,
            connection_class=asyncpg.Connection,
            record_class=asyncpg.Record,
            timeout=_ACQUIRE_TIMEOUT_S,
            command_timeout=_COMMAND_TIMEOUT_S,
            server_settings={"application_name": self._name},
        )
        return made

    async def close(self) -> None:
        """Close both pools, waiting for what is under way."""
        await self.tenant.close()
        await self.record.close()

    @asynccontextmanager
    async def reading(self, tenant: TenantId) -> AsyncIterator[Any]:
        """A connection of the service's role, out of the tenant's share.

        Raises:
            RateLimited: the tenant's own reads have taken its share for too long.
            Unavailable: other tenants' have.
        """
        async with _share(self._reading, tenant), self.tenant.acquire() as connection:
            yield connection

    @asynccontextmanager
    async def as_tenant(self, tenant: TenantId) -> AsyncIterator[Any]:
        """A connection inside a transaction that row-level security binds to `tenant`.

        Raises:
            RateLimited: as `reading`.
        """
        async with self.reading(tenant) as connection, connection.transaction(readonly=True):
            await connection.execute("SELECT set_config('mc.tenant', $1, true)", tenant)
            yield connection

    def looking_up(self) -> Any:
        """A connection that may read all tenants' rows; nobody waits for it without end."""
        return self.record.acquire()

    def writing(self) -> Any:
        """The connection of the ledger's writer, of which one flush at a time is under way."""
        record: Any = self.record
        return record.acquire_to_write()

    async def alive(self) -> bool:
        """Whether the server answers a query now."""
        try:
            return await self.tenant.fetchval("SELECT true", timeout=2.0) is True
        except DATABASE_ERRORS:
            return False


class PostgresDirectory:
    """Credentials at rest; implements `ports.Directory`."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    @wrapped("credentials cannot be read")
    async def find(self, key_id: str) -> Found | None:
        row = await self._pools.tenant.fetchrow(
            "SELECT secret_sha256, tenant, principal, role, scopes, "
            "extract(epoch FROM expires_at - clock_timestamp())::float8 AS valid_for_s "
            "FROM mc.credential WHERE key_id = $1 AND (revoked_at IS NULL) "
            "AND (expires_at IS NULL OR expires_at > clock_timestamp())",
            key_id,
        )
        if row is None:
            return None
        principal = Principal(
            id=PrincipalId(row["principal"]),
            tenant=TenantId(row["tenant"]),
            key_id=key_id,
            role=row["role"],
            scopes=None if row["scopes"] is None else frozenset(row["scopes"]),
        )
        return Found(bytes(row["secret_sha256"]), principal, row["valid_for_s"])
