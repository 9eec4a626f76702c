"""Operations in flight when their tenant's home moves: given up by the old home, ended by the new one.

Looked after again and again, by every replica, because records come late: what a region that died had
begun comes when it is back. Each act may be repeated, and by several replicas at once.

(1) The engine's rows of a former term are removed, if the operation's record is here: so the old home
    has nothing to recover, after a move back either, and the new home lacks nothing that is there.
(2) An open operation of a tenant whose home is here, which the engine does not have, is recorded as
    adopted and begun from its record: what was kept of its steps is replayed, the rest is enacted
    under the same keys (`enact/saga`).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

import structlog

from mc_platform.adapters.postgres.operation_records import PostgresOperationRecords
from mc_platform.enact import HomeKeeper, OperationEngine
from mc_platform.enact.sealed import Begun
from mc_platform.errors import Conflict
from mc_platform.model.event import Kind
from mc_platform.observe import metrics
from mc_platform.ports import Journal
from mc_platform.record import EventFactory

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Takeovers:
    """What becomes of operations when homes move.

    Attributes:
        keeper: Which tenants' home this region is.
    """

    region: str
    keeper: HomeKeeper
    records: PostgresOperationRecords
    engine: OperationEngine
    journal: Journal
    events: EventFactory

    async def look(self) -> None:
        """Give up and adopt all that is to be.

        Raises:
            Unavailable: the database, or the ledger, does not answer; the next look goes on.
        """
        await self._give_up()
        await self._adopt()

    async def _give_up(self) -> None:
        homes = self.keeper.homes()
        former = {
            one.id: homes[one.tenant].term
            for one in await self.engine.unended()
            if one.tenant in homes and one.term < homes[one.tenant].term
        }
        if not former:
            return
        for operation_id in await self.records.known(former):
            if await self.engine.give_up(operation_id, former[operation_id]):
                metrics.home_operations.labels("given-up").inc()
                _log.info("operation_given_up", operation=operation_id)

    async def _adopt(self) -> None:
        tenants = [tenant for tenant in self.keeper.homes() if self.keeper.term(tenant)]
        begun = {one.id: one for one in await self.records.open(tenants)}
        known = await self.engine.states(list(begun))
        for operation_id in begun.keys() - known.keys():
            await self._adopt_one(begun[operation_id])

    async def _adopt_one(self, begun: Begun) -> None:
        term = self.keeper.term(begun.tenant)
        if not term or not self.keeper.held(begun.tenant, term):
            return
        steps = sorted(await self.records.of(begun.id))
        adopted = self.events.event(
            Kind.operation_adopted,
            begun.tenant,
            f"{begun.id}:{term}",
            operation_id=begun.id,
            term=term,
            begun_in=begun.region,
            home=self.region,
            steps=steps,
        )
        await self.journal.record([adopted])
        with suppress(Conflict):  # another replica found it abandoned, and has said so
            await self.engine.adopt(begun, term)
        metrics.home_operations.labels("adopted").inc()
        _log.warning(
            "operation_adopted", operation=begun.id, begun_in=begun.region, kept=len(steps)
        )
