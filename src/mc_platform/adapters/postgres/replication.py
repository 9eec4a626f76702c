"""Replication between two regions: PostgreSQL's own, set up and looked at by an administrator.

Each region publishes the rows that it wrote (`publish = 'insert'`, filtered by the region's name) and
subscribes to the peer's. What is sent besides the log, and how it is merged, is migration 0044's.
Everything here may be repeated. Passwords come by the environment and go into no log of the server.
"""

from __future__ import annotations

import re
import secrets
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncpg

from mc_contract.numbers import counted
from mc_platform.adapters.postgres.migrate import (
    administrator,
    database_url,
    literal,
    service_database,
)
from mc_platform.errors import Misconfigured, Unavailable

ROLE = "mc_replicator"
PUBLICATION = "mc_region"
_NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
_TOLD_AT_ONCE = 500
_TRIES = 5
_FAILOVER_SINCE = 170000
# A log's region may have an epoch behind its name: local-1/e2
_PUBLISHED = """
mc.ledger_event WHERE (split_part(region, '/', 1) = {own}),
mc.ledger_id WHERE (split_part(region, '/', 1) = {own}),
mc.ledger_checkpoint WHERE (split_part(region, '/', 1) = {own}),
mc.region_change (region, number, kind, tenant, key, body, written_at) WHERE (region = {own}),
mc.operation_record WHERE (region = {own}),
mc.region_heartbeat (region, at) WHERE (region = {own})
"""
# The columns of both regions are of the same types: none is made text and read again
_AS_THEY_ARE = "binary = true"
_SUBSCRIPTION = """
SELECT s.subenabled, count(w.pid) FILTER (WHERE w.worker_type = 'apply') > 0 AS works,
    coalesce(max(e.apply_error_count + e.sync_error_count), 0) AS errors,
    (SELECT count(*) FROM pg_subscription_rel r WHERE r.srsubid = s.oid AND r.srsubstate <> 'r') AS copying
FROM pg_subscription s LEFT JOIN pg_stat_subscription w ON w.subid = s.oid
LEFT JOIN pg_stat_subscription_stats e ON e.subid = s.oid
WHERE s.subname = $1 GROUP BY s.oid, s.subenabled
"""
_SLOT = """
SELECT active, wal_status, coalesce((to_jsonb(s) ->> 'failover')::bool, false) AS failover,
    pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint AS retained_bytes,
    current_setting('max_slot_wal_keep_size') AS limit
FROM pg_replication_slots AS s WHERE slot_name = mc.slot_of_peer()
"""
_SLOTS = """
SELECT slot_name, wal_status FROM pg_replication_slots
WHERE slot_name ~ $1 AND slot_type = 'logical' AND database = current_database()
"""
_LEFT = "its subscription ended, as with a restore: `replication repair` makes another, with another slot"
_HAD_A_SLOT = "SELECT true FROM mc.region_copy WHERE region = $1 AND slot IS NOT NULL"
_LOGS = "SELECT log FROM mc.ledger_epoch WHERE region = $1 ORDER BY epoch"
_REFUSED = """
SELECT kind, error, count(*) AS rows, min(refused_at)::text AS since
FROM mc.region_change_refused GROUP BY kind, error ORDER BY kind, error LIMIT 50
"""
_STATE = """
SELECT * FROM mc.replicated_state() UNION ALL
SELECT 'home', count(*), md5(string_agg(concat_ws(' ', h.tenant, h.region, h.term, h.bound_for), ';'
    ORDER BY h.tenant COLLATE "C"))
FROM mc_home.home h HAVING count(*) > 0
"""
# What each region has said of its copy of the other's rows; false: it has said nothing since a restore
_WHOLE = """
SELECT n.region, coalesce(c.whole, false) AS whole
FROM mc.region_peer p CROSS JOIN LATERAL (VALUES (p.own), (p.peer)) AS n (region)
LEFT JOIN mc.region_copy c ON c.region = n.region
"""


