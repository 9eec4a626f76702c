"""The database as the service's own role meets it: append-only, no way around the rules, and room.

Each attempt is made as the service is logged in, in a transaction that is rolled back, with a
condition that matches no row: nothing changes even where it should have been refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from mc_contract import connections
from mc_contract.numbers import counted
from mc_ops.preflight.result import CheckResult, found, unknown

LEDGER = "mc.ledger_event"
# Every role that the service can act in: its login, and what it may become to append.
_ROLES = "SELECT rolname FROM pg_roles WHERE pg_has_role(session_user, oid, 'MEMBER') ORDER BY 1"
_ATTEMPTS = (
    # Nothing is read, or a role that may write but not read would seem to be refused.
    ("UPDATE", f"UPDATE {LEDGER} SET leaf = ''::bytea WHERE false"),  # noqa: S608 - a constant
    ("DELETE", f"DELETE FROM {LEDGER} WHERE false"),  # noqa: S608 - a constant
)
# An error that is caught there is no line of the server's log, where it would be somebody's attempt
_TRIED = """
DO $$ BEGIN {statement};
EXCEPTION WHEN insufficient_privilege THEN PERFORM set_config('mc.refused', 'yes', true); END $$
"""
_TIMEOUT_S = 10.0
_APPEND_ONLY, _UNPRIVILEGED = "ledger-append-only", "service-role-unprivileged"
_BUDGET = "connection-budget"
_CHECKS = (_APPEND_ONLY, _UNPRIVILEGED, _BUDGET)


async def check_database(url: str | None, replicas: Sequence[str]) -> list[CheckResult]:
    """Connect as the service role, try what it must not be able to do, and count connections.

    Args:
        url: The service role's URL; it is never quoted in a result.
        replicas: The names of all replicas.
    """
    if not url:
        why = "no service URL in secrets/database.json, nor in a replica's settings"
        remedy = "mcctl up; on a cluster: mcctl preflight rights --env kubernetes"
        return [unknown(name, why, remedy) for name in _CHECKS]
    try:
        connection = await asyncpg.connect(url, timeout=_TIMEOUT_S, command_timeout=_TIMEOUT_S)
    except (OSError, TimeoutError, asyncpg.PostgresError, ValueError) as error:
        why = f"the service role cannot connect: {type(error).__name__}"
        return [unknown(name, why, "mcctl status") for name in _CHECKS]
    try:
        return [
            await append_only(connection),
            await unprivileged(connection),
            await budget(connection, replicas),
        ]
    finally:
        await connection.close(timeout=_TIMEOUT_S)


async def append_only(connection: asyncpg.Connection) -> CheckResult:
    """No role that the service can act in may update, delete or truncate what the ledger holds."""
    problems = []
    try:
        roles = [str(row["rolname"]) for row in await connection.fetch(_ROLES)]
        for role in roles:
            for verb, statement in _ATTEMPTS:
                if not await _refused(connection, role, statement):
                    problems.append(f"{role} may {verb}")
            if await connection.fetchval(
                "SELECT has_table_privilege($1, $2, 'TRUNCATE')", role, LEDGER
            ):
                problems.append(f"{role} may TRUNCATE")
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return unknown(_APPEND_ONLY, f"could not be tried: {type(error).__name__}", "mcctl status")
    good = f"UPDATE, DELETE and TRUNCATE of {LEDGER} are refused to {' and '.join(roles)}"
    return found(_APPEND_ONLY, problems, good, "python -m mc_platform migrate")


async def unprivileged(connection: asyncpg.Connection) -> CheckResult:
    """Neither the service's login nor any role it can become stands above the rules."""
    try:
        rows = await connection.fetch(
            "SELECT rolname, rolsuper, rolbypassrls, rolcreaterole, rolreplication FROM pg_roles "
            "WHERE pg_has_role(session_user, oid, 'MEMBER')"
        )
        owners = await connection.fetchval(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'mc' "
            "AND pg_has_role(session_user, tableowner, 'MEMBER')"
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return unknown(_UNPRIVILEGED, f"could not be read: {type(error).__name__}")
    problems = [
        f"{row['rolname']} has {right}"
        for row in rows
        for right in ("rolsuper", "rolbypassrls", "rolcreaterole", "rolreplication")
        if row[right]
    ]
    if owners:
        problems.append(f"it owns {counted(owners, 'table')} of schema mc")
    listed = ", ".join(sorted(row["rolname"] for row in rows))
    good = f"no special right, no table owned, by {listed}"
    return found(_UNPRIVILEGED, problems, good, "python -m mc_platform migrate")


async def budget(connection: asyncpg.Connection, replicas: Sequence[str]) -> CheckResult:
    """All replicas can have all their connections at once, beside what others have now."""
    try:
        row = await connection.fetchrow(connections.COUNT, list(replicas))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return unknown(_BUDGET, f"could not be counted: {type(error).__name__}", "mcctl status")
    assert row is not None
    server = connections.Server(*row)
    told = (
        f"{counted(len(replicas), 'replica')} with at most {connections.PER_REPLICA} connections each; "
        f"max_connections {server.most}, {server.reserved} reserved, {server.others} used by "
        f"others: room for {counted(server.fitting, 'replica')}"
    )
    return found(
        _BUDGET,
        [told] if len(replicas) > server.fitting else [],
        told,
        f"set max_connections to {server.required(len(replicas))} or more",
    )


async def _refused(connection: asyncpg.Connection, role: str, statement: str) -> bool:
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute("SELECT set_config('role', $1, true)", role)
        await connection.execute(_TRIED.format(statement=statement))
        return bool(await connection.fetchval("SELECT current_setting('mc.refused', true)"))
    finally:
        await transaction.rollback()
