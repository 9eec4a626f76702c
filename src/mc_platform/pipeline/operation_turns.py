"""What a tenant has enacted in the last hour, counted in turns: its requests do not pass each other."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import timedelta

from mc_platform.model.catalogue import OperationSpec
from mc_platform.model.tenant import Tenant
from mc_platform.ports import Budgets, Clock

_COUNTED = timedelta(hours=1)


class OperationTurns:
    """Turns of the requests of one replica for operations of a tenant that has a budget of them.

    Between replicas there are no turns: as many may exceed the budget as there are replicas.
    """

    def __init__(self, *, tenants: Iterable[Tenant], budgets: Budgets, clock: Clock) -> None:
        self._budgets = budgets
        self._clock = clock
        self._turns = {
            tenant.id: asyncio.Lock()
            for tenant in tenants
            if tenant.operations_per_hour is not None
        }

    def of(self, tenant: Tenant, operation: OperationSpec | None) -> _Turn:
        """For `async with`: gives what was enacted; 0, at once, where nothing bounds it."""
        return _Turn(self, tenant, None if operation is None else self._turns.get(tenant.id))

    async def enacted(self, tenant: Tenant) -> int:
        """Operations of the tenant that were enacted in the last hour."""
        return await self._budgets.operations_since(tenant.id, self._clock() - _COUNTED)


class _Turn:
    """A class and no generator, as each message passes here, most of them with nothing to wait for."""

    __slots__ = ("_lock", "_tenant", "_turns")

    def __init__(self, turns: OperationTurns, tenant: Tenant, lock: asyncio.Lock | None) -> None:
        self._turns = turns
        self._tenant = tenant
        self._lock = lock

    async def __aenter__(self) -> int:
        if self._lock is None:
            return 0
        await self._lock.acquire()
        try:
            return await self._turns.enacted(self._tenant)
        except BaseException:
            self._lock.release()
            raise

    async def __aexit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()
