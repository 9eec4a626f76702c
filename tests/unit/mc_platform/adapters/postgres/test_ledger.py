"""The partitioned ledger: what grants and policies let through, and times that never fall."""

from __future__ import annotations

import asyncio
import gc
import json
import uuid
from asyncio import events
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette
from tests.fakes import handler_fields
from tests.isolation import steps

from mc_contract.ledger.merkle import Frontier, leaf_hash
from mc_platform.adapters.postgres import migrate as postgres_migrate
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.ledger import PostgresLedger
from mc_platform.adapters.postgres.migrate import database_url, migrate_schema
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.model.event import Event, Kind
from mc_platform.model.tenant import PLATFORM, Principal, Role, Tenant
from mc_platform.query import AuditHandlers
from mc_platform.record import Prover, TileKeeper

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RELATIONS = """
SELECT c.oid::regclass::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'mc' AND c.relkind IN ('r', 'p') AND c.relname LIKE 'ledger_%'
"""


def _event(tenant="TENANT_001", **detail):
    return Event(str(uuid.uuid4()), Kind.request_accepted, tenant, NOW, detail)


@pytest.fixture
async def owner(database):
    connection = await asyncpg.connect(database_url(database.admin_url, "mc"))
    yield connection
    await connection.close()


@pytest.fixture
async def journal(pools):
    made = PostgresJournal(pools, region=f"region-{uuid.uuid4().hex[:8]}")
    await made.start()
    yield made
    await made.stop()


def _pools_of(pools):
    return {"mc_service": pools.tenant, "mc_recorder": pools.record}


async def test_no_relation_of_the_ledger_can_be_changed_by_the_service(pools, owner, journal):
    """UPDATE, DELETE, TRUNCATE, DROP, on the tables and on each partition; the head may move."""
    await journal.record([_event()])
    names = [row["name"] for row in await owner.fetch(RELATIONS)]
    assert {"mc.ledger_event", "mc.ledger_event_default", "mc.ledger_id", "mc.ledger_tile"} <= set(
        names
    )
    assert len([name for name in names if name.startswith("mc.ledger_event_y")]) >= 2
    for role, pool in _pools_of(pools).items():
        for name in names:
            for statement in (
                f"UPDATE {name} SET region = region",
                f"DELETE FROM {name}",
                f"TRUNCATE {name}",
                f"DROP TABLE {name}",
                f"ALTER TABLE {name} DISABLE ROW LEVEL SECURITY",
                f"ALTER TABLE {name} ADD COLUMN more text",
            ):
                if (role, name, statement[:6]) == ("mc_recorder", "mc.ledger_head", "UPDATE"):
                    continue
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await pool.execute(statement)


