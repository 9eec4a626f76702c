"""Looks for quotable digests, those of several messages in one statement.

A statement begins after each of its callers has asked, so it sees what another replica wrote a
moment before. It takes callers of the waiting tenants in turn, up to a bound of digests; a message
with more of them has a statement of its own, on another connection, so that it delays no others.
A statement that hangs holds up nobody for long: what waits is asked on one more connection then.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from mc_platform.adapters.postgres.pools import DATABASE_ERRORS, unavailable
from mc_platform.adapters.postgres.turns import joined
from mc_platform.errors import RateLimited, Unavailable
from mc_platform.model.ids import TenantId
from mc_platform.observe import metrics

_MOST_DIGESTS = 256  # of one statement for several messages
_MOST_TENANTS = 8  # as well: a digest that all of them know gives a row for each
_MOST_TASKS = 20  # that one message is told of
_MOST_WAITING = 1_000  # messages of one tenant
_WAIT_S = 5.0
_SLOW_S = 0.5  # then a statement is not waited for by others
_OWN_FAULT = (asyncpg.DataError, ValueError)
_OF_ONE_TENANT = """
SELECT tenant, digest, task_id FROM mc.quotable WHERE tenant = $1 AND digest = ANY($2::bigint[])
"""
_OF_SEVERAL = """
SELECT tenant, digest, task_id FROM mc.quotable
WHERE tenant = ANY($1::text[]) AND digest = ANY($2::bigint[])
"""
_OF_ONE_MESSAGE = f"""
SELECT DISTINCT task_id FROM mc.quotable
WHERE tenant = $1 AND digest = ANY($2::bigint[]) LIMIT {_MOST_TASKS}
"""  # noqa: S608 - a number


@dataclass(slots=True, eq=False)
class _LookUp:
    """One message's look-up, and the future that its caller awaits."""

    tenant: TenantId
    digests: Sequence[int] = field(repr=False)
    since: float
    done: asyncio.Future[list[str]] = field(repr=False)


class Quotations:
    """Finds the tasks with which digests came.

    Args:
        acquire: A connection that may read all tenants' rows.
    """

    def __init__(self, acquire: Callable[[], AbstractAsyncContextManager[Any]]) -> None:
        self._few = _Lane(acquire, together=_MOST_DIGESTS, connections=2)
        self._many = _Lane(acquire, together=0, connections=1)

    async def tasks(self, tenant: TenantId, digests: Sequence[int]) -> list[str]:
        """Ids of the tenant's tasks with which one of the digests came; a few if there are many.

        Raises:
            RateLimited: too many messages of the tenant wait already.
            Unavailable: no connection was free for too long, or the statement failed.
        """
        lane = self._few if len(digests) <= _MOST_DIGESTS else self._many
        return await lane.ask(tenant, digests)


