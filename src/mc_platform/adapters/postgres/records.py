"""Reading a tenant's part of the ledger; implements `ports.Records`."""

from __future__ import annotations

from mc_platform.adapters.postgres.pools import Pools, wrapped
from mc_platform.adapters.postgres.rows import ledger_row
from mc_platform.model.event import LedgerRow
from mc_platform.model.ids import TenantId


class PostgresRecords:
    """One region's ledger, read under row-level security."""

    def __init__(self, pools: Pools, *, region: str) -> None:
        self._pools = pools
        self._region = region

    @wrapped("the ledger cannot be read")
    async def newest(self, tenant: TenantId, *, limit: int, before: int | None) -> list[LedgerRow]:
        async with self._pools.as_tenant(tenant) as connection:
            rows = await connection.fetch(
                "SELECT index, recorded_at, leaf FROM mc.ledger_event "
                "WHERE tenant = $1 AND region = $2 AND ($3::bigint IS NULL OR index < $3) "
                "ORDER BY index DESC LIMIT $4",
                tenant,
                self._region,
                before,
                limit,
            )
        return [ledger_row(row) for row in rows]
