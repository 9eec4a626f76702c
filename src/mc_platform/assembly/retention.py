"""Removes what is older than it is kept: one replica at a time, in batches, told to the ledger.

    quotations   seven days after the week in which they were told; whole weeks are dropped
    engine       eight days after the operation's end, unless it is stuck and not resolved
    tasks        the tenant's `retention_days`, else the platform's, after their last change
    checkpoints  those of archived entries, but for the last of each day

`docs/explanation/retention.md` says what stays, and what a message id means once its task is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

import structlog

from mc_platform.adapters.postgres.retention import PostgresRetention
from mc_platform.enact import OperationEngine, operation_of
from mc_platform.model.catalogue import LEAST_RETENTION_DAYS
from mc_platform.model.event import Kind
from mc_platform.model.ids import TenantId
from mc_platform.model.tenant import PLATFORM, Tenant
from mc_platform.observe import metrics
from mc_platform.ports import Clock, Journal
from mc_platform.record import EventFactory

_LEAST = timedelta(days=LEAST_RETENTION_DAYS)
_ENGINE_KEPT = timedelta(days=8)  # no operation may take longer than seven
_BATCH, _ENGINE_BATCH, _TOLD_AT_ONCE = 2000, 200, 200
_log = structlog.get_logger()


class TurnLost(Exception):
    """Another replica has taken the turn; what it finds it does."""


@dataclass(frozen=True, kw_only=True)
class Retention:
    """Keeps the platform's data as long as its catalogue says.

    Attributes:
        tenants: Those whose tasks are removed: of a tenant that is in no catalogue nothing is.
        days: How long tasks are kept of a tenant that says nothing.
        interval_s: How long after the end of a run the next one is due.
        window_s: What the breaker looks back at: tasks are kept for as long, at least.
        pause_s: Between two batches, so that requests find the database free.
    """

    rows: PostgresRetention
    engine: OperationEngine
    journal: Journal
    events: EventFactory
    clock: Clock
    tenants: Iterable[Tenant]
    days: int
    interval_s: float
    window_s: float
    pause_s: float = 0.05
    _kept: Mapping[TenantId, timedelta] = field(init=False)

    def __post_init__(self) -> None:
        least = max(_LEAST, timedelta(seconds=self.window_s))
        kept = {
            tenant.id: max(timedelta(days=tenant.retention_days or self.days), least)
            for tenant in self.tenants
            if tenant.id != PLATFORM
        }
        object.__setattr__(self, "_kept", kept)

    async def look(self) -> None:
        """Do all that is due, if this replica gets the turn.

        Raises:
            Unavailable: the database does not answer; the next run goes on with what is left.
        """
        run = await self.rows.begin()
        if run is None:
            return
        try:
            await self._tell()  # what a run before this one removed and could not tell
            await self._run(run)
        except TurnLost:
            _log.warning("retention_turn_lost")
            return
        await self._tell()
        await self.rows.end(run, timedelta(seconds=self.interval_s))
        metrics.retention_ended.set_to_current_time()

    async def _run(self, run: UUID) -> None:
        weeks = await self.rows.keep_quotable_weeks()
        if weeks:
            _log.info("quotable_weeks_kept", partitions=weeks)
        while await self.rows.thin_checkpoints():
            await self._next(run)
        # By the clock that is behind: one that runs ahead must not make anything older than it is
        now = min(self.clock(), await self.rows.now())
        await self._forget_engine(run, now - _ENGINE_KEPT)
        before = {tenant: now - kept for tenant, kept in self._kept.items()}
        for tenant in await self.rows.due(before):
            while await self.rows.forget_tasks(tenant, before[tenant], _BATCH) == _BATCH:
                await self._next(run)
            await self._next(run)

    async def _forget_engine(self, run: UUID, before: datetime) -> None:
        skip = 0
        while ids := await self.engine.ended_before(before, _ENGINE_BATCH, skip):
            done = await self.rows.done_with([operation_of(one) for one in ids])
            gone = [one for one in ids if operation_of(one) in done]
            counts: dict[TenantId, int] = {}
            for one in gone:
                tenant = done[operation_of(one)] or PLATFORM
                counts[tenant] = counts.get(tenant, 0) + 1
            for tenant, count in counts.items():
                # Before they go: the engine's rows are not ours to remove and to note at once
                await self.rows.note(tenant, "engine", before, count)
            if gone:
                await self.engine.forget(gone)
            skip += len(ids) - len(gone)
            await self._next(run)

    async def _next(self, run: UUID) -> None:
        if not await self.rows.extend(run):
            raise TurnLost
        await asyncio.sleep(self.pause_s)

    async def _tell(self) -> None:
        """Tell the ledger what was removed: one event for each run, tenant and kind."""
        while removed := await self.rows.untold(_TOLD_AT_ONCE):
            for one in removed:
                event = self.events.event(
                    Kind.retention_applied,
                    one.tenant,
                    str(one.id),
                    run=str(one.run),
                    removed=one.kind,
                    count=one.removed,
                    before=one.before.isoformat(),
                )
                await self.journal.record([event])
                await self.rows.settle(one)
                metrics.retention_removed.labels(one.kind).inc(one.removed)
