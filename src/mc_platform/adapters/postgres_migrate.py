"""Brings a PostgreSQL server to this version's schema, roles and credentials.

Runs with an administrator's URL (`MC_DATABASE_ADMIN_URL`); the service itself never does.
Numbered files in `mc_platform/migrations` are applied once each, in order, in a transaction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg

from mc_contract.credential import KEY_ID_FORM
from mc_platform.errors import BadRequest, Misconfigured
from mc_platform.model.tenant import PLATFORM, Role

SERVICE_ROLE = "mc_service"
_IDLE_IN_TRANSACTION = "4s"
_LOCK = 7_219_005_313_401  # any fixed number: two migrations must not run at once
_NAME = re.compile(r"^[a-z_][a-z0-9_]{0,62}$")
_KEY_ID = re.compile(f"^{KEY_ID_FORM}$")


def _service_identity(service_url: str) -> tuple[str, str, str]:
    parts = urlsplit(service_url)
    role, password, database = parts.username, parts.password, parts.path.lstrip("/")
    if not role or not password or not _NAME.match(role) or not _NAME.match(database):
        raise Misconfigured(
            "MC_DATABASE_URL must name a role, its password and a database",
            hint="form: postgresql://mc_service:PASSWORD@HOST:PORT/mc",
        )
    if role != SERVICE_ROLE:
        raise Misconfigured(f"the service's role must be {SERVICE_ROLE}, got {role!r}")
    return role, unquote(password), database


def service_database(service_url: str) -> str:
    """The database that the service's URL names.

    Raises:
        Misconfigured: the URL is unusable.
    """
    return _service_identity(service_url)[2]


def _literal(text: str) -> str:
    # Role statements take no parameters. Doubling quotes is enough: standard_conforming_strings.
    return "'" + text.replace("'", "''") + "'"


async def migrate_schema(*, admin_url: str, service_url: str) -> list[str]:
    """Create roles, database and schema; return the names of the files applied now.

    Raises:
        Misconfigured: the URLs are unusable, or the server refuses the administrator.
    """
    _, password, database = _service_identity(service_url)
    try:
        server = await asyncpg.connect(admin_url)
    except (OSError, asyncpg.PostgresError) as error:
        raise Misconfigured(
            f"the database refuses MC_DATABASE_ADMIN_URL: {type(error).__name__}"
        ) from error
    try:
        # CREATE DATABASE cannot run in a transaction; the lock serialises two migrations.
        await server.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await _ensure_roles(server, password)
        if not await server.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
            await server.execute(f'CREATE DATABASE "{database}"')
        await server.execute(f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC')
        await server.execute(f'GRANT CONNECT ON DATABASE "{database}" TO mc_service')
        return await _apply(database_url(admin_url, database))
    finally:
        await server.close()


def database_url(admin_url: str, database: str) -> str:
    """The administrator's URL, pointed at another database of the same server."""
    parts = urlsplit(admin_url)
    return urlunsplit((parts.scheme, parts.netloc, f"/{database}", parts.query, ""))


async def _ensure_roles(server: Any, password: str) -> None:
    for role in ("mc_service", "mc_recorder"):
        if not await server.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
            await server.execute(f"CREATE ROLE {role} NOLOGIN")
    await server.execute(
        "ALTER ROLE mc_service LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOINHERIT "
        f"PASSWORD {_literal(password)}"
    )
    # A replica that is paused amid a transaction must not keep its locks: on the ledger's head it
    # would stop the whole region (`tests/crash` found it). For all its sessions, the engine's too.
    await server.execute(
        f"ALTER ROLE mc_service SET idle_in_transaction_session_timeout = '{_IDLE_IN_TRANSACTION}'"
    )
    await server.execute("ALTER ROLE mc_recorder NOLOGIN NOSUPERUSER NOBYPASSRLS")
    await server.execute("GRANT mc_recorder TO mc_service WITH INHERIT FALSE, SET TRUE")


async def _apply(url: str) -> list[str]:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE SCHEMA IF NOT EXISTS mc")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS mc.schema_migration "
            "(name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        done = {
            row["name"] for row in await connection.fetch("SELECT name FROM mc.schema_migration")
        }
        applied = []
        scripts = [f for f in files("mc_platform.migrations").iterdir() if f.name.endswith(".sql")]
        for script in sorted(scripts, key=lambda item: item.name):
            if script.name in done:
                continue
            async with connection.transaction():
                await connection.execute(script.read_text(encoding="utf-8"))
                await connection.execute(
                    "INSERT INTO mc.schema_migration (name) VALUES ($1)", script.name
                )
            applied.append(script.name)
        return applied
    finally:
        await connection.close()


@dataclass(frozen=True, slots=True)
class _Credential:
    key_id: str
    secret_sha256: bytes
    tenant: str
    principal: str
    role: str


def _credential(name: str, entry: Any) -> _Credential:
    try:
        found = _Credential(
            key_id=str(entry["key_id"]),
            secret_sha256=bytes.fromhex(entry["secret_sha256"]),
            tenant=str(entry.get("tenant", name)),
            principal=str(entry["principal"]),
            role=str(entry.get("role", Role.agent)),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadRequest(f"credential {name!r} is malformed: {type(error).__name__}") from None
    if not _KEY_ID.match(found.key_id) or len(found.secret_sha256) != 32:
        raise BadRequest(f"credential {name!r}: key_id or secret_sha256 is malformed")
    if found.role not in Role.__members__:
        raise BadRequest(
            f"credential {name!r}: role {found.role[:64]!r} is not known",
            hint=f"known: {', '.join(Role)}",
        )
    if (found.role == Role.agent) == (found.tenant == PLATFORM):
        raise BadRequest(
            f"credential {name!r}: a role other than agent belongs to the tenant {PLATFORM}, "
            f"and no agent does; got role {found.role} of {found.tenant[:64]!r}"
        )
    return found


async def import_credentials(*, owner_url: str, credentials: Mapping[str, Any]) -> int:
    """Make `credentials` the valid ones: new are added, absent ones are revoked.

    Args:
        owner_url: An administrator's URL of the service's database.
        credentials: name -> `{"principal", "key_id", "secret_sha256"}` (hex; hashes only), with
            `tenant` (the name unless told) and `role` (`agent` unless told). A tenant may have
            several. A known key id with the same secret takes the tenant, principal and role told.

    Returns:
        How many credentials are now valid.

    Raises:
        BadRequest: an entry is malformed, or a key id stands twice; nothing was changed.
    """
    rows = [_credential(name, entry) for name, entry in credentials.items()]
    if len({row.key_id for row in rows}) != len(rows):
        raise BadRequest("a key_id stands in more than one credential")
    connection = await asyncpg.connect(owner_url)
    try:
        async with connection.transaction():
            await connection.executemany(
                "INSERT INTO mc.credential (key_id, secret_sha256, tenant, principal, role) "
                "VALUES ($1, $2, $3, $4, $5) ON CONFLICT (key_id) DO UPDATE SET revoked_at = NULL,"
                " tenant = excluded.tenant, principal = excluded.principal, role = excluded.role "
                "WHERE mc.credential.secret_sha256 = excluded.secret_sha256",
                [(r.key_id, r.secret_sha256, r.tenant, r.principal, r.role) for r in rows],
            )
            await connection.execute(
                "UPDATE mc.credential SET revoked_at = now() "
                "WHERE revoked_at IS NULL AND NOT key_id = ANY($1::text[])",
                [row.key_id for row in rows],
            )
        return len(rows)
    finally:
        await connection.close()