@dataclass(frozen=True, slots=True)
class Peering:
    """Two regions, and the ways between their databases.

    Attributes:
        own: This region's name.
        peer: The other's.
        password: Of this database's role `mc_replicator`, by which the peer comes in.
        peer_url: Of the peer's database, as that role there.
        passfile: Where the database server finds the password of `peer_url` (libpq's file of
            passwords); empty has PostgreSQL keep it in `pg_subscription`.
    """

    own: str
    peer: str
    password: str = field(repr=False)
    peer_url: str = field(repr=False)
    passfile: str = ""

    def __post_init__(self) -> None:
        for name in (self.own, self.peer):
            if not _NAME.fullmatch(name):
                raise Misconfigured(
                    f"{name!r} is no region's name", hint="form: local-1, as MC_REGION"
                )
        if self.own == self.peer:
            raise Misconfigured(f"a region is no peer of itself, both are {self.own!r}")


def subscription_of(subscriber: str) -> str:
    """The name of a region's subscription, and of its first slot at the peer."""
    return "mc_" + subscriber.replace("-", "_")


def _slots_of(subscriber: str) -> str:
    """A pattern of the names that a region's slots at the peer have."""
    return f"^{subscription_of(subscriber)}(_[0-9a-f]{{8}})?$"


def _conninfo(peering: Peering) -> str:
    parts = urlsplit(peering.peer_url)
    if parts.scheme not in ("postgresql", "postgres") or not parts.hostname or not parts.username:
        raise Misconfigured(
            "MC_REPLICATION_PEER_URL is no PostgreSQL URL with a role",
            hint=f"form: postgresql://{ROLE}:PASSWORD@HOST:PORT/mc?sslmode=verify-full",
        )
    words = {
        "host": parts.hostname,
        "port": str(parts.port or 5432),
        "user": unquote(parts.username),
        "dbname": parts.path.lstrip("/"),
        **dict(parse_qsl(parts.query)),
    }
    if peering.passfile:
        words["passfile"] = peering.passfile
    else:
        words["password"] = unquote(parts.password or "")
    escaped = {k: v.replace("\\", "\\\\").replace("'", "\\'") for k, v in words.items()}
    return " ".join(f"{key}='{value}'" for key, value in escaped.items())


def _owner(admin_url: str, service_url: str) -> Any:
    return administrator(database_url(admin_url, service_database(service_url)))


async def set_up(
    *, admin_url: str, service_url: str, peering: Peering, slot: str = ""
) -> dict[str, Any]:
    """Publish what this region writes, tell what is there, and subscribe to the peer.

    Args:
        slot: The name of the slot, if there is no subscription: one that was never used before. Empty: the
            first one's, and only if there was none yet.

    Returns:
        `subscribed`: whether this region gets the peer's rows now; false, with `why`, if the peer was
        not set up yet. `left`: whether the subscription ended here, as with a restore, and `repair` is needed. `logs`: this region's, the one that is written last. `told`: how many rows were there before the peer.

    Raises:
        Misconfigured, Unavailable: nothing is half done that a repetition would not complete.
    """
    conninfo = _conninfo(peering)
    database = service_database(service_url)
    async with _owner(admin_url, service_url) as connection:
        try:
            await _say_nothing_in_logs(connection)
            await _ensure_role(connection, database, peering.password)
            fresh = not await connection.fetchval(
                "SELECT true FROM mc.region_peer WHERE own = $1 AND peer = $2",
                peering.own,
                peering.peer,
            )
            await _begin(connection, peering)
            told = await _tell(connection) if fresh else 0
            why = await _subscribe(connection, peering, conninfo, slot)
            logs = await connection.fetch(_LOGS, peering.own)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise Unavailable(
                f"replication is not set up: {type(error).__name__}",
                hint="run it again; what is done stays",
            ) from error
    return {
        "region": peering.own,
        "peer": peering.peer,
        "told": told,
        "subscribed": not why,
        "why": why,
        "left": why == _LEFT,
        "logs": [peering.own, *(row["log"] for row in logs)],
    }


