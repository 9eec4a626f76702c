"""The ledger's writer: one log without gaps, whoever writes and whatever fails."""

from __future__ import annotations

import asyncio
import json
import math
import random
import string
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import asyncpg
import pytest

from mc_contract.keepable import NotKeepable
from mc_contract.ledger.merkle import Frontier, leaf_hash, tree_root
from mc_platform.adapters.postgres import journal as journal_module
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.tasks import PostgresTasks
from mc_platform.errors import Unavailable
from mc_platform.model.event import Event, Kind
from mc_platform.model.task import LEFT_OUT, Task, TaskState
from mc_platform.observe import metrics

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _event(name=None, tenant="TENANT_001", **detail):
    return Event(name or str(uuid.uuid4()), Kind.request_accepted, tenant, NOW, detail)


def _task(state=TaskState.submitted, task_id=None, **more):
    task_id = task_id or str(uuid.uuid4())
    fields = {"tenant": "TENANT_001", "principal": "p", "message_id": task_id, "parts": ()}
    fields["request_digest"] = "d"
    return Task(
        id=task_id,
        context_id="c",
        state=state,
        updated_at=NOW,
        **{**fields, **more},
    )


@pytest.fixture
async def make_journal(pools):
    """Makes journals that share one region, as replicas do."""
    region = f"region-{uuid.uuid4().hex[:8]}"
    started = []

    async def make():
        journal = PostgresJournal(pools, region=region)
        await journal.start()
        started.append(journal)
        return journal

    make.region = region
    yield make
    for journal in started:
        await journal.stop()


async def _rows(pools, region):
    return await pools.record.fetch(
        "SELECT index, event_id, leaf, leaf_hash FROM mc.ledger_event WHERE region = $1 ORDER BY 1",
        region,
    )


async def test_writers_of_several_processes_make_one_log_without_gaps(make_journal, pools):
    """Three journals under load append one sequence, whose root is the head's."""
    journals = [await make_journal() for _ in range(3)]
    written = await asyncio.gather(
        *(journals[n % 3].record([_event(), _event()]) for n in range(120))
    )

    rows = await _rows(pools, make_journal.region)
    assert [row["index"] for row in rows] == list(range(240))
    assert sorted(place.index for places in written for place in places) == list(range(240))
    assert all(row["leaf_hash"] == leaf_hash(row["leaf"]) for row in rows)
    head = await journals[0].head()
    assert (head.size, head.root()) == (240, tree_root([bytes(row["leaf_hash"]) for row in rows]))


async def test_an_event_recorded_twice_stands_once(make_journal, pools):
    """The same id gives the first one's place and is told as not fresh, also within a batch."""
    journal, other = await make_journal(), await make_journal()
    event = _event("the-same")
    first, again = await asyncio.gather(journal.record([event]), journal.record([event]))
    [third] = await other.record([event])

    assert first[0].index == again[0].index == third.index == 0
    assert [first[0].fresh, again[0].fresh, third.fresh] == [True, False, False]
    assert len(await _rows(pools, make_journal.region)) == 1


async def test_of_two_that_claim_one_id_at_once_only_the_first_is_written(make_journal, pools):
    """Two different requests in one flush: one leaf, one task, and only one is told fresh."""
    journal, tasks = await make_journal(), PostgresTasks(pools)
    await journal.record([_event("warm")])
    task = _task(request_digest="first")
    other = _task(task_id=task.id, request_digest="second")
    first, second = await asyncio.gather(
        journal.record([_event("claimed", request="first")], task),
        journal.record([_event("claimed", request="second")], other),
    )
    assert [first[0].fresh, second[0].fresh] == [True, False]
    assert (await tasks.get("TENANT_001", task.id)).request_digest == "first"
    leaves = [json.loads(row["leaf"]) for row in await _rows(pools, make_journal.region)]
    assert [leaf["detail"] for leaf in leaves] == [{}, {"request": "first"}]


