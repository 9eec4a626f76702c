"""What is removed, and that it is: by the database's functions, within bounds, told to the ledger."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mc_platform.adapters.postgres import archive, migrate
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.adapters.postgres.retention import PostgresRetention
from mc_platform.adapters.postgres.tasks import PostgresTasks
from mc_platform.assembly import retention as assembled
from mc_platform.assembly.retention import Retention
from mc_platform.model.tenant import Tenant
from mc_platform.record import EventFactory

ENDED = ["COMPLETED", "FAILED", "CANCELED", "REJECTED"]
OPEN = ["SUBMITTED", "WORKING"]
DEFAULT_DAYS = 30


class Engine:
    """An engine that holds nothing, or ended workflows by id, the oldest first."""

    def __init__(self, ids=()):
        self.ids = list(ids)

    async def ended_before(self, before, limit, skip):
        return self.ids[skip : skip + limit]

    async def forget(self, ids):
        self.ids = [one for one in self.ids if one not in ids]


def _tenant(name, days=None):
    return Tenant(name, "eu", frozenset(), frozenset(), 0, retention_days=days)


def _now():
    return datetime.now(UTC)


@pytest.fixture
async def owner(database):
    connection = await asyncpg.connect(migrate.database_url(database.admin_url, "mc"))
    await connection.execute("UPDATE mc.retention_turn SET next_at = '-infinity'")
    await connection.execute("DELETE FROM mc.retention_removed")
    yield connection
    await connection.close()


async def _retention(pools, tenants, engine=None, **more):
    journal = PostgresJournal(pools, region=f"region-{uuid.uuid4().hex[:8]}")
    await journal.start()
    fields = {
        "rows": PostgresRetention(pools),
        "engine": engine or Engine(),
        "journal": journal,
        "events": EventFactory(clock=_now),
        "clock": _now,
        "tenants": tenants,
        "days": DEFAULT_DAYS,
        "interval_s": 60.0,
        "window_s": 86_400.0,
        "pause_s": 0.0,
    }
    return Retention(**fields | more), journal


async def _insert(owner, tenant, state, age_days, *, outcome=None, resolved=False):
    task_id = str(uuid.uuid4())
    governance = {} if outcome is None else {"operation": "x", "outcome": outcome}
    at = _now() - timedelta(days=age_days)
    await owner.execute(
        "INSERT INTO mc.task (id, context_id, tenant, principal, message_id, request_digest, state,"
        " parts, status_text, governance, created_at, updated_at)"
        " VALUES ($1, 'c', $2, 'p', $1, 'd', $3, '[]', '', $4, $5, $5)",
        task_id,
        tenant,
        f"TASK_STATE_{state}",
        json.dumps(governance),
        at,
    )
    if resolved:
        await owner.execute("INSERT INTO mc.operation_resolved (id) VALUES ($1)", task_id)
    return task_id


async def _told(owner, journal):
    rows = await owner.fetch(
        "SELECT tenant, leaf FROM mc.ledger_event WHERE region = $1 ORDER BY index", journal._region
    )
    return [(row["tenant"], json.loads(row["leaf"])["detail"]) for row in rows]


_tasks = st.lists(
    st.tuples(
        st.sampled_from(["short", "usual", "long", "strange"]),
        st.sampled_from(ENDED + OPEN + ["LOST"]),
        st.integers(0, 120),
        st.sampled_from([None, "completed", "stuck"]),
        st.booleans(),
    ),
    max_size=25,
)


@settings(max_examples=20, deadline=None)
@given(_tasks)
def test_kept_is_what_is_open_or_stuck_or_younger_than_its_tenants_retention(database, tasks):
    """Exactly that; of a tenant that is in no catalogue all is kept; counts are the ledger's."""
    asyncio.run(_check_law(database, tasks))