async def _slot_is_there(peering: Peering) -> bool | None:
    """Whether the peer keeps this region's slot; None if it lets nobody in."""
    with suppress(OSError, asyncpg.PostgresError):
        peer = await asyncpg.connect(peering.peer_url)
        try:
            return bool(await peer.fetch(_SLOTS, _slots_of(peering.own)))
        finally:
            await peer.close()
    return None


async def _begin(connection: Any, peering: Peering) -> None:
    """Triggers and publication, at once; again where requests or the peer's rows had the tables first."""
    for tries_left in reversed(range(_TRIES)):
        try:
            async with connection.transaction():
                await connection.execute("SET LOCAL lock_timeout = '5s'")
                await connection.execute(
                    "SELECT mc.begin_replication($1, $2)", peering.own, peering.peer
                )
                await connection.execute("SELECT mc.begin_records()")
                await _publish(connection, peering.own)
                return
        except (asyncpg.DeadlockDetectedError, asyncpg.LockNotAvailableError):
            if not tries_left:
                raise


async def _say_nothing_in_logs(connection: Any) -> None:
    for setting in ("log_statement = 'none'", "log_min_error_statement = 'panic'"):
        with suppress(asyncpg.InsufficientPrivilegeError):  # an administrator who is no superuser
            await connection.execute(f"SET {setting}")


async def _ensure_role(connection: Any, database: str, password: str) -> None:
    """The peer's way in and the subscription's owner: it adds rows to what is published, and no more."""
    if not await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", ROLE):
        await connection.execute(f"CREATE ROLE {ROLE} NOLOGIN")
    # BYPASSRLS: a subscription refuses a table with row-level security whatever its policies say
    await connection.execute(
        f"ALTER ROLE {ROLE} LOGIN NOINHERIT REPLICATION BYPASSRLS PASSWORD {literal(password)}"
    )
    await connection.execute(f'GRANT CONNECT ON DATABASE "{database}" TO {ROLE}')
    await connection.execute("SELECT mc.admit_replicator()")
    await connection.execute(
        f"GRANT EXECUTE ON FUNCTION mc.copy_not_whole, mc.look_up_known TO {ROLE}"
    )


async def _publish(connection: Any, own: str) -> None:
    tables = _PUBLISHED.format(own=literal(own))
    if await connection.fetchval("SELECT true FROM pg_publication WHERE pubname = $1", PUBLICATION):
        await connection.execute(f"ALTER PUBLICATION {PUBLICATION} SET TABLE {tables}")
        return
    await connection.execute(
        f"CREATE PUBLICATION {PUBLICATION} FOR TABLE {tables} "
        "WITH (publish = 'insert', publish_via_partition_root = true)"
    )


async def _tell(connection: Any) -> int:
    """Tell the peer all that is here; a batch of tasks a transaction, so that replicas go on."""
    behind: str | None = ""
    begun = await connection.fetchval("SELECT coalesce(max(number), 0) FROM mc.region_change")
    while behind is not None:
        behind = await connection.fetchval(
            "SELECT mc.tell_what_is_there($1, $2)", behind, _TOLD_AT_ONCE
        )
    await connection.execute("SELECT mc_home.tell_homes()")
    told: int = await connection.fetchval(
        "SELECT count(*) FROM mc.region_change WHERE number > $1", begun
    )
    return told