class _Lane:
    """One statement at a time, and one more while that is slow.

    Args:
        together: Digests that one statement for several messages may have.
        connections: Statements at a time, however slow.
    """

    def __init__(
        self,
        acquire: Callable[[], AbstractAsyncContextManager[Any]],
        *,
        together: int,
        connections: int,
    ) -> None:
        self._acquire = acquire
        self._together = together
        self._connections = connections
        self._waiting: dict[TenantId, deque[_LookUp]] = {}  # in the order of turns
        self._count = 0
        self._work: dict[asyncio.Task[Any] | None, float] = {}  # since when each looks
        self._later: asyncio.TimerHandle | None = None

    async def ask(self, tenant: TenantId, digests: Sequence[int]) -> list[str]:
        """As `Quotations.tasks`."""
        queue = self._waiting.setdefault(tenant, deque())
        if len(queue) >= _MOST_WAITING:
            metrics.slots_refused.labels("look-ups", tenant).inc()
            raise RateLimited(
                f"{len(queue)} messages of tenant {tenant} wait for a look-up on this replica",
                retry_after_s=1.0,
                hint="send fewer at once, and try again in a second",
            )
        loop = asyncio.get_running_loop()
        one = _LookUp(tenant, digests, loop.time(), loop.create_future())
        queue.append(one)
        self._count += 1
        self._begin(loop)
        return await one.done

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """See that what waits is looked for: by who looks already, unless that hangs."""
        if len(self._work) >= self._connections:
            return
        if not self._work or max(self._work.values()) < loop.time() - _SLOW_S:
            self._work[loop.create_task(self._until_empty(), name="look-ups")] = loop.time()
        elif self._later is None:
            self._later = loop.call_later(_SLOW_S, self._begin_again, loop)

    def _begin_again(self, loop: asyncio.AbstractEventLoop) -> None:
        self._later = None
        if self._waiting:
            self._begin(loop)

    async def _until_empty(self) -> None:
        mine, loop = asyncio.current_task(), asyncio.get_running_loop()
        try:
            while self._waiting:
                await joined(lambda: self._count, most=self._together)
                if batch := self._next_batch():
                    self._work[mine] = loop.time()
                    await self._look(batch)
        finally:
            del self._work[mine]

    def _next_batch(self) -> list[_LookUp]:
        """Of each tenant in turn its oldest; whoever has waited for too long is told so."""
        batch: list[_LookUp] = []
        tenants: set[TenantId] = set()
        size, latest = 0, asyncio.get_running_loop().time() - _WAIT_S
        while self._waiting:
            tenant = next(iter(self._waiting))
            queue = self._waiting[tenant]
            tenants.add(tenant)
            size += len(queue[0].digests)
            if batch and (size > self._together or len(tenants) > _MOST_TENANTS):
                break
            del self._waiting[tenant]
            one = queue.popleft()
            self._count -= 1
            if queue:
                self._waiting[tenant] = queue  # at the end: the next turn is another's
            if one.since < latest:
                _fail(one, _no_connection())
            if one.done.done():  # refused, or its caller has gone
                size -= len(one.digests)
            else:
                batch.append(one)
        return batch

    async def _look(self, batch: list[_LookUp]) -> None:
        try:
            found = await self._found(batch)
        except _OWN_FAULT as error:
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            for one in batch:  # one that cannot be asked must not fail its neighbours
                await self._look([one])
        except BaseException as error:
            for one in batch:
                _fail(one, error)
            if not isinstance(error, Exception):
                raise
        else:
            for one, ids in zip(batch, found, strict=True):
                if not one.done.done():
                    one.done.set_result(ids)

    async def _found(self, batch: list[_LookUp]) -> list[list[str]]:
        tenants = list({one.tenant for one in batch})
        async with self._acquire() as connection:
            if len(batch) == 1:
                rows = await connection.fetch(_OF_ONE_MESSAGE, tenants[0], batch[0].digests)
                return [[row[0] for row in rows]]
            digests = list({digest for one in batch for digest in one.digests})
            if len(tenants) == 1:
                rows = await connection.fetch(_OF_ONE_TENANT, tenants[0], digests)
            else:
                rows = await connection.fetch(_OF_SEVERAL, tenants, digests)
        if not rows:
            return [[] for _ in batch]
        return [_own(one, rows) for one in batch]


def _own(one: _LookUp, rows: Sequence[Any]) -> list[str]:
    """Of a statement's rows those that this caller asked for, and nobody else's."""
    wanted = set(one.digests)
    ids = {row[2]: None for row in rows if row[0] == one.tenant and row[1] in wanted}
    return list(ids)[:_MOST_TASKS]


def _fail(one: _LookUp, error: BaseException) -> None:
    if one.done.done():
        return
    if not isinstance(error, Exception):
        one.done.cancel()
        return
    known = isinstance(error, (*DATABASE_ERRORS, ValueError))
    one.done.set_exception(
        unavailable("quotations cannot be looked for", error) if known else error
    )


def _no_connection() -> Unavailable:
    return Unavailable(
        f"no connection to the database became free in {_WAIT_S:g} s",
        hint="try again in a second; docs/how-to/connections.md",
    )