async def _check_law(database, tasks):
    mark = uuid.uuid4().hex[:8]
    days = {"short": 15, "usual": DEFAULT_DAYS, "long": 100}
    told_days = {"short": 15, "usual": None, "long": 100}
    pools = Pools(database_url=database.service_url, application_name="law")
    await pools.open()
    owner = await asyncpg.connect(migrate.database_url(database.admin_url, "mc"))
    await owner.execute("UPDATE mc.retention_turn SET next_at = '-infinity'")
    tenants = [_tenant(f"{name}-{mark}", told) for name, told in told_days.items()]
    retention, journal = await _retention(pools, tenants)
    kept, gone = set(), {}
    for name, state, age, outcome, resolved in tasks:
        one = await _insert(owner, f"{name}-{mark}", state, age, outcome=outcome, resolved=resolved)
        stuck = outcome == "stuck" and not resolved
        if name in days and state in ENDED and not stuck and age >= days[name]:
            gone[f"{name}-{mark}"] = gone.get(f"{name}-{mark}", 0) + 1
        else:
            kept.add(one)
    await retention.look()
    left = await owner.fetch("SELECT id FROM mc.task WHERE tenant LIKE '%-' || $1", mark)
    told = {
        tenant: detail["count"]
        for tenant, detail in await _told(owner, journal)
        if detail["removed"] == "tasks"
    }
    await journal.stop()
    await pools.close()
    await owner.close()
    assert {row["id"] for row in left} == kept
    assert told == gone


async def test_a_run_goes_on_in_batches_and_the_turn_is_one_replicas(owner, pools, monkeypatch):
    """Who has not the turn does nothing; after it the next run is due only after the interval."""
    monkeypatch.setattr(assembled, "_BATCH", 3)
    name = f"T-{uuid.uuid4()}"
    for _ in range(10):
        await _insert(owner, name, "COMPLETED", 40)
    retention, journal = await _retention(pools, [_tenant(name)])
    run = await retention.rows.begin()
    await retention.look()
    assert await owner.fetchval("SELECT count(*) FROM mc.task WHERE tenant = $1", name) == 10
    await retention.rows.end(run, timedelta(0))
    await asyncio.gather(retention.look(), retention.look())
    assert await owner.fetchval("SELECT count(*) FROM mc.task WHERE tenant = $1", name) == 0
    [(tenant, detail)] = await _told(owner, journal)
    assert (tenant, detail["removed"], detail["count"]) == (name, "tasks", 10)
    assert await retention.rows.begin() is None
    await journal.stop()


@pytest.mark.parametrize("ahead", [timedelta(minutes=5), timedelta(days=80)])
async def test_a_clock_that_runs_ahead_makes_nothing_older(owner, pools, ahead):
    """Neither a replica's that the database's bounds would refuse, nor one that they would not."""
    name, least = f"T-{uuid.uuid4()}", f"T-{uuid.uuid4()}"
    for tenant, age in ((name, 20), (name, 101), (least, 14), (least, 16)):
        await _insert(owner, tenant, "COMPLETED", age)
    engine = Engine()
    engine.ended_before = _remember(before := [])
    retention, journal = await _retention(
        pools, [_tenant(least, 15), _tenant(name, 100)], engine, clock=lambda: _now() + ahead
    )
    await retention.look()
    told = {tenant: detail["count"] for tenant, detail in await _told(owner, journal)}
    assert told == {name: 1, least: 1}
    assert before[0] <= _now() - timedelta(days=8)
    await journal.stop()


def _remember(asked):
    async def ended_before(before, _limit, _skip):
        asked.append(before)
        return []

    return ended_before


@pytest.mark.parametrize("column", ["held_until", "next_at"])
async def test_a_turn_from_a_time_that_never_came_is_nobodys(owner, pools, column):
    """The database's clock was a year ahead for a moment: retention does not stop for a year."""
    await owner.execute(f"UPDATE mc.retention_turn SET {column} = now() + interval '1 year'")
    rows = PostgresRetention(pools)
    run = await rows.begin()
    assert run is not None
    assert await rows.begin() is None
    await rows.end(run, timedelta(days=7))
    assert await rows.begin() is None