async def _subscribe(connection: Any, peering: Peering, conninfo: str, slot: str) -> str:
    """Create the subscription, or bring it up to date; why not, if the peer does not let us in yet."""
    name = subscription_of(peering.own)
    if await connection.fetchval("SELECT true FROM pg_subscription WHERE subname = $1", name):
        await connection.execute(f"ALTER SUBSCRIPTION {name} CONNECTION {literal(conninfo)}")
        await connection.execute(f"ALTER SUBSCRIPTION {name} SET ({_AS_THEY_ARE})")
        await connection.execute(f"ALTER SUBSCRIPTION {name} ENABLE")
        with suppress(asyncpg.PostgresError):  # it needs the peer; the next repair does it
            await connection.execute(f"ALTER SUBSCRIPTION {name} REFRESH PUBLICATION")
        # The peer's database may be another one than it was: it was restored, and had no time to say so
        return _LEFT if await _slot_is_there(peering) is False else ""
    if not slot and await connection.fetchval(_HAD_A_SLOT, peering.own):
        return _LEFT
    options = [
        f"slot_name = '{slot or name}'",
        _AS_THEY_ARE,
        "origin = none",
        "synchronous_commit = 'on'",
        "streaming = on",
        "run_as_owner = true",
    ]
    if peering.passfile:
        options.append("password_required = false")
    if (
        await connection.fetchval("SELECT current_setting('server_version_num')::int")
        >= _FAILOVER_SINCE
    ):
        options.append("failover = true")
    try:
        await connection.execute(
            f"CREATE SUBSCRIPTION {name} CONNECTION {literal(conninfo)} "
            f"PUBLICATION {PUBLICATION} WITH ({', '.join(options)})"
        )
    except asyncpg.PostgresError as error:
        if isinstance(error, asyncpg.InsufficientPrivilegeError):
            raise
        if await _slot_is_there(peering):
            return _LEFT
        return f"the peer's database does not let this region in ({type(error).__name__})"
    await connection.execute(f"ALTER SUBSCRIPTION {name} OWNER TO {ROLE}")
    return ""


async def status(*, admin_url: str, service_url: str, digests: bool = False) -> dict[str, Any]:
    """How this region's replication does, as its own database knows it.

    Args:
        digests: Also one digest of each kind of state, by which two regions are compared.

    Raises:
        Misconfigured: there is no peer.
        Unavailable: the database does not answer.
    """
    async with _owner(admin_url, service_url) as connection:
        try:
            names = await connection.fetchrow("SELECT own, peer FROM mc.region_peer")
            if names is None:
                raise Misconfigured(
                    "this region has no peer",
                    hint="`python -m mc_platform replication setup` gives it one",
                )
            beat = await connection.fetchrow("SELECT * FROM mc.beat()")
            subscription = await connection.fetchrow(_SUBSCRIPTION, subscription_of(names["own"]))
            slot = await connection.fetchrow(_SLOT)
            refused = await connection.fetch(_REFUSED)
            whole = await connection.fetch(_WHOLE)
            lost = await connection.fetchval("SELECT count(*) FROM mc.lost_entries()")
            state = await connection.fetch(_STATE) if digests else []
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise Unavailable(f"replication cannot be looked at: {type(error).__name__}") from error
    report = {
        "region": names["own"],
        "peer": names["peer"],
        "lag_s": beat["lag_s"],
        "told_bytes_behind": beat["told_bytes_behind"],
        "subscription": None if subscription is None else dict(subscription),
        "slot": None if slot is None else dict(slot),
        "refused": [dict(row) for row in refused],
        "whole": {row["region"]: row["whole"] for row in whole},
        "lost_entries_kept": lost,
    }
    report["problems"] = _problems(report)
    if digests:
        report["digests"] = {row["kind"]: [row["rows"], row["digest"]] for row in state}
    return report


def _problems(report: dict[str, Any]) -> list[str]:
    subscription, slot, peer = report["subscription"], report["slot"], report["peer"]
    problems = []
    if subscription is None:
        problems.append(
            f"this region does not subscribe to {peer}: `replication repair` has it do so"
        )
    elif not subscription["subenabled"]:
        problems.append(f"the subscription to {peer} is disabled")
    elif not subscription["works"]:
        problems.append(f"the subscription to {peer} has no connection")
    if slot is None:
        problems.append(f"{peer} does not subscribe to this region")
    elif slot["wal_status"] == "lost":
        problems.append(f"the slot of {peer} is lost: it was away for longer than WAL is kept")
    elif not slot["active"]:
        problems.append(f"{peer} does not fetch what is kept for it")
    problems += [
        f"{region} has no whole copy of the other's rows, and what it confirms does not count: it "
        "copies, or was restored: `replication repair` at both regions"
        for region, whole in report["whole"].items()
        if not whole
    ]
    if report["refused"]:
        count = sum(row["rows"] for row in report["refused"])
        problems.append(f"{counted(count, 'row')} of {peer} could not be merged")
    return problems