async def test_a_partition_cannot_be_read_around_row_level_security(pools, owner, journal):
    """Rights are on the parent alone: neither role reads or writes a partition by its name."""
    await journal.record([_event()])
    partitions = await owner.fetch(
        "SELECT inhrelid::regclass::text AS name FROM pg_inherits "
        "WHERE inhparent = 'mc.ledger_event'::regclass"
    )
    for pool in _pools_of(pools).values():
        for row in partitions:
            for statement in ("SELECT * FROM {}", "INSERT INTO {} DEFAULT VALUES", "TABLE {}"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await pool.execute(statement.format(row["name"]))
    assert all(
        row["relrowsecurity"]
        for row in await owner.fetch(
            "SELECT relrowsecurity FROM pg_class WHERE relname LIKE 'ledger\\_event\\_%' "
            "AND relkind = 'r'"
        )
    )


async def test_partitions_are_made_by_the_function_and_by_nothing_else(pools, owner):
    """The recorder may call it; neither role may create, attach, or call the owner's."""
    ledger = PostgresLedger(pools, region="any")
    [name] = await owner.fetch(
        "SELECT to_char(now() + '1 month', '\"mc.ledger_event_y\"YYYY\"m\"MM') AS it"
    )
    await owner.execute(f"DROP TABLE IF EXISTS {name['it']}")
    assert await ledger.ensure_partitions() == [name["it"].removeprefix("mc.")]
    assert await ledger.ensure_partitions() == []
    for pool in _pools_of(pools).values():
        for statement in (
            "SELECT mc.make_ledger_partition(now())",
            "CREATE TABLE mc.mine (LIKE mc.ledger_event)",
            (
                "CREATE TABLE mc.mine PARTITION OF mc.ledger_event FOR VALUES FROM ('2001-01-01') "
                "TO ('2001-02-01')"
            ),
            f"ALTER TABLE mc.ledger_event DETACH PARTITION {name['it']}",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.execute(statement)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pools.tenant.execute("SELECT mc.ensure_ledger_partitions()")
    kept = await owner.fetchrow(
        "SELECT prosecdef, proconfig FROM pg_proc WHERE proname = 'ensure_ledger_partitions'"
    )
    assert kept["prosecdef"]
    assert kept["proconfig"] == ["search_path=pg_catalog, pg_temp"]


async def test_rows_of_the_default_partition_move_when_theirs_is_made(pools, owner, journal):
    """What no partition was ready for is caught, and sorted out later; nothing is lost."""
    await journal.record([_event() for _ in range(5)])
    far = datetime(2003, 5, 6, tzinfo=UTC)
    await owner.execute(
        "UPDATE mc.ledger_event SET recorded_at = $2 WHERE region = $1", journal._region, far
    )
    count = "SELECT count(*) FROM mc.{} WHERE region = $1"
    assert await owner.fetchval(count.format("ledger_event_default"), journal._region) == 5
    name = await owner.fetchval("SELECT mc.make_ledger_partition($1)", far)
    assert name == "ledger_event_y2003m05"
    assert await owner.fetchval(count.format(name), journal._region) == 5
    assert await owner.fetchval(count.format("ledger_event"), journal._region) == 5
    await owner.execute(f"DROP TABLE mc.{name}")


async def test_time_of_recording_never_falls(pools, owner, journal):
    """A clock that was ahead, or is set back, does not put an entry before an earlier one."""
    await journal.record([_event()])
    ahead = datetime.now(UTC) + timedelta(minutes=5)
    await owner.execute(
        "UPDATE mc.ledger_head SET updated_at = $2 WHERE region = $1", journal._region, ahead
    )
    await journal.record([_event(), _event()])
    await journal.record([_event()])
    times = await owner.fetch(
        "SELECT e.recorded_at, i.recorded_at AS registered FROM mc.ledger_event e "
        "JOIN mc.ledger_id i USING (region, index) WHERE region = $1 ORDER BY index",
        journal._region,
    )
    assert [row["recorded_at"] for row in times[1:]] == [ahead] * 3
    assert all(row["recorded_at"] == row["registered"] for row in times)


async def test_an_id_and_an_index_are_used_once_for_good(pools, owner, journal):
    """The database itself refuses a second use, also of an event whose rows have left."""
    event = _event()
    await journal.record([event])
    await owner.execute("DELETE FROM mc.ledger_event WHERE region = $1", journal._region)
    [again] = await journal.record([event])
    assert (again.index, again.fresh) == (0, False)
    for row in ((event.id, 7), ("another", 0)):
        with pytest.raises(asyncpg.UniqueViolationError):
            await pools.record.execute(
                "INSERT INTO mc.ledger_id (region, event_id, index, recorded_at) "
                "VALUES ($1, $2, $3, now())",
                journal._region,
                *row,
            )


async def test_an_entry_is_found_by_what_it_is_about(pools, journal):
    """The subject is an operation's id, else a task's."""
    await journal.record(
        [_event(operation_id="op-1", subject="task-1"), _event(subject="task-2"), _event()]
    )
    rows = await pools.record.fetch(
        "SELECT subject FROM mc.ledger_event WHERE region = $1 ORDER BY index", journal._region
    )
    assert [row["subject"] for row in rows] == ["op-1", "task-2", ""]


async def test_a_ledger_of_the_first_version_is_converted_whole(database, monkeypatch):
    """Rows, ids and head go over; times that fell are put right; a replay finds what it wrote."""
    url = database_url(database.service_url, "mc_before")
    first = [f for f in files("mc_platform.migrations").iterdir() if f.name.startswith("0001")]

    class FirstOnly:
        def iterdir(self):
            return iter(first)

    monkeypatch.setattr(postgres_migrate, "files", lambda _: FirstOnly())
    await migrate_schema(admin_url=database.admin_url, service_url=url)
    owner = await asyncpg.connect(database_url(database.admin_url, "mc_before"))
    frontier = Frontier()
    for index, at in enumerate(
        ("2026-03-31 23:59:59", "2026-04-01 00:00:01", "2026-03-31 23:59:58")
    ):
        leaf = json.dumps({"detail": {"subject": f"task-{index}"}}).encode()
        frontier = frontier.append(leaf_hash(leaf))
        await owner.execute(
            "INSERT INTO mc.ledger_event VALUES ('old', $1, $2, 'T', 'k', now(), $3::text::timestamptz, "
            "$4, $5)",
            index,
            f"event-{index}",
            f"{at}+00",
            leaf,
            leaf_hash(leaf),
        )
    await owner.execute(
        "INSERT INTO mc.ledger_head VALUES ('old', 3, $1, '2026-03-31')", frontier.to_bytes()
    )
    monkeypatch.undo()

    applied = await migrate_schema(admin_url=database.admin_url, service_url=url)
    assert "0002_ledger.sql" in applied
    rows = await owner.fetch(
        "SELECT e.*, e.tableoid::regclass::text AS place FROM mc.ledger_event e ORDER BY index"
    )
    assert [row["subject"] for row in rows] == ["task-0", "task-1", "task-2"]
    assert [row["place"] for row in rows] == [
        "mc.ledger_event_y2026m03",
        "mc.ledger_event_y2026m04",
        "mc.ledger_event_y2026m04",
    ]
    assert rows[1]["recorded_at"] == rows[2]["recorded_at"]
    head = await owner.fetchrow("SELECT * FROM mc.ledger_head")
    assert head["updated_at"] == rows[2]["recorded_at"]
    await owner.close()

    pools = Pools(database_url=url, application_name="test")
    await pools.open()
    journal = PostgresJournal(pools, region="old")
    await journal.start()
    [known] = await journal.record([Event("event-1", Kind.request_accepted, "T", NOW, {})])
    [new] = await journal.record([_event()])
    assert [(known.index, known.fresh), (new.index, new.fresh)] == [(1, False), (3, True)]
    await journal.stop()
    await pools.close()


async def test_pages_of_large_entries_end_earlier(pools, journal):
    """By their bytes; whoever asks on gets all of them, and one too large comes with another."""
    texts = [*["x" * 900_000] * 4, "x" * 3_000_000, "x" * 3_000_000, ""]
    for text in texts:
        await journal.record([_event(text=text)])
    ledger = PostgresLedger(pools, region=journal._region)
    pages = [await ledger.entries(start, 1000) for start in (0, 3, 4, 5, 6)]
    assert [[entry.index for entry in page] for page in pages] == [
        [0, 1, 2],
        [3, 4],
        [4, 5],
        [5, 6],
        [6],
    ]
    assert [entry.index for entry in await ledger.entries(0, 2)] == [0, 1]

    async def of_tenant(after):
        found = await ledger.of_tenant(
            "TENANT_001", since=None, until=None, after_index=after, below=7, limit=200
        )
        return [entry.index for entry in found]

    assert [await of_tenant(after) for after in (-1, 2, 4, 5, 6)] == [
        [0, 1, 2],
        [3, 4],
        [5],
        [6],
        [],
    ]


async def test_no_page_of_large_entries_keeps_the_loop(pools, journal, monkeypatch):
    """Read and written; a tenant's says that there is more, and a client gets every one of them."""
    for _ in range(12):
        many = [f"policy-{at}" for at in range(2000)]
        await journal.record([_event(policies=many) for _ in range(50)])
    ledger = PostgresLedger(pools, region=journal._region)
    prover = Prover(ledger, TileKeeper(ledger))

    auditor = Principal("eve", PLATFORM, "", Role.auditor)
    handlers = AuditHandlers(
        **handler_fields(
            principal_of=lambda _: auditor,
            tenants={PLATFORM: Tenant(PLATFORM, "eu", frozenset(), frozenset(), 0)},
        ),
        ledger=ledger,
        prover=prover,
        sign_head=None,
        cosigned_notes=None,
    )
    http = httpx.AsyncClient(
        transport=httpx.ASGITransport(Starlette(routes=handlers.routes())), base_url="http://ledger"
    )
    gc.collect()
    gc.freeze()  # what pytest holds is not this service's to walk through
    monkeypatch.setattr(events.Handle, "_run", steps.run_measured)
    found, after = [], -1
    for path in ("/audit/entries", "/audit/tenant/TENANT_001?size=600"):
        cost = []
        for _ in range(3):
            steps.reset()
            answer = await http.get(path)
            await asyncio.sleep(0)
            cost.append(dict(steps.longest))
        assert answer.status_code == 200
        assert min(step["cpu_s"] for step in cost) <= 0.05, (path, cost)
    more = True
    while more:
        page = (await http.get(f"/audit/tenant/TENANT_001?size=600&after_index={after}")).json()
        found += [entry["index"] for entry in page["entries"]]
        after, more = found[-1], page["more"]
    assert found == list(range(600))
    gc.unfreeze()