async def test_weeks_are_kept_while_the_ledger_is_archived(owner, pools):
    """An archiver keeps its lock for as long as it writes files."""
    await owner.execute("SELECT pg_advisory_lock($1)", archive._LOCK)
    await PostgresRetention(pools).keep_quotable_weeks()


def test_no_two_kinds_of_work_share_a_lock():
    """Each lock's number is written in one place."""
    package = Path(migrate.__file__).parents[2]
    # A function that a later migration replaces is the same kind of work
    kinds = {
        (file if file.suffix == ".py" else part.partition("(")[0], number)
        for file in (*package.rglob("*.py"), *package.rglob("*.sql"))
        for part in re.split(r"CREATE (?:OR REPLACE )?FUNCTION ", file.read_text())
        for number in re.findall(r"\b7_?219_?005_?313_?\d{3}\b", part)
    }
    numbers = [int(number) for _, number in kinds]
    assert sorted(numbers) == sorted(set(numbers))
    assert archive._LOCK in numbers


async def test_digests_without_a_week_are_told_when_they_leave(owner, pools):
    """What the default partition took is removed as whole weeks are: with a note."""
    name = f"T-{uuid.uuid4()}"
    await pools.record.execute(
        "INSERT INTO mc.quotable (tenant, digest, task_id, week) VALUES ($1, 5, 't', '2020-01-06')",
        name,
    )
    rows = PostgresRetention(pools)
    await rows.keep_quotable_weeks()
    [noted] = await rows.untold(10)
    assert (noted.tenant, noted.kind, noted.removed) == ("PLATFORM", "quotations", 1)
    assert await owner.fetchval("SELECT count(*) FROM mc.quotable WHERE tenant = $1", name) == 0


async def test_what_told_the_peer_of_a_task_and_what_was_set_aside_goes_with_its_age(owner, pools):
    """Of this tenant, of tasks and digests; what could not be merged of a credential stays, and so does the young."""
    name = f"T-{uuid.uuid4()}"
    task_id = await _insert(owner, name, "FAILED", 40)
    for kind, tenant, body in (
        ("task", name, {}),
        ("tasks", "PLATFORM", [{"id": task_id, "tenant": name}]),
    ):
        await owner.execute(
            "INSERT INTO mc.region_change (region, kind, tenant, key, body, written_at)"
            " VALUES ('local-1', $1, $2, $3, $4, now() - interval '40 days')",
            *(kind, tenant, task_id, json.dumps(body)),
        )
    for key, kind, age in (("old", "task", 40), ("old", "credential", 40), ("young", "task", 20)):
        await owner.execute(
            "INSERT INTO mc.region_change_refused (region, number, kind, tenant, key, body, written_at, error,"
            " refused_at) VALUES ('local-2', 1, $1, $2, $3, '{}', now() - $4 * interval '1 day', 'e',"
            " now() - $4 * interval '1 day')",
            *(kind, name, key, age),
        )
    await PostgresRetention(pools).forget_tasks(name, _now() - timedelta(days=30), 10)
    told = "SELECT count(*) FROM mc.region_change WHERE body::text LIKE $1 OR key = $2"
    assert await owner.fetchval(told, f"%{name}%", task_id) == 0
    left = await owner.fetch(
        "SELECT key, kind FROM mc.region_change_refused WHERE tenant = $1 ORDER BY kind", name
    )
    assert [tuple(row) for row in left] == [("old", "credential"), ("young", "task")]


async def test_what_was_removed_and_not_told_is_told_by_the_next_run(owner, pools):
    """The note is of the same transaction as the removal, and outlives whoever removed."""
    name = f"T-{uuid.uuid4()}"
    await _insert(owner, name, "FAILED", 40)
    retention, journal = await _retention(pools, [_tenant(name)])
    assert await retention.rows.forget_tasks(name, _now() - timedelta(days=30), 10) == 1
    await retention.look()
    await retention._tell()
    [(tenant, detail)] = await _told(owner, journal)
    assert (tenant, detail["count"]) == (name, 1)
    assert await owner.fetchval("SELECT count(*) FROM mc.retention_removed") == 0
    await journal.stop()