async def test_a_commit_whose_answer_was_lost_still_counts_as_its_owners(
    make_journal, pools, monkeypatch
):
    """The connection breaks after the commit: it is found again, fresh, and stands once."""
    journal = await make_journal()
    commit, lost = journal._commit, []

    async def losing(batch, **more):
        result = await commit(batch, **more)
        if not lost:
            lost.append(True)
            raise asyncpg.ConnectionDoesNotExistError("gone")
        return result

    monkeypatch.setattr(journal, "_commit", losing)
    results = await asyncio.gather(journal.record([_event("a")]), journal.record([_event("b")]))
    assert [recorded.fresh for [recorded] in results] == [True, True]
    assert len(await _rows(pools, make_journal.region)) == 2


async def test_a_replay_does_not_change_a_task(make_journal, pools):
    """A task that comes with no new event is not written."""
    journal, tasks = await make_journal(), PostgresTasks(pools)
    event, task = _event(), _task()
    await journal.record([event], task)
    await journal.record([event], _task(TaskState.failed, task.id))
    assert (await tasks.get("TENANT_001", task.id)).state is TaskState.submitted


async def test_a_terminal_task_is_never_changed_again(make_journal, pools):
    """Whoever comes later, the first end stands."""
    journal, tasks = await make_journal(), PostgresTasks(pools)
    task = _task()
    await journal.record([_event()], task)
    await journal.record([_event()], _task(TaskState.completed, task.id))
    await journal.record([_event()], _task(TaskState.failed, task.id))
    assert (await tasks.get("TENANT_001", task.id)).state is TaskState.completed


async def test_what_came_with_a_task_is_known_again_within_its_tenant(make_journal, pools):
    """By any of its digests, the first that told it; not for another tenant."""
    journal, tasks = await make_journal(), PostgresTasks(pools)
    mine, digests = f"T-{uuid.uuid4()}", (-(2**63), 7, 2**63 - 1)
    first = _task(TaskState.completed, tenant=mine, parts=({"text": "x"},), quotable=digests)
    again = _task(TaskState.completed, tenant=mine, quotable=digests)
    await journal.record([_event(tenant=mine)], first)
    await journal.record([_event(tenant=mine)], again)
    assert [task.id for task in await tasks.quoted(mine, [7, 8])] == [first.id]
    assert await tasks.quoted(mine, [8]) == []
    assert await tasks.quoted(f"T-{uuid.uuid4()}", digests) == []
    assert [task.id for task in await tasks.answered(mine, "c")] == [first.id]


_QUOTING = [
    (1, (8, 9), True),  # nobody told 8 or 9
    (1, (9, 7), False),  # its tenant's other task told 7
    (2, (7,), True),  # which is another tenant's
    (1, (5,), True),  # its neighbour in the flush tells 5
    (1, (2**63 - 1,), False),
    (2, (-(2**63),), False),
]


@pytest.mark.parametrize("lost", [False, True])
async def test_what_quotes_is_not_recorded_and_keeps_no_neighbour_from_it(
    make_journal, pools, monkeypatch, lost
):
    """Of one flush, in two statements; also if the answer to the first commit is lost."""
    journal, name = await make_journal(), uuid.uuid4().hex[:8]
    first, last = -(2**63), 2**63 - 1
    for number, digests in ((1, (7, last)), (2, (first,))):
        tenant = f"T{number}-{name}"
        await journal.record([_event(tenant=tenant)], _task(tenant=tenant, quotable=digests))

    commit, broken, calls = journal._asked, [], []

    async def asked(statement, *arguments):
        answer = await commit(statement, *arguments)
        calls.append(statement)
        if lost and answer["written"] and not broken:
            broken.append(True)
            raise asyncpg.ConnectionDoesNotExistError("gone")
        return answer

    monkeypatch.setattr(journal, "_asked", asked)
    tasks = [_task(tenant=f"T{number}-{name}", quotable=(5,)) for number, *_ in _QUOTING]
    results = await asyncio.gather(
        journal.record([_event("plain")]),
        *(
            journal.record_unless_quoted(_event(task.id, tenant=task.tenant), task, digests)
            for task, (_, digests, _) in zip(tasks, _QUOTING, strict=True)
        ),
        journal.record([_event()], _task(tenant=f"T1-{name}", quotable=(5,))),
    )
    fresh = [recorded is not None and recorded[0].fresh for recorded in results]
    assert fresh == [True, *(written for *_, written in _QUOTING), True]
    kept = PostgresTasks(pools)
    stored = [await kept.get(task.tenant, task.id) is not None for task in tasks]
    assert stored == [written for *_, written in _QUOTING]
    assert len(await _rows(pools, make_journal.region)) == 2 + sum(fresh)
    assert len(calls) == (4 if lost else 2)


