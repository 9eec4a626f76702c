"""Brings a PostgreSQL server to this version's schema, roles and credentials.

Runs with an administrator's URL (`MC_DATABASE_ADMIN_URL`); the service itself never does.
The files of `mc_platform/migrations` are applied by `schema_files`, by one run at a time. A statement
outside a transaction waits for every transaction in the database, so whoever waits for its turn asks
again and again: one that waited within a statement would be waited for, without end.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg
from pydantic import StringConstraints, model_validator

from mc_contract.configuration import FileProblems, Form, SetOf, Strict, Text, Word, among, check
from mc_contract.credential import KEY_ID_FORM
from mc_platform.adapters.postgres.schema_files import apply_files
from mc_platform.errors import BadRequest, Misconfigured, Unavailable
from mc_platform.model.credential import Scope
from mc_platform.model.tenant import PLATFORM, Role

SERVICE_ROLE = "mc_service"
_IDLE_IN_TRANSACTION = "4s"
_ABOVE_THE_RULES = {
    "rolsuper": "SUPERUSER",
    "rolcreatedb": "CREATEDB",
    "rolcreaterole": "CREATEROLE",
    "rolbypassrls": "BYPASSRLS",
    "rolreplication": "REPLICATION",
}
_LOCK = 7_219_005_313_401  # any fixed number: two migrations must not run at once
_APPLYING = 7_219_005_313_405  # as long as the server works for one, even if it was killed
_LOOK_AGAIN_S = 0.2
_NAME = re.compile(r"^[a-z_][a-z0-9_]{0,62}$")
_OF_THE_ARBITER = ("0048_homes.sql",)
_GRANT_HOMES = """
GRANT CONNECT ON DATABASE "{database}" TO {role};
GRANT USAGE ON SCHEMA mc_home TO {role};
GRANT SELECT ON mc_home.lease TO {role};
GRANT EXECUTE ON FUNCTION mc_home.look, mc_home.renew, mc_home.take_over, mc_home.release,
    mc_home.claim TO {role};
"""


def _identity(url: str, variable: str, example: str) -> tuple[str, str, str]:
    parts = urlsplit(url)
    role, password, database = parts.username, parts.password, parts.path.lstrip("/")
    if not role or not password or not _NAME.match(role) or not _NAME.match(database):
        raise Misconfigured(
            f"{variable} must name a role, its password and a database",
            hint=f"form: postgresql://{example}",
        )
    return role, unquote(password), database


def _service_identity(service_url: str) -> tuple[str, str, str]:
    found = _identity(service_url, "MC_DATABASE_URL", "mc_service:PASSWORD@HOST:PORT/mc")
    if found[0] != SERVICE_ROLE:
        raise Misconfigured(f"the service's role must be {SERVICE_ROLE}, got {found[0]!r}")
    return found


def service_database(service_url: str) -> str:
    """The database that the service's URL names.

    Raises:
        Misconfigured: the URL is unusable.
    """
    return _service_identity(service_url)[2]


def literal(text: str) -> str:
    """A value within a statement that takes no parameters."""
    # Role statements take no parameters. Doubling quotes is enough: standard_conforming_strings.
    return "'" + text.replace("'", "''") + "'"


async def migrate_schema(*, admin_url: str, service_url: str) -> list[str]:
    """Create roles, database and schema; return the names of the files applied now.

    Raises:
        Misconfigured: the URLs are unusable, or the server refuses the administrator.
        Unavailable: the server stopped at a file; those before it are applied.
    """
    _, password, database = _service_identity(service_url)
    async with _at_work(admin_url, "the schema is not migrated") as server:
        # CREATE DATABASE cannot run in a transaction; the lock serialises two migrations.
        await _take_turn(server, _LOCK)
        await _ensure_roles(server, password)
        if not await server.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
            await server.execute(f'CREATE DATABASE "{database}"')
        await server.execute(f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC')
        await server.execute(f'GRANT CONNECT ON DATABASE "{database}" TO mc_service')
        return await _apply(database_url(admin_url, database))


async def migrate_arbiter(*, admin_url: str, arbiter_url: str) -> list[str]:
    """Create the arbiter's role, database and schema; return the names of the files applied now.

    The role may call the schema's functions and change no table: they keep that a term never goes back.

    Raises:
        Misconfigured: the URLs are unusable, or the server refuses the administrator.
        Unavailable: the server stopped at a file.
    """
    role, password, database = _identity(
        arbiter_url, "MC_ARBITER_URL", "mc_arbiter:PASSWORD@HOST:PORT/mc_arbiter"
    )
    async with _at_work(admin_url, "the arbiter is not migrated", "MC_ARBITER_ADMIN_URL") as server:
        await _take_turn(server, _LOCK)
        if not await server.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
            await server.execute(f"CREATE ROLE {role}")
        rights = await _excess(server, role)
        await server.execute(f"ALTER ROLE {role} LOGIN PASSWORD {literal(password)}{rights}")
        if not await server.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", database):
            await server.execute(f'CREATE DATABASE "{database}"')
        await server.execute(f'REVOKE ALL ON DATABASE "{database}" FROM PUBLIC')
    applied = await _apply(database_url(admin_url, database), only=_OF_THE_ARBITER)
    async with _at_work(database_url(admin_url, database), "no right is granted") as owner:
        await owner.execute(_GRANT_HOMES.format(database=database, role=role))
    return applied


@asynccontextmanager
async def administrator(url: str, variable: str = "MC_DATABASE_ADMIN_URL") -> AsyncIterator[Any]:
    """A connection of an administrator.

    Raises:
        Misconfigured: the server refuses it, or does not answer.
    """
    try:
        connection = await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError) as error:
        raise Misconfigured(f"the database refuses {variable}: {type(error).__name__}") from error
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _at_work(
    url: str, failed: str, variable: str = "MC_DATABASE_ADMIN_URL"
) -> AsyncIterator[Any]:
    try:
        async with administrator(url, variable) as connection:
            yield connection
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Unavailable(
            f"{failed}: {type(error).__name__}", hint="run it again; what is applied stays"
        ) from error


def database_url(admin_url: str, database: str) -> str:
    """The administrator's URL, pointed at another database of the same server."""
    parts = urlsplit(admin_url)
    return urlunsplit((parts.scheme, parts.netloc, f"/{database}", parts.query, ""))