async def test_what_comes_to_a_note_while_it_is_told_is_told_as_well(owner, pools):
    """Two that hold the turn after a pause lose no count."""
    rows = PostgresRetention(pools)
    await rows.note("T", "tasks", _now(), 5)
    [first] = await rows.untold(10)
    await rows.note("T", "tasks", _now(), 2)
    await rows.settle(first)
    [second] = await rows.untold(10)
    assert (second.removed, second.id == first.id) == (2, False)
    await rows.settle(second)
    assert await rows.untold(10) == []


async def test_the_engine_keeps_what_is_open_or_stuck(owner, pools):
    """With the attempts to resolve it; of a task that is not there any more it keeps nothing."""
    name = f"T-{uuid.uuid4()}"
    done = await _insert(owner, name, "COMPLETED", 9, outcome="completed")
    resolved = await _insert(owner, name, "FAILED", 9, outcome="stuck", resolved=True)
    stuck = await _insert(owner, name, "FAILED", 9, outcome="stuck")
    running = await _insert(owner, name, "WORKING", 9)
    kept = [stuck, f"{stuck}:resolve:1", running]
    engine = Engine([*kept, done, resolved, f"{resolved}:resolve:1", "unknown"])
    retention, journal = await _retention(pools, [_tenant(name)], engine)
    await retention.look()
    assert engine.ids == kept
    told = {tenant: detail["count"] for tenant, detail in await _told(owner, journal)}
    assert told == {name: 3, "PLATFORM": 1}
    await journal.stop()


async def test_weeks_of_quotations_are_made_ahead_and_dropped_a_week_after_their_end(owner, pools):
    """A digest is known for seven days after the week in which it was told; then its week is gone."""
    name, tasks = f"T-{uuid.uuid4()}", PostgresTasks(pools)
    task_id = await _insert(owner, name, "COMPLETED", 1)
    today = await owner.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    monday = today - timedelta(days=today.weekday())
    made = [monday - timedelta(days=age) for age in (14, 7)]
    for digest, week in enumerate([*made, monday]):
        await owner.execute("SELECT mc.make_quotable_week($1)", week)
        await owner.execute(
            "INSERT INTO mc.quotable (tenant, digest, task_id, week) VALUES ($1, $2, $3, $4)",
            name,
            digest,
            task_id,
            week,
        )
    retention, journal = await _retention(pools, [])
    await retention.look()
    known = [digest for digest in (0, 1, 2) if await tasks.quoted(name, [digest])]
    assert known == [1, 2]
    [(tenant, detail)] = await _told(owner, journal)
    assert (tenant, detail["removed"]) == ("PLATFORM", "quotations")
    assert detail["before"].startswith((today - timedelta(days=7)).isoformat())
    ahead = f"quotable_{monday + timedelta(days=7):y%Ym%md%d}"
    assert await owner.fetchval("SELECT to_regclass('mc.' || $1) IS NOT NULL", ahead)
    await owner.execute(f"DROP TABLE mc.quotable_{made[1]:y%Ym%md%d}")
    await journal.stop()


async def test_a_digest_whose_week_was_not_made_is_kept_and_moves_when_it_is(owner, pools):
    """Nothing is refused where weeks are missing."""
    name, tasks = f"T-{uuid.uuid4()}", PostgresTasks(pools)
    task_id = await _insert(owner, name, "COMPLETED", 1)
    today = await owner.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    week = f"quotable_{today - timedelta(days=today.weekday()):y%Ym%md%d}"
    await owner.execute(f"DROP TABLE mc.{week}")
    await pools.record.execute(
        "INSERT INTO mc.quotable (tenant, digest, task_id) VALUES ($1, 5, $2)", name, task_id
    )
    where = "SELECT tableoid::regclass::text FROM mc.quotable WHERE tenant = $1"
    assert await owner.fetchval(where, name) == "mc.quotable_default"
    assert week in await PostgresRetention(pools).keep_quotable_weeks()
    assert await owner.fetchval(where, name) == f"mc.{week}"
    assert [task.id for task in await tasks.quoted(name, [5])] == [task_id]


