"""Break-glass grants in PostgreSQL.

All times are the database's: a replica whose clock is off opens nothing for longer.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from mc_platform.adapters.postgres.pools import Pools, wrapped
from mc_platform.model.break_glass import LAPSES_AFTER_MINUTES, Grant, GrantState
from mc_platform.model.ids import PrincipalId, TenantId

_LAPSES = f"interval '{LAPSES_AFTER_MINUTES} minutes'"
_COLUMNS = f"""
id, tenant, reason, minutes, asked_by, asked_at, approved_by, approved_at, expires_at, ended_by,
ended_at, CASE
    WHEN ended_at IS NOT NULL THEN 'ended'
    WHEN expires_at > clock_timestamp() THEN 'active'
    WHEN expires_at IS NOT NULL THEN 'expired'
    WHEN asked_at > clock_timestamp() - {_LAPSES} THEN 'pending'
    ELSE 'lapsed' END AS state
"""
_GET = f"SELECT {_COLUMNS} FROM mc.break_glass WHERE id = $1"  # noqa: S608 - constants only
_ADD = f"""
INSERT INTO mc.break_glass (id, tenant, reason, minutes, asked_by) VALUES ($1, $2, $3, $4, $5)
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants only
_APPROVE = f"""
UPDATE mc.break_glass SET approved_by = $2, approved_at = now(),
    expires_at = now() + make_interval(mins => minutes)
WHERE id = $1 AND approved_by IS NULL AND ended_at IS NULL AND asked_by <> $2
    AND asked_at > clock_timestamp() - {_LAPSES}
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants only
_END = f"""
UPDATE mc.break_glass SET ended_by = $2, ended_at = clock_timestamp()
WHERE id = $1 AND ended_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants only
_NEWEST = f"""
SELECT {_COLUMNS} FROM mc.break_glass ORDER BY asked_at DESC, id LIMIT $1
"""  # noqa: S608 - constants only
_ACTIVE = f"""
SELECT {_COLUMNS} FROM mc.break_glass
WHERE asked_by = $1 AND tenant = $2 AND ended_at IS NULL AND expires_at > clock_timestamp()
ORDER BY expires_at DESC LIMIT 1
"""  # noqa: S608 - constants only


class PostgresBreakGlass:
    """The grants of the platform whose database this is."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    @wrapped("the break-glass grant cannot be stored")
    async def ask(
        self,
        grant_id: uuid.UUID,
        *,
        tenant: TenantId,
        reason: str,
        minutes: int,
        principal: PrincipalId,
    ) -> Grant:
        """Store a pending grant."""
        return _grant(
            await self._pools.record.fetchrow(_ADD, grant_id, tenant, reason, minutes, principal)
        )

    @wrapped("the break-glass grant cannot be approved")
    async def approve(self, grant_id: uuid.UUID, principal: PrincipalId) -> Grant | None:
        """Open a pending grant of another principal from now on; None if it is not that."""
        return _found(await self._pools.record.fetchrow(_APPROVE, grant_id, principal))

    @wrapped("the break-glass grant cannot be ended")
    async def end(self, grant_id: uuid.UUID, principal: PrincipalId) -> Grant | None:
        """Close a pending or active grant now; None if it is neither."""
        return _found(await self._pools.record.fetchrow(_END, grant_id, principal))

    @wrapped("the break-glass grant cannot be read")
    async def get(self, grant_id: uuid.UUID) -> Grant | None:
        """One grant, as it stands now."""
        return _found(await self._pools.record.fetchrow(_GET, grant_id))

    @wrapped("break-glass grants cannot be read")
    async def newest(self, limit: int) -> Sequence[Grant]:
        """Those that were asked for last come first."""
        return [_grant(row) for row in await self._pools.record.fetch(_NEWEST, limit)]

    @wrapped("break-glass grants cannot be read")
    async def active(self, principal: PrincipalId, tenant: TenantId) -> Grant | None:
        """The grant that opens a tenant to a principal now; None if none does.

        Raises:
            Unavailable: it is not known, so nothing is open.
        """
        return _found(await self._pools.record.fetchrow(_ACTIVE, principal, tenant))


def _found(row: Any) -> Grant | None:
    return None if row is None else _grant(row)


def _grant(row: Any) -> Grant:
    columns = {"id": uuid.UUID(str(row["id"])), "state": GrantState(row["state"])}
    return Grant(**{**row, **columns})