async def _take_turn(connection: Any, lock: int) -> None:
    while True:
        if await connection.fetchval("SELECT pg_try_advisory_lock($1)", lock):
            return
        await asyncio.sleep(_LOOK_AGAIN_S)


async def _ensure_roles(server: Any, password: str) -> None:
    for role in ("mc_service", "mc_recorder"):
        if not await server.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", role):
            await server.execute(f"CREATE ROLE {role} NOLOGIN")
    await server.execute(
        f"ALTER ROLE mc_service LOGIN NOINHERIT PASSWORD {literal(password)}"
        f"{await _excess(server, 'mc_service')}"
    )
    # A replica that is paused amid a transaction must not keep its locks: on the ledger's head it
    # would stop the whole region (`tests/crash` found it). For all its sessions, the engine's too.
    await server.execute(
        f"ALTER ROLE mc_service SET idle_in_transaction_session_timeout = '{_IDLE_IN_TRANSACTION}'"
    )
    await server.execute(f"ALTER ROLE mc_recorder NOLOGIN{await _excess(server, 'mc_recorder')}")
    await server.execute("GRANT mc_recorder TO mc_service WITH INHERIT FALSE, SET TRUE")


async def _excess(server: Any, role: str) -> str:
    """What takes a role's rights above the rules away, of those that it has.

    One that it does not have is not named: whoever is no superuser may not name `SUPERUSER` at all,
    and no administrator of a managed server is one.
    """
    has = await server.fetchrow("SELECT * FROM pg_roles WHERE rolname = $1", role)
    return "".join(f" NO{right}" for column, right in _ABOVE_THE_RULES.items() if has[column])


async def _apply(url: str, only: tuple[str, ...] | None = None) -> list[str]:
    async with _at_work(url, "the schema is not migrated") as connection:
        await _take_turn(connection, _APPLYING)
        scripts = files("mc_platform.migrations").iterdir()
        return await apply_files(
            connection, [one for one in scripts if only is None or one.name in only]
        )