async def test_a_repeat_is_known_by_its_event_whatever_its_own_task_told(make_journal):
    """Alone, beside the first one in a flush, and once another task has told the same."""
    journal, tenant = await make_journal(), f"T-{uuid.uuid4()}"
    event, task = _event(tenant=tenant), _task(tenant=tenant, quotable=(7,))

    def ask():
        return journal.record_unless_quoted(event, task, [7])

    first, again = await asyncio.gather(ask(), ask())
    assert [first[0].fresh, again[0].fresh] == [True, False]
    assert [recorded.fresh for recorded in await ask()] == [False]
    other = _task(tenant=tenant, quotable=(8,))
    await journal.record([_event(tenant=tenant)], other)
    late = _event(tenant=tenant), _task(tenant=tenant)
    told = await asyncio.gather(*(journal.record_unless_quoted(*late, [8]) for _ in range(2)))
    assert told == [None, None]


async def test_each_quotable_digest_is_stored_with_its_own_task_and_tenant(make_journal, pools):
    """Of a flush in which tasks of two tenants have some, none, or the same; to both ends of the range."""
    journal = await make_journal()
    first, last = -(2**63), 2**63 - 1
    mine = {"TENANT_001": [(first, 5), (), (6, 7)], "TENANT_002": [(5,), (last, first), (8,)]}
    tasks = [
        _task(tenant=tenant, quotable=quotable)
        for number in range(3)
        for tenant, quotable in ((name, several[number]) for name, several in mine.items())
    ]
    await asyncio.gather(*(journal.record([_event(tenant=task.tenant)], task) for task in tasks))
    stored = await pools.record.fetch(
        "SELECT tenant, digest, task_id FROM mc.quotable WHERE task_id = ANY($1)",
        [task.id for task in tasks],
    )
    assert {tuple(row) for row in stored} == {
        (task.tenant, digest, task.id) for task in tasks for digest in task.quotable
    }


async def test_a_row_that_cannot_be_written_does_not_refuse_its_neighbours(make_journal, pools):
    """One bad record of a batch fails alone."""
    journal = await make_journal()
    bad = _event("nul\x00")
    results = await asyncio.gather(
        journal.record([_event("good-1")]),
        journal.record([bad]),
        journal.record([_event("good-2")]),
        return_exceptions=True,
    )
    assert isinstance(results[1], Unavailable)
    kept = {row["event_id"] for row in await _rows(pools, make_journal.region)}
    assert kept == {"good-1", "good-2"}


async def test_a_reply_comes_back_with_every_number_as_it_was(make_journal, pools):
    """Integers of any kept size, decimals and their kinds pass the store unchanged."""
    journal, tasks = await make_journal(), PostgresTasks(pools)
    numbers = [
        5,
        5.0,
        -0.0,
        0.1,
        9007199254740993,
        10**307,
        1e300,
        Decimal("0.12345678901234567890"),
    ]
    parts = ({"text": "é \u2028"}, {"data": [None, True, {"k": "\U0001f600"}, *numbers]})
    task = _task(TaskState.completed, parts=parts)
    await journal.record([_event()], task)
    read = (await tasks.get("TENANT_001", task.id)).parts
    assert repr(read) == repr(parts)


@pytest.mark.parametrize(
    "content",
    ["a\ud800", "a\x00", 10**308, math.nan, Decimal("1e400"), object()],
    ids=["half-surrogate", "nul", "too-long", "nan", "too-large", "no-json"],
)
async def test_what_no_reader_could_show_is_recorded_for_nobody(make_journal, pools, content):
    """The one who brings it is told what and where; those who share the flush are recorded."""
    journal, tasks = await make_journal(), PostgresTasks(pools)
    good, bad = _task(TaskState.completed), _task(TaskState.completed, parts=({"data": [content]},))
    told = await asyncio.gather(
        journal.record([_event()], good),
        journal.record([_event()], bad),
        journal.record([replace(_event(), detail={"subject": "s", "x": content})]),
        return_exceptions=True,
    )
    assert [type(one) for one in told] == [list, NotKeepable, NotKeepable]
    assert str(told[1]).startswith("[0].data[0] ")
    assert str(told[2]).startswith("x ")
    assert await tasks.get("TENANT_001", good.id) is not None
    assert await tasks.get("TENANT_001", bad.id) is None


