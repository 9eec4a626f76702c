"""What one call writes to the log: by laws, beside the writer of the version before, and refused."""

from __future__ import annotations

import asyncio
import json
import uuid
from datetime import UTC, datetime

import asyncpg
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.earlier_journal import EarlierJournal
from tests.examples import examples

from mc_contract.ledger.merkle import Frontier, leaf_hash, tree_root
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.migrate import (
    database_url,
    migrate_schema,
    service_database,
)
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.errors import LedgerDamaged
from mc_platform.model.event import Event, Kind
from mc_platform.model.task import Task, TaskState

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HASHES = st.binary(min_size=32, max_size=32)
IDS = st.sampled_from("abcdef")


def _event(name, said=0):
    return Event(name, Kind.request_accepted, "TENANT_001", NOW, {"said": said})


def _task(task_id, digest="d", state=TaskState.submitted, quotable=()):
    return Task(
        id=task_id,
        context_id="c",
        tenant="TENANT_001",
        principal="p",
        message_id=task_id,
        request_digest=digest,
        state=state,
        updated_at=NOW,
        quotable=quotable,
    )


@pytest.fixture(scope="module")
def owner(database):
    with psycopg.connect(database_url(database.admin_url, "mc"), autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def runner():
    with asyncio.Runner() as made:
        yield made


@pytest.fixture(scope="module")
def shared_pools(database, runner):
    pools = Pools(database_url=database.service_url, application_name="laws")
    runner.run(pools.open())
    yield pools
    runner.run(pools.close())


@st.composite
def frontiers(draw):
    """Of any size, as `from_bytes` takes it."""
    size = draw(st.one_of(st.integers(0, 600), st.integers(0, 2**62)))
    count = size.bit_count()
    return Frontier(size, tuple(draw(st.lists(HASHES, min_size=count, max_size=count))))


@given(head=frontiers(), leaves=st.lists(HASHES, max_size=40))
def test_the_database_extends_a_frontier_as_the_contract_does(owner, head, leaves):
    """From any size on, by any number of leaves."""
    extended = head
    for leaf in leaves:
        extended = extended.append(leaf)
    [stored] = owner.execute(
        "SELECT mc.extend_frontier(%s, %s)", (head.to_bytes(), leaves)
    ).fetchone()
    assert stored == extended.to_bytes()


CALLS = st.tuples(
    st.integers(0, 2),  # who writes
    st.lists(st.tuples(IDS, st.integers(0, 1)), max_size=4),
    st.one_of(st.none(), st.sampled_from("xyz")),
)


@settings(max_examples=examples(200))
@given(bursts=st.lists(st.lists(CALLS, min_size=1, max_size=6), min_size=1, max_size=4))
def test_two_writers_and_one_of_the_version_before_make_one_log(runner, shared_pools, bursts):
    """Whatever comes at once: no gap, one entry an id, one caller told that it is fresh."""
    runner.run(_one_log(shared_pools, bursts))


async def _one_log(pools, bursts):
    region = f"region-{uuid.uuid4().hex[:12]}"
    journals = [
        each(pools, region=region) for each in (PostgresJournal, PostgresJournal, EarlierJournal)
    ]
    for journal in journals:
        await journal.start()
    told = []
    number = uuid.uuid4().int >> 68  # a digest is told once for a tenant, whatever the test
    for burst in bursts:
        wanted = []
        for writer, said, task in burst:
            number += 1
            events = [_event(name, what) for name, what in said]
            of_call = (
                None if task is None else _task(f"{region}-{task}", str(number), quotable=(number,))
            )
            wanted.append((writer, events, of_call))
        answers = await asyncio.gather(
            *(journals[writer].record(events, task) for writer, events, task in wanted)
        )
        told += [
            (events, task, answer)
            for (_, events, task), answer in zip(wanted, answers, strict=True)
        ]
    rows = await pools.record.fetch(
        "SELECT index, event_id, leaf, leaf_hash FROM mc.ledger_event WHERE region = $1 ORDER BY 1",
        region,
    )
    assert [row["index"] for row in rows] == list(range(len(rows)))
    assert all(row["leaf_hash"] == leaf_hash(row["leaf"]) for row in rows)
    places = {row["event_id"]: row["index"] for row in rows}
    assert set(places) == {event.id for events, _, _ in told for event in events}
    assert len(places) == len(rows)
    for journal in journals:
        assert await journal.head() == _frontier(row["leaf_hash"] for row in rows)
        await journal.stop()
    fresh = {}
    for events, _, answer in told:
        for event, recorded in zip(events, answer, strict=True):
            assert (recorded.event_id, recorded.index) == (event.id, places[event.id])
            if recorded.fresh:
                assert event.id not in fresh, "two were told that they were first"
                fresh[event.id] = event
    for row in rows:
        assert json.loads(row["leaf"])["detail"] == fresh[row["event_id"]].detail
    await _check_tasks(pools, region, told)


def _frontier(hashes):
    frontier = Frontier()
    for each in hashes:
        frontier = frontier.append(bytes(each))
    return frontier


async def _check_tasks(pools, region, told):
    """A call's task is written if it brought something new, or no event at all; else never."""
    may = {}
    for events, task, answer in told:
        if task is not None and (not events or any(recorded.fresh for recorded in answer)):
            may.setdefault(task.id, set()).add(task.request_digest)
    stored = await pools.record.fetch(
        "SELECT id, request_digest FROM mc.task WHERE id LIKE $1", f"{region}-%"
    )
    assert {row["id"] for row in stored} == set(may)
    for row in stored:
        assert row["request_digest"] in may[row["id"]]
    quotable = await pools.record.fetch(
        "SELECT task_id, digest FROM mc.quotable WHERE task_id LIKE $1", f"{region}-%"
    )
    told_of = {task_id: set() for task_id in may}
    for row in quotable:
        told_of[row["task_id"]].add(str(row["digest"]))
    # The writer before writes one state of a task in a flush, with that one's digests alone
    assert all(told_of[task_id] and told_of[task_id] <= may[task_id] for task_id in may)


@pytest.fixture
async def journal(pools):
    made = PostgresJournal(pools, region=f"region-{uuid.uuid4().hex[:8]}")
    await made.start()
    yield made
    await made.stop()


async def _stored(pools, region):
    return await pools.record.fetch(
        "SELECT (SELECT count(*) FROM mc.ledger_event WHERE region = $1) AS entries,"
        " (SELECT count(*) FROM mc.ledger_id WHERE region = $1) AS ids, size, frontier, updated_at"
        " FROM mc.ledger_head WHERE region = $1",
        region,
    )


@pytest.mark.parametrize(
    ("size", "frontier", "why"),
    [
        (2, Frontier(2, (b"a" * 32,)).to_bytes(), "set back or rewritten"),
        (3, Frontier(3, (b"a" * 32, b"b" * 32)).to_bytes(), "set back or rewritten"),
        (0, Frontier().to_bytes(), "set back or rewritten"),
        (4, Frontier(3, (b"a" * 32, b"b" * 32)).to_bytes(), "its size is 4"),
        (4, Frontier(4, (b"a" * 32, b"b" * 32)).to_bytes(), "stored frontier"),
        (4, b"\x00", "stored frontier"),
        (-1, b"\xff" * 8 + b"a" * 32 * 64, "stored frontier"),
    ],
    ids=["back", "rewritten", "emptied", "size", "hashes", "short", "negative"],
)
async def test_nothing_is_written_upon_a_head_that_went_back_or_is_damaged(
    pools, journal, size, frontier, why
):
    """Also not the task; and when the head is restored, the log goes on where it was."""
    before = await journal.record([_event("1"), _event("2"), _event("3")])
    [sound] = await _stored(pools, journal._region)
    change = "UPDATE mc.ledger_head SET size = $2, frontier = $3 WHERE region = $1"
    await pools.record.execute(change, journal._region, size, frontier)
    [damaged] = await _stored(pools, journal._region)
    task = _task(str(uuid.uuid4()))
    with pytest.raises(LedgerDamaged, match=why):
        await journal.record([_event("4")], task)
    assert [damaged] == await _stored(pools, journal._region)
    assert await pools.record.fetchval("SELECT count(*) FROM mc.task WHERE id = $1", task.id) == 0
    await pools.record.execute(change, journal._region, sound["size"], sound["frontier"])
    [after] = await journal.record([_event("4")], task)
    assert (after.index, after.fresh) == (before[-1].index + 1, True)


async def test_a_region_without_a_head_records_nothing(pools, journal, owner):
    """As if somebody had deleted the row."""
    owner.execute("DELETE FROM mc.ledger_head WHERE region = %s", (journal._region,))
    with pytest.raises(LedgerDamaged, match="its row is missing"):
        await journal.record([_event("1")])


async def test_what_another_wrote_while_an_answer_was_lost_is_not_its_own(
    pools, journal, monkeypatch
):
    """Same id, other bytes: the other's stands, and the task of the one that lost is not written."""
    other = PostgresJournal(pools, region=journal._region)
    await other.start()
    commit, tries = journal._commit, []

    async def losing(batch, **more):
        tries.append(more)
        if len(tries) == 1:
            await other.record([_event("claimed", 1), _event("apart", 1)])
            raise asyncpg.ConnectionDoesNotExistError("gone before it was sent")
        return await commit(batch, **more)

    monkeypatch.setattr(journal, "_commit", losing)
    digest = uuid.uuid4().int >> 68
    lost, kept = (_task(str(uuid.uuid4()), quotable=(digest + n,)) for n in range(2))
    claimed, new = await asyncio.gather(
        journal.record([_event("claimed", 2)], lost), journal.record([_event("new")], kept)
    )
    await other.stop()
    assert [more["answer_lost"] for more in tries] == [False, True]
    assert [(it.index, it.fresh) for it in (*claimed, *new)] == [(0, False), (2, True)]
    stored = await pools.record.fetch(
        "SELECT id, (SELECT digest FROM mc.quotable q WHERE q.task_id = t.id) AS digest"
        " FROM mc.task t WHERE id = ANY($1)",
        [lost.id, kept.id],
    )
    assert [tuple(row) for row in stored] == [(kept.id, digest + 1)]


async def test_a_late_commit_of_a_try_that_was_given_up_changes_nothing(
    pools, journal, monkeypatch
):
    """A statement that still waits in the server when its repeat is done finds everything there."""
    commit, late = journal._commit, []

    async def twice(batch, **more):
        result = await commit(batch, **more)
        before = await _stored(pools, journal._region)
        late.extend(await commit(batch, answer_lost=False))
        assert before == await _stored(pools, journal._region)
        return result

    monkeypatch.setattr(journal, "_commit", twice)
    task = _task(str(uuid.uuid4()))
    [own] = await journal.record([_event("late")], task)
    assert (own.fresh, late[0][0].fresh) == (True, False)


async def test_two_states_of_one_task_that_queue_at_once_are_both_recorded(pools, journal):
    """The later one is of the next flush; an end stands, whatever comes behind it."""
    first, task_id = journal.record([_event("warm")]), str(uuid.uuid4())
    states = (TaskState.working, TaskState.completed, TaskState.failed)
    told = await asyncio.gather(
        first,
        *(journal.record([_event(state)], _task(task_id, state=state)) for state in states),
    )
    assert [recorded.index for [recorded] in told] == [0, 1, 2, 3]
    stored = await pools.record.fetchval("SELECT state FROM mc.task WHERE id = $1", task_id)
    assert stored == TaskState.completed


async def test_one_message_many_times_at_once_keeps_nobody_waiting(pools, journal, monkeypatch):
    """Repeats share a flush, with others' rows; states of one task wait for each other alone."""
    commit, sizes = journal._commit, []

    async def counting(batch, **more):
        sizes.append(len(batch))
        return await commit(batch, **more)

    monkeypatch.setattr(journal, "_commit", counting)
    claimed, moved = str(uuid.uuid4()), str(uuid.uuid4())
    repeats = [journal.record([_event("claim")], _task(claimed, str(n))) for n in range(200)]
    states = [journal.record([_event(f"state-{n}")], _task(moved, str(n))) for n in range(3)]
    again = [journal.record([_event("state-2", said=1)])]
    others = [journal.record([_event(f"other-{n}")], _task(str(uuid.uuid4()))) for n in range(5)]
    told = await asyncio.gather(*repeats, *states, *again, *others)
    fresh = [recorded.fresh for [recorded] in told]
    assert fresh == [True] + [False] * 199 + [True] * 3 + [False] + [True] * 5
    assert sizes == [206, 1, 2]
    digests = await pools.record.fetch(
        "SELECT request_digest FROM mc.task WHERE id = ANY($1) ORDER BY id = $2",
        [claimed, moved],
        moved,
    )
    assert [row["request_digest"] for row in digests] == ["0", "0"]


async def test_only_the_recorder_may_call_it(pools):
    """Not the role that the service logs in as."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pools.tenant.execute("SELECT mc.extend_frontier('', '{}')")
    assert not await pools.tenant.fetchval(
        "SELECT has_function_privilege('mc_service', 'mc.record_batch'::regproc::oid, 'EXECUTE')"
    )


def test_the_root_of_what_the_database_extended_is_the_tree_s(owner):
    """From nothing on, in several calls."""
    leaves = [leaf_hash(bytes([n])) for n in range(100)]
    stored = Frontier().to_bytes()
    for at in range(0, 100, 7):
        [stored] = owner.execute(
            "SELECT mc.extend_frontier(%s, %s)", (stored, leaves[at : at + 7])
        ).fetchone()
    assert Frontier.from_bytes(stored).root() == tree_root(leaves)


async def test_an_id_is_looked_up_though_the_plan_is_of_empty_tables(database):
    """Analysed while they are empty, they made each look-up read the whole log for a while."""
    name = f"{database.service_url}_{uuid.uuid4().hex[:6]}"
    await migrate_schema(admin_url=database.admin_url, service_url=name)
    owner = await asyncpg.connect(database_url(database.admin_url, service_database(name)))
    await owner.execute("VACUUM ANALYZE")
    pools = Pools(database_url=name, application_name="test")
    await pools.open()
    journal = PostgresJournal(pools, region="r")
    await journal.start()
    for flush in range(60):
        await journal.record([_event(f"{flush}/{n}") for n in range(50)])
    await journal.stop()
    await pools.close()  # a session's statistics are there once it has ended
    read = "SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'ledger_id'"
    sessions = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name = 'test'"
    )
    async with asyncio.timeout(30):
        while await owner.fetchval(sessions):
            await asyncio.sleep(0.05)
    # Up to a thousand events the planner takes either way for as good
    assert await owner.fetchval(read) < 1_000_000
    await owner.close()