class _Credential(Strict):
    key_id: Annotated[
        str, StringConstraints(pattern=f"^{KEY_ID_FORM}$"), Form("12 hexadecimal digits")
    ]
    secret_sha256: Annotated[
        str, StringConstraints(pattern="^[0-9a-f]{64}$"), Form("64 hexadecimal digits")
    ]
    tenant: Word
    principal: Text
    role: Annotated[str, among(Role)] = Role.agent.value
    scopes: SetOf[Annotated[str, among(Scope)]] | None = None

    @model_validator(mode="after")
    def _belongs(self) -> _Credential:
        if (self.role == Role.agent) == (self.tenant == PLATFORM):
            raise ValueError(
                f"a role other than agent belongs to the tenant {PLATFORM}, and no agent does; "
                f"got role {self.role} of {self.tenant!r}"
            )
        return self


class _Credentials(Strict):
    credentials: dict[Word, _Credential]


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did, by the entries' names.

    Attributes:
        valid: How many credentials of imports are now valid.
        revoked: Key ids that were valid and are in the file no more.
        refused: Entries that an administrator has revoked, or whose key id has another secret.
    """

    valid: int
    added: tuple[str, ...]
    changed: tuple[str, ...]
    revoked: tuple[str, ...]
    refused: tuple[str, ...]


_IMPORT = """
INSERT INTO mc.credential AS old (key_id, secret_sha256, tenant, principal, role, scopes)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (key_id) DO UPDATE SET revoked_at = NULL, tenant = excluded.tenant,
    principal = excluded.principal, role = excluded.role, scopes = excluded.scopes
WHERE old.secret_sha256 = excluded.secret_sha256 AND old.revoked_by IS NULL
    AND old.origin = 'import' AND (old.revoked_at, old.tenant, old.principal, old.role, old.scopes)
    IS DISTINCT FROM (NULL, excluded.tenant, excluded.principal, excluded.role, excluded.scopes)
RETURNING (xmax = 0) AS added
"""
_HOLDS = """
SELECT EXISTS (SELECT FROM mc.credential
    WHERE key_id = $1 AND secret_sha256 = $2 AND revoked_at IS NULL)
"""
_END_ABSENT = """
UPDATE mc.credential SET revoked_at = now()
WHERE revoked_at IS NULL AND revoked_by IS NULL AND origin = 'import'
    AND NOT key_id = ANY($1::text[])
RETURNING key_id
"""


async def import_credentials(
    *, owner_url: str, credentials: Mapping[str, Any], by: str = "administrator"
) -> Imported:
    """Make `credentials` the valid ones of those that were imported.

    New ones are added, absent ones are revoked; those that an administrator has made, rotated or
    revoked (`query.credentials`) stay as they are. The ledger is told of each change by a replica.

    Args:
        owner_url: An administrator's URL of the service's database.
        credentials: name -> `{"principal", "key_id", "secret_sha256"}` (hex; hashes only), with
            `tenant` (the name unless told), `role` (`agent` unless told) and `scopes` (all of the
            role unless told). A tenant may have several. A known key id with the same secret takes
            the tenant, principal and role told.
        by: Who imports, as the ledger is told.

    Raises:
        BadRequest: an entry is malformed, or a key id stands twice; nothing was changed.
    """
    whole = {
        name: {"tenant": name, **entry} if isinstance(entry, Mapping) else entry
        for name, entry in credentials.items()
    }
    try:
        rows = check(_Credentials, {"credentials": whole}).credentials
    except FileProblems as error:
        raise BadRequest(str(error)) from None
    if len({row.key_id for row in rows.values()}) != len(rows):
        raise BadRequest("a key_id stands in more than one credential")
    said = {"principal": by, "reason": "the credentials of a file were imported"}
    added: list[str] = []
    changed: list[str] = []
    refused: list[str] = []
    async with (
        _at_work(owner_url, "no credential is imported") as connection,
        connection.transaction(),
    ):
        await connection.execute("SELECT set_config('mc.change', $1, true)", json.dumps(said))
        for name, row in rows.items():
            secret = bytes.fromhex(row.secret_sha256)
            scopes = None if row.scopes is None else sorted(row.scopes)
            new = await connection.fetchval(
                _IMPORT, row.key_id, secret, row.tenant, row.principal, row.role, scopes
            )
            if new is not None:
                (added if new else changed).append(name)
            elif not await connection.fetchval(_HOLDS, row.key_id, secret):
                refused.append(name)
        ended = await connection.fetch(_END_ABSENT, [row.key_id for row in rows.values()])
    return Imported(
        valid=len(rows) - len(refused),
        added=tuple(added),
        changed=tuple(changed),
        revoked=tuple(row["key_id"] for row in ended),
        refused=tuple(refused),
    )