@pytest.mark.parametrize(
    ("stored", "why"),
    [
        ('[{"data": {"n": 1%s}}]' % ("0" * 309), "[0].data.* is a number of more than 308 digits"),
        ('[{"data": [1%s]}]' % ("0" * 5000), "[0].data[0] is a number of more than 308 digits"),
        ('[{"text": "\\ud800"}]', "[0].text holds half of a surrogate pair"),
        (f'[{{"data": {"[" * 60}1{"]" * 60}}}]', "is nested deeper than 49"),
        ('{"data": 1}', "the value is no list of parts"),
    ],
    ids=["int", "long int", "surrogate", "depth", "shape"],
)
async def test_a_row_that_cannot_be_shown_takes_no_neighbour_along(
    make_journal, pools, stored, why
):
    """It is told with its id, its state and the reason, and counted."""
    journal, tasks = await make_journal(), PostgresTasks(pools)
    tenant, parts = f"T-{uuid.uuid4()}", ({"text": "x"},)
    good, bad = (_task(TaskState.completed, tenant=tenant, parts=parts) for _ in range(2))
    await journal.record([_event()], good)
    await journal.record([_event()], bad)
    await pools.record.execute("UPDATE mc.task SET parts = $1 WHERE id = $2", stored, bad.id)
    before = metrics.unreadable_rows.labels("task")._value.get()
    page = await tasks.page(
        tenant,
        principal=None,
        context_id=None,
        state=None,
        limit=10,
        before=None,
        since=None,
        replies=True,
    )
    shown = {task.id: task for task in page.tasks}
    assert shown[good.id].parts == good.parts
    assert shown[bad.id].parts == ()
    assert shown[bad.id].state is TaskState.completed
    assert shown[bad.id].unreadable
    assert shown[bad.id].status_text.startswith("the content cannot be shown: its reply: ")
    assert shown[bad.id].status_text.endswith(why)
    assert metrics.unreadable_rows.labels("task")._value.get() == before + 1
    assert (await tasks.get(tenant, bad.id)).unreadable


async def test_a_listing_shows_only_tasks_since_a_time(make_journal, pools):
    """Of that very time as well."""
    journal, tasks = await make_journal(), PostgresTasks(pools)
    tenant = f"T-{uuid.uuid4()}"
    made = [_task(TaskState.completed, tenant=tenant) for _ in range(3)]
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    for hours, task in enumerate(made):
        await journal.record([_event()], replace(task, updated_at=noon + timedelta(hours=hours)))
    wanted = {"principal": None, "context_id": None, "state": None, "before": None}
    for since, number in ((None, 3), (noon + timedelta(hours=1), 2), (noon.replace(year=2027), 0)):
        page = await tasks.page(tenant, **wanted, limit=10, since=since, replies=True)
        assert [task.id for task in page.tasks] == [task.id for task in reversed(made)][:number]


@pytest.mark.parametrize(
    "text",
    ["".join(random.Random(1).choices(string.ascii_letters, k=400_000)), "a" * 400_000],
    ids=["any", "packs well"],
)
async def test_large_replies_are_read_only_where_they_are_wanted(make_journal, pools, text):
    """A page ends before it is too large, and says so; a conversation has a mark in their place."""
    journal, tasks = await make_journal(), PostgresTasks(pools)
    tenant = f"T-{uuid.uuid4()}"
    large = ({"text": text},)
    made = [_task(TaskState.completed, tenant=tenant, parts=large) for _ in range(4)]
    for task in made:
        await journal.record([_event()], task)
    wanted = {"principal": None, "context_id": None, "state": None, "since": None}
    seen, before = [], None
    for _ in range(2):
        page = await tasks.page(tenant, **wanted, limit=10, before=before, replies=True)
        assert [task.parts for task in page.tasks] == [large, large]
        before = page.tasks[-1].updated_at, page.tasks[-1].id
        seen += [(task.id, page.more) for task in page.tasks]
    assert {task_id for task_id, _ in seen} == {task.id for task in made}
    assert [more for _, more in seen] == [True, True, False, False]
    bare = await tasks.page(tenant, **wanted, limit=3, before=None, replies=False)
    assert ([task.parts for task in bare.tasks], bare.more) == ([(), (), ()], True)
    told = await tasks.conversation(tenant, made[0].context_id, limit=9)
    told += await tasks.answered(tenant, made[0].context_id)
    assert [task.parts for task in told] == [LEFT_OUT] * 6
    assert (await tasks.get(tenant, made[0].id)).parts == large


