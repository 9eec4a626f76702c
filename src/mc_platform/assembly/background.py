"""What a replica does beside requests: work begun again whatever it dies of, and its own events."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from mc_contract.ledger.checkpoint import Checkpoint
from mc_platform.adapters.postgres.ledger import PostgresLedger
from mc_platform.adapters.postgres.tasks import PostgresTasks
from mc_platform.errors import RateLimited, Unavailable
from mc_platform.model.catalogue import Agent
from mc_platform.model.event import Kind
from mc_platform.model.tenant import PLATFORM
from mc_platform.observe import metrics
from mc_platform.pipeline.open_tasks import OpenTasks
from mc_platform.ports import Clock, Journal
from mc_platform.record import EventFactory

_SWEEP_MOST = 200
_ABANDONED_MARGIN_S = 30.0
_BEGIN_AGAIN_S = 5.0
_PARTITIONS_S = 24 * 3600.0
_POSTPONED_S = 30.0
_log = structlog.get_logger()


class Background:
    """Tasks that run until the process stops."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Do `work` until the process stops; whatever it dies of, it is begun again."""

        async def insist() -> None:
            while True:
                try:
                    await work()
                except Exception as error:  # noqa: BLE001 - no defect may end it for good
                    metrics.background_failures.labels(name).inc()
                    _log.error("background_work_failed", work=name, exc_info=error)
                await asyncio.sleep(_BEGIN_AGAIN_S)

        metrics.begin_work(name)
        self._tasks.append(asyncio.create_task(insist(), name=name))

    async def stop(self) -> None:
        """End all of it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def every(interval_s: float, work: Callable[[], Awaitable[object]], postponed: str) -> None:
    """Do `work` now, and then again and again; what cannot be done now is told as `postponed`."""
    while True:
        try:
            await work()
        except (RateLimited, Unavailable) as error:
            _log.warning(postponed, reason=error.message)
        await asyncio.sleep(interval_s)


async def sweep(
    tasks: PostgresTasks, open_tasks: OpenTasks, agents: Iterable[Agent], clock: Clock
) -> None:
    """End tasks whose gateway died; their clients would ask for ever."""
    # A question that stands untouched for longer has nobody who waits for it
    longest_s = max((agent.timeout_s for agent in agents), default=0.0) + _ABANDONED_MARGIN_S
    older_than = clock() - timedelta(seconds=longest_s)
    ended, last = 0, None
    while found := await tasks.abandoned(older_than, _SWEEP_MOST, last):
        ended += await open_tasks.fail_abandoned(found)
        last = found[-1]
    if ended:
        _log.warning("abandoned_tasks_failed", tasks=ended)


async def keep_partitions(ledger: PostgresLedger) -> None:
    """Have the ledger's next partition made in time; until then the default one catches all."""
    while True:
        try:
            made = await ledger.ensure_partitions()
            if made:
                _log.info("ledger_partitions_made", partitions=made)
            await asyncio.sleep(_PARTITIONS_S)
        except Unavailable as error:
            _log.warning("ledger_partitions_postponed", reason=error.message)
            await asyncio.sleep(_POSTPONED_S)


@dataclass(frozen=True, slots=True)
class Announcements:
    """Records events that no request causes."""

    replica: str
    journal: Journal
    events: EventFactory

    async def policy_refused(self, old: str, new: str, reason: str) -> None:
        """Tell that a policy set was kept out."""
        subject = f"{self.replica}:{new or 'unreadable'}:{uuid.uuid4()}"
        await self._record(Kind.policy_refused, subject, old=old, new=new, reason=reason)

    async def signer_rebuilt(self, known: Checkpoint) -> None:
        """Tell that the signer's memory was lost, and what stands for it now."""
        subject = f"{self.replica}:{uuid.uuid4()}"
        await self._record(
            Kind.signer_state_rebuilt, subject, size=known.size, root=known.root.hex()
        )

    async def _record(self, kind: Kind, subject: str, **detail: Any) -> None:
        event = self.events.event(kind, PLATFORM, subject, replica=self.replica, **detail)
        await self.journal.record([event])
