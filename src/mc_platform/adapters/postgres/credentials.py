"""Credentials as an administrator sees them.

The service may add a credential and end one, and nothing else. Each statement runs with what is to
be told of it (`said`: who changes it, why, by which decision; `mc.change` in the database, whose own
trigger makes the change's record of it).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mc_platform.adapters.postgres.pools import Pools, wrapped
from mc_platform.model.credential import Credential
from mc_platform.model.ids import PrincipalId, TenantId

_COLUMNS = """
key_id, tenant, principal, role, scopes, origin, created_at, expires_at, revoked_at, CASE
    WHEN revoked_at IS NOT NULL THEN 'revoked'
    WHEN expires_at <= clock_timestamp() THEN 'expired'
    WHEN expires_at IS NOT NULL THEN 'ending'
    ELSE 'valid' END AS state
"""
_LIST = f"""
SELECT {_COLUMNS} FROM mc.credential WHERE ($1::text IS NULL OR tenant = $1)
ORDER BY tenant, principal, created_at DESC, key_id LIMIT $2
"""  # noqa: S608 - constants only
_COUNTS = """
SELECT tenant, count(*) AS holding FROM mc.credential
WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp()) GROUP BY tenant
"""
_GET = f"SELECT {_COLUMNS} FROM mc.credential WHERE key_id = $1"  # noqa: S608 - constants only
_ADD = f"""
INSERT INTO mc.credential
    (key_id, secret_sha256, tenant, principal, role, scopes, expires_at, origin)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp() + make_interval(secs => $7::float8),
    'administrator')
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants only
# The new one lives as long as the old one did from its beginning, unless it is told
_ADD_LIKE = f"""
INSERT INTO mc.credential
    (key_id, secret_sha256, tenant, principal, role, scopes, expires_at, origin)
SELECT $2, $3, tenant, principal, role, scopes,
    clock_timestamp() + coalesce(make_interval(secs => $4::float8), expires_at - created_at),
    'administrator'
FROM mc.credential WHERE key_id = $1
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants only
_LOCK = f"""
SELECT {_COLUMNS} FROM mc.credential WHERE key_id = $1 AND revoked_at IS NULL
    AND revoked_by IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp()) FOR UPDATE
"""  # noqa: S608 - constants only
_END_LATER = """
UPDATE mc.credential SET revoked_by = $3,
    expires_at = least(expires_at, clock_timestamp() + make_interval(secs => $2::float8))
WHERE key_id = $1
"""
_REVOKE = f"""
UPDATE mc.credential SET revoked_at = clock_timestamp(), revoked_by = $2
WHERE key_id = $1 AND revoked_at IS NULL
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants only


class PostgresCredentials:
    """The credentials of the platform whose database this is."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    @wrapped("credentials cannot be read")
    async def listed(self, tenant: TenantId | None, limit: int) -> Sequence[Credential]:
        """All, or a tenant's."""
        rows = await self._pools.record.fetch(_LIST, tenant, limit)
        return [_credential(row) for row in rows]

    @wrapped("credentials cannot be read")
    async def holding(self) -> Mapping[str, int]:
        """How many credentials hold now, by tenant; one without any is left out."""
        rows = await self._pools.record.fetch(_COUNTS)
        return {row["tenant"]: row["holding"] for row in rows}

    @wrapped("the credential cannot be read")
    async def get(self, key_id: str) -> Credential | None:
        """One, as it stands now."""
        row = await self._pools.record.fetchrow(_GET, key_id)
        return None if row is None else _credential(row)

    @wrapped("the credential cannot be made")
    async def create(
        self,
        key_id: str,
        secret_sha256: bytes,
        *,
        tenant: TenantId,
        principal: PrincipalId,
        role: str,
        scopes: Sequence[str],
        life_s: float | None,
        said: Mapping[str, Any],
    ) -> Credential:
        """Add one."""
        async with self._saying(said) as connection:
            row = await connection.fetchrow(
                _ADD, key_id, secret_sha256, tenant, principal, role, list(scopes), life_s
            )
        return _credential(row)

    @wrapped("the credential cannot be rotated")
    async def rotate(
        self,
        old_key_id: str,
        key_id: str,
        secret_sha256: bytes,
        *,
        overlap_s: float,
        life_s: float | None,
        by: PrincipalId,
        said: Mapping[str, Any],
    ) -> Credential | None:
        """Add one like the old one, which ends after the overlap.

        None if the old one has ended, or was rotated before.
        """
        async with self._saying(said) as connection:
            if await connection.fetchrow(_LOCK, old_key_id) is None:
                return None
            row = await connection.fetchrow(_ADD_LIKE, old_key_id, key_id, secret_sha256, life_s)
            if overlap_s > 0:
                await connection.execute(_END_LATER, old_key_id, overlap_s, by)
            else:
                await connection.execute(_REVOKE, old_key_id, by)
        return _credential(row)

    @wrapped("the credential cannot be revoked")
    async def revoke(
        self, key_id: str, *, by: PrincipalId, said: Mapping[str, Any]
    ) -> Credential | None:
        """End one now; None if it was revoked before, or is not there."""
        async with self._saying(said) as connection:
            row = await connection.fetchrow(_REVOKE, key_id, by)
        return None if row is None else _credential(row)

    @asynccontextmanager
    async def _saying(self, said: Mapping[str, Any]) -> AsyncIterator[Any]:
        async with self._pools.record.acquire() as connection, connection.transaction():
            await connection.execute("SELECT set_config('mc.change', $1, true)", json.dumps(said))
            yield connection


def _credential(row: Any) -> Credential:
    return Credential(**{**row, "scopes": None if row["scopes"] is None else tuple(row["scopes"])})