async def test_what_was_recorded_with_a_nul_is_still_shown(make_journal, pools):
    """It is no longer taken; what older versions kept stays readable."""
    journal, tasks = await make_journal(), PostgresTasks(pools)
    task = _task(TaskState.completed, parts=({"text": "x"},))
    await journal.record([_event()], task)
    stored = '[{"text": "a\\u0000b"}]'
    await pools.record.execute("UPDATE mc.task SET parts = $1 WHERE id = $2", stored, task.id)
    assert (await tasks.get("TENANT_001", task.id)).parts == ({"text": "a\0b"},)


async def test_the_service_can_neither_change_nor_delete_what_the_log_holds(
    make_journal, pools, database
):
    """Append-only by grants: for the role it logs in as, and for the one it becomes."""
    journal = await make_journal()
    await journal.record([_event()])
    for pool in (pools.tenant, pools.record):
        for statement in (
            "UPDATE mc.ledger_event SET leaf = ''",
            "DELETE FROM mc.ledger_event",
            "TRUNCATE mc.ledger_event",
            "UPDATE mc.ledger_checkpoint SET note = ''",
            "DELETE FROM mc.task",
            "ALTER TABLE mc.ledger_event DISABLE ROW LEVEL SECURITY",
            "UPDATE mc.credential SET tenant = 'X'",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await pool.execute(statement)


async def test_a_tenant_sees_its_own_rows_only(make_journal, pools):
    """Row-level security holds even for a query that forgets the tenant."""
    journal = await make_journal()
    await journal.record([_event()], _task())
    await journal.record([_event(tenant="TENANT_002")], _task(tenant="TENANT_002"))
    async with pools.as_tenant("TENANT_001") as connection:
        for table in ("mc.task", "mc.ledger_event"):
            tenants = await connection.fetch(f"SELECT DISTINCT tenant FROM {table}")
            assert [row["tenant"] for row in tenants] == ["TENANT_001"]
    assert await pools.tenant.fetchval("SELECT count(*) FROM mc.task") == 0


async def test_the_leaf_is_canonical_and_says_what_happened(make_journal, pools):
    """An auditor can read the bytes that the log commits to."""
    journal = await make_journal()
    await journal.record([_event("e-1", reason="because")])
    [row] = await _rows(pools, make_journal.region)
    assert json.loads(row["leaf"]) == {
        "v": 1,
        "region": make_journal.region,
        "id": "e-1",
        "kind": "request.accepted",
        "tenant": "TENANT_001",
        "occurred_at": "2026-01-02T03:04:05+00:00",
        "detail": {"reason": "because"},
    }


async def test_the_stored_head_is_a_frontier_of_its_size(make_journal, pools):
    """What a writer leaves behind another can go on from."""
    journal = await make_journal()
    await journal.record([_event() for _ in range(5)])
    stored = await pools.record.fetchval(
        "SELECT frontier FROM mc.ledger_head WHERE region = $1", make_journal.region
    )
    assert Frontier.from_bytes(bytes(stored)).size == 5


async def test_flushes_that_follow_each_other_share_a_connection_and_then_give_it_back(
    make_journal, pools, monkeypatch
):
    """Also where one failed in between: the next one has a connection of its own."""
    monkeypatch.setattr("mc_platform.adapters.postgres.journal._HELD_S", 0.2)
    journal, taken, writing = await make_journal(), [], pools.writing

    def counted():
        taken.append(True)
        return writing()

    monkeypatch.setattr(pools, "writing", counted)
    first = asyncio.create_task(journal.record([_event()]))
    while journal._held is None:
        await asyncio.sleep(0)
    await asyncio.gather(first, journal.record([_event()]))
    assert len(taken) == 1
    with pytest.raises(Unavailable):
        await journal.record([_event("nul\x00")])
    assert (await journal.record([_event()]))[0].fresh
    assert len(taken) == 2
    async with asyncio.timeout(10):
        while pools.record.get_idle_size() < pools.record.get_size():
            await asyncio.sleep(0)


async def test_a_connection_that_ended_between_two_flushes_is_not_used(make_journal, pools):
    """The next one takes another; nothing has to be tried again."""
    journal = await make_journal()
    await journal.record([_event()])
    session, connection = journal._connection.get_server_pid(), journal._connection
    await pools.tenant.execute("SELECT pg_terminate_backend($1)", session)
    async with asyncio.timeout(10):
        while not journal_module._has_ended(connection):
            await asyncio.sleep(0)
    assert (await journal.record([_event()]))[0].fresh
    assert journal._connection.get_server_pid() != session


async def test_a_connection_that_cannot_be_given_back_stops_no_flush(
    make_journal, pools, monkeypatch
):
    """As where the server is gone when a connection is closed that has served long enough."""
    journal, failures, writing = await make_journal(), [], pools.writing

    class _NotTakenBack:
        def __init__(self):
            self._inner = writing()

        async def __aenter__(self):
            return await self._inner.__aenter__()

        async def __aexit__(self, *_):
            await self._inner.__aexit__(None, None, None)
            failures.append(True)
            raise TimeoutError

    monkeypatch.setattr("mc_platform.adapters.postgres.journal._HELD_S", 0.01)
    monkeypatch.setattr(pools, "writing", _NotTakenBack)
    assert (await journal.record([_event()]))[0].fresh
    while not failures:
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        assert (await journal.record([_event()]))[0].fresh


async def test_sessions_that_have_ended_are_forgotten(make_journal, pools, monkeypatch):
    """A quiet replica's connection is closed after some seconds: there are thousands in a day."""
    journal, numbers = await make_journal(), iter(range(1_000))
    monkeypatch.setattr(
        asyncpg.Connection, "get_server_pid", lambda _self: next(numbers), raising=True
    )
    for _ in range(100):
        await journal.record([_event()])
    assert len(journal._planned) < 100


async def test_a_stopping_journal_flushes_and_then_refuses(make_journal, pools):
    """What was queued is committed; what comes later is told to ask another replica."""
    journal = await make_journal()
    pending = asyncio.create_task(journal.record([_event("last")]))
    await asyncio.sleep(0)
    await journal.stop()
    assert (await pending)[0].fresh
    with pytest.raises(Unavailable, match="shutting down"):
        await journal.record([_event()])


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("UPDATE mc.ledger_head SET size = 10 WHERE region = $1", "its size is 10"),
        ("UPDATE mc.ledger_head SET frontier = '\\x00' WHERE region = $1", "stored frontier"),
    ],
)
async def test_nothing_is_built_upon_a_damaged_head(make_journal, pools, damage, told):
    """Recording stops and says why, instead of a log that no checkpoint fits."""
    await (await make_journal()).record([_event()])
    journal = await make_journal()
    await pools.record.execute(damage, make_journal.region)
    with pytest.raises(Unavailable, match=told):
        await journal.record([_event()])
    with pytest.raises(Unavailable, match=told):
        await journal.head()


async def test_a_message_makes_one_task_whatever_ids_two_replicas_give_it(make_journal, pools):
    """Amid a rotation of the identity key: at one moment, with others' rows in the same flushes."""
    one, other = await make_journal(), await make_journal()
    message = str(uuid.uuid4())
    mine, theirs = (_task(message_id=message) for _ in range(2))

    async def record(journal, task):
        event = _event(name=f"accepted-{task.id}")
        beside = [journal.record([_event()], _task()) for _ in range(5)]
        told, *_ = await asyncio.gather(journal.record([event], task), *beside)
        return event, told[0]

    results = await asyncio.gather(record(one, mine), record(other, theirs))
    assert sorted(recorded.fresh for _, recorded in results) == [False, True]
    [first] = [task for task, (_, told) in zip((mine, theirs), results, strict=True) if told.fresh]
    found = await PostgresTasks(pools).of_message("TENANT_001", message)
    assert found.id == first.id
    # Nothing of the second is in the log
    known = [await one.knows([event.id]) for event, _ in results]
    assert known == [recorded.fresh for _, recorded in results]
    assert await PostgresTasks(pools).of_message("TENANT_002", message) is None