async def repair(*, admin_url: str, service_url: str, peering: Peering) -> dict[str, Any]:
    """Mend what can be mended from here: a lost slot, a disabled subscription, refused rows; tell all anew.

    Nothing is removed: rows that are here already are skipped, and merging twice is harmless. After a
    restore of either region both need it: each gets the other's rows anew, and its own of those back.

    Returns:
        `anew`: whether the subscription was made anew. `told`: rows. `refused`: rows that still are.

    Raises:
        Misconfigured, Unavailable: as `set_up`.
    """
    async with _owner(admin_url, service_url) as connection:
        try:
            anew = await _drop_lost(connection, peering)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise Unavailable(
                f"replication is not repaired: {type(error).__name__}",
                hint="run it again; if it stays, run `replication setup` of this version at the peer",
            ) from error
    slot = f"{subscription_of(peering.own)}_{secrets.token_hex(4)}"
    report = await set_up(admin_url=admin_url, service_url=service_url, peering=peering, slot=slot)
    async with _owner(admin_url, service_url) as connection:
        report["told"] += await _tell(connection) + await connection.fetchval(
            "SELECT mc.tell_back()"
        )
        report["refused"] = await connection.fetchval("SELECT mc.merge_refused()")
    return {**report, "anew": anew}


async def _drop_lost(connection: Any, peering: Peering) -> bool:
    """Drop the subscription whose slot at the peer is lost or gone, and slots without one; if the peer answers."""
    name = subscription_of(peering.own)
    here = await connection.fetchval(
        "SELECT coalesce(subslotname, '') FROM pg_subscription WHERE subname = $1", name
    )
    now = await connection.fetchval("SELECT clock_timestamp()")
    try:
        peer = await asyncpg.connect(peering.peer_url)
    except (OSError, asyncpg.PostgresError):
        return False
    try:
        found = await peer.fetch(_SLOTS, _slots_of(peering.own))
        slots = {row["slot_name"]: row["wal_status"] for row in found}
        anew = here is None or slots.get(here) in (None, "lost")
        if anew:
            await peer.execute("SELECT mc.copy_not_whole($1, $2)", peering.own, now)
        for slot in slots.keys() - {here}:
            await peer.execute("SELECT pg_drop_replication_slot($1)", slot)
    finally:
        await peer.close()
    if anew and here is not None:
        await drop_subscription(connection, name, with_slot=here in slots)
    if anew:  # the heartbeat tells it as well, where the peer gets what this region writes
        await connection.execute(
            "INSERT INTO mc.region_heartbeat (region) VALUES ($1)", peering.own
        )
    return anew


async def drop_subscription(connection: Any, name: str, *, with_slot: bool) -> None:
    """Drop a subscription, and its slot at the peer unless that is none of its any more."""
    await connection.execute(f"ALTER SUBSCRIPTION {name} DISABLE")
    if not with_slot:
        await connection.execute(f"ALTER SUBSCRIPTION {name} SET (slot_name = NONE)")
    await connection.execute(f"DROP SUBSCRIPTION {name}")


async def leave_peer(connection: Any) -> str | None:
    """End the subscription of a database that was restored: its position is the backup's, the slot's a later one.

    PostgreSQL would go on from the later one and skip what lies between, without a word. Nothing that
    the database knows of whole copies holds any more. `repair`, at both regions, begins anew.

    Returns:
        The peer's name; None: there is none.
    """
    names = await connection.fetchrow("SELECT own, peer FROM mc.region_peer")
    if names is None:
        return None
    name = subscription_of(names["own"])
    if await connection.fetchval("SELECT true FROM pg_subscription WHERE subname = $1", name):
        await drop_subscription(connection, name, with_slot=False)
    await connection.execute("DELETE FROM mc.region_copy")
    return str(names["peer"])
