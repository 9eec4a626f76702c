"""The autonomy switch in PostgreSQL; implements `ports.Autonomy`.

Rows are only added; of each scope the newest holds. Writers of one scope take turns, so "newest"
means "committed last". Nothing is kept in memory: a halt holds for the very next enactment of
every replica.

Each switch is told in the ledger by an event that bears the switch's id. The switch is committed
first: a halt must not wait for the ledger. `record_untold` tells what a crash left untold.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog

from mc_platform.adapters.postgres.pools import Pools, wrapped
from mc_platform.errors import Unavailable
from mc_platform.model.autonomy import ALL, AutonomyStatus, Scope, Source, Switch, Thrown
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import EventId, PrincipalId, TenantId
from mc_platform.model.tenant import PLATFORM
from mc_platform.ports import Journal

_COLUMNS = "id, scope, halted, reason, principal, source, at"
# What another region halts is halted here as well; no row where there is no other region.
_PEER_HALTS = f"SELECT {_COLUMNS}, region FROM mc.peer_switch WHERE halted"  # noqa: S608 - constants
# Two look-ups in the index, whatever the length of the history.
_NEWEST = f"""
SELECT newest.* FROM unnest($1::text[]) AS asked (scope) CROSS JOIN LATERAL (
    SELECT {_COLUMNS} FROM mc.autonomy_switch
    WHERE scope = asked.scope ORDER BY number DESC LIMIT 1
) AS newest
"""  # noqa: S608 - constants only
_HALTS = f"""
SELECT {_COLUMNS}, NULL AS region FROM ({_NEWEST}) AS own WHERE halted
UNION ALL {_PEER_HALTS} AND scope = ANY($1::text[])
"""  # noqa: S608 - constants only
_STATUS = f"""
SELECT DISTINCT ON (scope) *, clock_timestamp() AS read_at FROM (
    (SELECT DISTINCT ON (scope) {_COLUMNS}, NULL AS region
        FROM mc.autonomy_switch ORDER BY scope, number DESC)
    UNION ALL {_PEER_HALTS}
) AS each ORDER BY scope, halted DESC, region NULLS FIRST
"""  # noqa: S608 - constants only
_STILL = f"{_PEER_HALTS} AND scope = $1"
# Later than all of its scope though the clock was set back: a peer goes by the time
_ADD = f"""
INSERT INTO mc.autonomy_switch (id, scope, halted, reason, principal, source, at)
VALUES ($1, $2, $3, $4, $5, $6, greatest(now(), (
    SELECT max(o.at) + interval '1 microsecond' FROM mc.autonomy_switch AS o WHERE o.scope = $2)))
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants only
_UNTOLD = f"""
SELECT {_COLUMNS} FROM mc.autonomy_switch AS switch
WHERE NOT EXISTS (SELECT FROM mc.autonomy_switch_recorded AS told WHERE told.id = switch.id)
ORDER BY number LIMIT 100
"""  # noqa: S608 - constants only
_TOLD = (
    "INSERT INTO mc.autonomy_switch_recorded (id) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING"
)
_log = structlog.get_logger()


class PostgresAutonomy:
    """The switch of the platform whose database this is."""

    def __init__(self, pools: Pools, *, journal: Journal) -> None:
        self._pools = pools
        self._journal = journal

    @wrapped("the autonomy switch cannot be read")
    async def halted(self, tenant: TenantId) -> Switch | None:
        async with self._pools.reading(tenant) as connection:
            rows = await connection.fetch(_HALTS, [ALL, tenant])
        halts = {row["scope"]: _switch(row) for row in reversed(rows)}  # this region's first
        return halts.get(ALL) or halts.get(tenant)

    @wrapped("the autonomy switch cannot be read")
    async def status(self) -> AutonomyStatus:
        rows = await self._pools.tenant.fetch(_STATUS)
        at = (
            rows[0]["read_at"]
            if rows
            else await self._pools.tenant.fetchval("SELECT clock_timestamp()")
        )
        return AutonomyStatus(at, {Scope(row["scope"]): _switch(row) for row in rows})

    @wrapped("the autonomy switch cannot be set")
    async def set(
        self,
        scope: Scope,
        *,
        halted: bool,
        reason: str,
        principal: PrincipalId,
        source: Source,
        unless_resumed_since: datetime | None = None,
    ) -> Thrown:
        async with self._pools.record.acquire() as connection, connection.transaction():
            await connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('mc.autonomy_switch ' || $1, 0))",
                scope,
            )
            row = await connection.fetchrow(_NEWEST, [scope])
            newest = None if row is None else _switch(row)
            still = None if halted else await connection.fetchrow(_STILL, scope)
            if not _changes(newest, halted, unless_resumed_since):
                return Thrown(newest if still is None else _switch(still), changed=False)
            switch = _switch(
                await connection.fetchrow(
                    _ADD, uuid.uuid4(), scope, halted, reason, principal, source.value
                )
            )
        try:
            await self._tell([switch])
        except Unavailable as error:
            _log.warning("switch_not_recorded_yet", scope=scope, reason=error.message)
        return Thrown(switch if still is None else _switch(still), changed=True)

    @wrapped("the autonomy switch cannot be read")
    async def record_untold(self) -> int:
        """Record the switches that are not in the ledger; return how many there were.

        Raises:
            Unavailable: it will do at another time; recording twice is harmless.
        """
        untold = [_switch(row) for row in await self._pools.record.fetch(_UNTOLD)]
        if untold:
            await self._tell(untold)
        return len(untold)

    @wrapped("it cannot be noted that the switch is recorded")
    async def _tell(self, switches: Sequence[Switch]) -> None:
        await self._journal.record([event_of(switch) for switch in switches])
        await self._pools.record.execute(_TOLD, [switch.id for switch in switches])


def _changes(newest: Switch | None, halted: bool, unless_resumed_since: datetime | None) -> bool:
    """Whether a throw adds a row: not what holds already, nor what a later resume overrules."""
    if newest is None:
        return halted
    if newest.halted == halted:
        return False
    return unless_resumed_since is None or newest.at < unless_resumed_since


def event_of(switch: Switch) -> Event:
    """The event that tells of a switch: the same bytes whoever makes it, whenever.

    A tenant's switch is told to the tenant; that of all belongs to the platform.
    """
    return Event(
        id=EventId(str(switch.id)),
        kind=Kind.autonomy_halted if switch.halted else Kind.autonomy_resumed,
        tenant=PLATFORM if switch.scope == ALL else TenantId(switch.scope),
        occurred_at=switch.at,
        detail={
            "subject": str(switch.id),
            "scope": switch.scope,
            "reason": switch.reason,
            "principal": switch.principal,
            "source": switch.source.value,
        },
    )


def _switch(row: Any) -> Switch:
    return Switch(
        id=uuid.UUID(str(row["id"])),
        scope=Scope(row["scope"]),
        halted=row["halted"],
        reason=row["reason"],
        principal=PrincipalId(row["principal"]),
        source=Source(row["source"]),
        at=row["at"],
        region=row.get("region"),
    )
