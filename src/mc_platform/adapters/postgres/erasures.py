"""Erasure of a tenant's content by an administrator; see `0051_erasures.sql`.

What is removed and its note are one transaction; the ledger has it after that, from whichever run comes
next if this one dies. The ledger's own entries hold no content and stay.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from mc_platform.adapters.postgres.migrate import administrator
from mc_platform.errors import Unavailable
from mc_platform.model.ids import TenantId

_UNRECORDED = """
SELECT id, whose, principal, reason, erased, erased_at FROM mc.erasure WHERE NOT recorded
ORDER BY erased_at
"""


@dataclass(frozen=True, slots=True)
class Erasure:
    """What was removed of a tenant, by class; `left_open` counts tasks that have not ended."""

    id: UUID
    tenant: TenantId
    principal: str
    reason: str
    erased: dict[str, int]
    erased_at: datetime


class _Rehearsed(Exception):
    """Has the transaction undone."""


async def erase(
    owner_url: str,
    tenant: TenantId,
    *,
    by: str,
    reason: str,
    dry_run: bool,
    record: Callable[[Erasure], Awaitable[None]],
) -> dict[str, int]:
    """Remove a tenant's content from this region's database, and have it recorded.

    Args:
        dry_run: Count only.
        record: Commits an erasure to the ledger, once for each id.

    Returns:
        Counts by class.

    Raises:
        Unavailable: the database, or the ledger, does not answer; what was removed is recorded by the next run.
    """
    erased: dict[str, int] = {}
    async with administrator(owner_url) as connection:
        try:
            try:
                async with connection.transaction():
                    row = await connection.fetchrow(
                        "SELECT erased FROM mc.erase_tenant($1, $2, $3)", tenant, by, reason
                    )
                    erased = json.loads(row["erased"])
                    if dry_run:
                        raise _Rehearsed
            except _Rehearsed:
                return erased
            for row in await connection.fetch(_UNRECORDED):
                await record(_erasure(row))
                await connection.execute(
                    "UPDATE mc.erasure SET recorded = true WHERE id = $1", row["id"]
                )
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise Unavailable(
                f"the tenant is not erased: {type(error).__name__}", hint="run it again"
            ) from error
    return erased


def _erasure(row: Any) -> Erasure:
    return Erasure(
        row["id"],
        TenantId(row["whose"]),
        row["principal"],
        row["reason"],
        json.loads(row["erased"]),
        row["erased_at"],
    )