async def test_the_version_before_deletes_no_digest_and_fails_at_nothing(owner, pools):
    """It tries every 15 s; `ctid` names other rows in other days, so it may hit none."""
    name = f"T-{uuid.uuid4()}"
    await pools.record.execute(
        "INSERT INTO mc.quotable (tenant, digest, task_id) VALUES ($1, 5, 't')", name
    )
    done = await pools.record.execute(
        "DELETE FROM mc.quotable WHERE ctid = ANY (ARRAY(SELECT ctid FROM mc.quotable"
        " WHERE told_at < clock_timestamp() - $1::interval LIMIT 10000))",
        timedelta(0),
    )
    assert done == "DELETE 0"
    assert await owner.fetchval("SELECT count(*) FROM mc.quotable WHERE tenant = $1", name) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM mc.task",
        "DELETE FROM mc.ledger_checkpoint",
        "DELETE FROM mc.operation_resolved",
        "DROP TABLE mc.quotable_default",
        "SELECT count(*) FROM mc.quotable_default",
        "SELECT mc.make_quotable_week(current_date)",
    ],
)
async def test_the_service_itself_removes_nothing(pools, statement):
    """Only by the functions, which hold to their bounds."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pools.record.execute(statement)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pools.tenant.execute("SELECT mc.keep_quotable_weeks()")


@pytest.mark.parametrize(("age_days", "most"), [(14, 10), (30, 10_001), (30, 0), (30, None)])
async def test_bounds_of_the_function_are_the_databases_own(pools, age_days, most):
    """No caller removes what is younger than fifteen days, or without end."""
    with pytest.raises(asyncpg.InvalidParameterValueError):
        await pools.record.fetchval(
            "SELECT mc.forget_tasks('T', $1, $2)", _now() - timedelta(days=age_days), most
        )


async def test_digests_of_before_stay_known_through_the_migration(database, monkeypatch):
    """They become a partition as they are, which leaves as a whole once they are old."""
    url = f"{database.service_url}_{uuid.uuid4().hex[:6]}"
    folder = migrate.files("mc_platform.migrations")

    class Before:
        @staticmethod
        def iterdir():
            return [one for one in folder.iterdir() if one.name < "0032"]

    with monkeypatch.context() as patched:
        patched.setattr(migrate, "files", lambda _: Before)
        await migrate.migrate_schema(admin_url=database.admin_url, service_url=url)
    owner = await asyncpg.connect(
        migrate.database_url(database.admin_url, migrate.service_database(url))
    )
    task_id = await _insert(owner, "T", "COMPLETED", 1)
    add = "INSERT INTO mc.quotable (tenant, digest, task_id) VALUES ('T', $1, $2)"
    await owner.execute(add, 1, task_id)
    await migrate.migrate_schema(admin_url=database.admin_url, service_url=url)
    await owner.execute(add, 2, task_id)
    pools = Pools(database_url=url, application_name="test")
    await pools.open()
    tasks, rows = PostgresTasks(pools), PostgresRetention(pools)
    assert await tasks.quoted("T", [1])
    assert "quotable_before" not in await rows.keep_quotable_weeks()
    await owner.execute("UPDATE mc.schema_migration SET applied_at = now() - interval '9 days'")
    assert await rows.keep_quotable_weeks() == ["quotable_before"]
    assert not await tasks.quoted("T", [1])
    assert await tasks.quoted("T", [2])
    await pools.close()
    await owner.close()
