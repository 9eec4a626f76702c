"""Two PostgreSQL servers that replicate to each other: the link is cut for real, and nothing is lost."""

from __future__ import annotations

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from urllib.parse import urlsplit

import psycopg
import pytest
from tests.link import link_to

from mc_platform.adapters.postgres import replication
from mc_platform.adapters.postgres.autonomy import PostgresAutonomy
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.migrate import database_url, migrate_schema
from mc_platform.adapters.postgres.peer_position import PostgresPeerPosition
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.adapters.postgres.replication import Peering
from mc_platform.assembly.regions import Heartbeat
from mc_platform.errors import Misconfigured
from mc_platform.model.autonomy import Source
from mc_platform.model.event import Event, Kind
from mc_platform.model.task import Task, TaskState
from mc_platform.observe import metrics

NAMES = ("local-1", "local-2")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Region:
    """One region: its database, a journal, and the way by which the peer reads it."""

    def __init__(self, name, admin_url, link):
        at = urlsplit(admin_url)
        self.name, self.admin_url, self.link = name, admin_url, link
        self.service_url = f"postgresql://mc_service:pw@{at.hostname}:{at.port}/mc"
        self.peering = None
        self.pools = Pools(database_url=self.service_url, application_name=name)
        self.journal = PostgresJournal(self.pools, region=name)
        self.heartbeat = Heartbeat(self.pools)

    @property
    def urls(self):
        return {"admin_url": self.admin_url, "service_url": self.service_url}

    def do(self, statement, *values):
        with psycopg.connect(database_url(self.admin_url, "mc"), autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def state(self):
        return self.do("SELECT kind, rows, digest FROM mc.replicated_state()")

    def rows(self, kind):
        return {row[0]: row[1] for row in self.state()}.get(kind, 0)


@pytest.fixture(scope="module")
def runner():
    with asyncio.Runner() as made:
        yield made


@pytest.fixture(scope="module")
def pair(run_postgres, runner):
    """Two regions that know nothing of each other yet; one has recorded before."""
    with run_postgres() as one, run_postgres() as other:
        at = [urlsplit(url) for url in (one, other)]
        with (
            link_to(at[0].hostname, at[0].port) as first,
            link_to(at[1].hostname, at[1].port) as second,
        ):
            made = [Region(NAMES[0], one, first), Region(NAMES[1], other, second)]
            for region, peer in zip(made, reversed(made), strict=True):
                runner.run(migrate_schema(**region.urls))
                way = f"postgresql://{replication.ROLE}:pw@127.0.0.1:{peer.link.port}/mc"
                region.peering = Peering(region.name, peer.name, "pw", way, passfile="/nonexistent")
                runner.run(region.pools.open())
                runner.run(region.journal.start())
                # A subscription that lost its connection tries again at once
                region.do("ALTER SYSTEM SET wal_retrieve_retry_interval = '200ms'")
                region.do("SELECT pg_reload_conf()")
            yield made
            for region in made:
                runner.run(region.journal.stop())
                runner.run(region.pools.close())


@pytest.fixture(scope="module")
def regions(pair, runner):
    one, other = pair
    _record(one, runner, 20)
    assert runner.run(replication.set_up(**one.urls, peering=one.peering))["subscribed"] is False
    assert runner.run(replication.set_up(**other.urls, peering=other.peering))["subscribed"]
    assert runner.run(replication.set_up(**one.urls, peering=one.peering))["subscribed"]
    return pair


def _accepted(task_id=None, text="hello"):
    task_id = task_id or str(uuid.uuid4())
    event = Event(f"accepted-{task_id}", Kind.request_accepted, "TENANT_001", NOW, {"said": text})
    task = Task(
        id=task_id,
        context_id="c",
        tenant="TENANT_001",
        principal="p",
        message_id=task_id,
        request_digest="d",
        state=TaskState.completed,
        updated_at=NOW,
        quotable=(int(uuid.uuid4()) >> 66,),
    )
    return event, task


def _record(region, runner, count):
    async def all_of_them():
        await asyncio.gather(
            *(region.journal.record([e], t) for e, t in map(_accepted, [None] * count))
        )

    runner.run(all_of_them())


def _converged(pair):
    one, other = pair
    return one.state() == other.state()


def _status(region, runner):
    return runner.run(replication.status(**region.urls))


def _lag(region, runner):
    runner.run(asyncio.wait_for(_looked(region), 5))
    return region.heartbeat._lag_s


async def _looked(region):
    region.heartbeat._show(await region.heartbeat._beat())


def test_a_region_without_a_peer_has_no_triggers_no_lag_and_says_so(pair, runner):
    """What one region pays for replication is nothing but an empty table that a flush asks."""
    one, _ = pair
    assert (
        one.do(
            "SELECT tgname FROM pg_trigger WHERE tgname ~ '^(tell_|take|skip_)' AND tgname <> 'tell' "
            # In which nobody writes
            "AND tgrelid NOT IN ('mc.region_heartbeat'::regclass, 'mc_home.home'::regclass)"
        )
        == []
    )
    assert runner.run(one.heartbeat._beat()) is None
    with pytest.raises(Misconfigured, match="has no peer"):
        runner.run(replication.status(**one.urls))


def test_what_was_recorded_before_the_peer_reaches_it_and_both_go_on(regions, runner, wait_until):
    """Twenty before, fifty in each afterwards, at once: all are in both, each once."""
    one, other = regions
    _record(one, runner, 50)
    _record(other, runner, 50)
    wait_until(lambda: _converged(regions) and one.rows("task") == 120, what="both have all")
    assert other.rows("ledger") == 120
    # No replica beats here: each status does, and then tells the other whether its copy is whole
    wait_until(lambda: not _status(one, runner)["problems"] + _status(other, runner)["problems"])
    for region in regions:
        report = runner.run(replication.status(**region.urls, digests=True))
        assert report["problems"] == [], report
        assert report["slot"]["failover"] is True


def test_a_message_that_the_peer_has_accepted_is_a_repeat_here(regions, runner, wait_until):
    """Its event is not fresh, nothing is written, and its task is the first one's."""
    one, other = regions
    event, task = _accepted()
    runner.run(one.journal.record([event], task))
    wait_until(lambda: other.do("SELECT 1 FROM mc.task WHERE id = %s", task.id), what="it is there")
    size = other.do("SELECT size FROM mc.ledger_head")
    (recorded,) = runner.run(other.journal.record([event], task))
    assert not recorded.fresh
    assert other.do("SELECT size FROM mc.ledger_head") == size
    wait_until(lambda: _converged(regions))


def test_a_cut_link_makes_the_lag_grow_and_loses_nothing(regions, runner, wait_until):
    """Both record on while it is cut; mended, both have all of it, none of it twice."""
    one, other = regions
    wait_until(lambda: max(_lag(one, runner), _lag(other, runner)) < 0.5, what="no lag when idle")
    before = one.rows("task")
    for region in regions:
        region.link.cut()
    _record(one, runner, 40)
    _record(other, runner, 30)
    wait_until(lambda: _lag(other, runner) > 1.5, what="the lag grows")
    first = _lag(other, runner)
    wait_until(lambda: _lag(other, runner) > first + 1, what="and grows")
    assert metrics.replication_lag.labels("local-1")._value.get() > first
    for problem in (
        "the subscription to local-1 has no connection",
        "local-1 does not fetch what is kept for it",
    ):
        wait_until(lambda p=problem: p in _status(other, runner)["problems"], what=problem)
    behind = _status(other, runner)
    assert behind["slot"]["retained_bytes"] >= behind["told_bytes_behind"] > 0
    for region in regions:
        region.link.mend()
    wait_until(lambda: _converged(regions) and one.rows("task") == before + 70, what="caught up")
    for region in regions:
        assert region.do("SELECT * FROM mc.region_change_refused") == []
        twice = "SELECT event_id FROM mc.ledger_event GROUP BY event_id HAVING count(*) > 1"
        assert region.do(twice) == []
    wait_until(lambda: max(_lag(one, runner), _lag(other, runner)) < 0.5, what="no lag afterwards")


def test_a_halt_in_one_region_halts_the_other_and_a_resume_tells_who_still_halts(
    regions, runner, wait_until
):
    """Whoever halts, both halt; each region's resume is its own."""
    one, other = regions
    here = PostgresAutonomy(one.pools, journal=one.journal)
    there = PostgresAutonomy(other.pools, journal=other.journal)
    said = {"reason": "why", "principal": "operator@platform", "source": Source.operator}
    runner.run(here.set("TENANT_001", halted=True, **said))
    halt = wait_until(
        lambda: runner.run(there.halted("TENANT_001")), what="the halt is known there"
    )
    assert halt.region == "local-1"
    resumed = runner.run(there.set("TENANT_001", halted=False, **said))
    assert not resumed.changed
    assert resumed.switch.halted
    assert resumed.switch.region == "local-1"
    assert runner.run(there.status()).halt_of("TENANT_001").region == "local-1"
    runner.run(here.set("TENANT_001", halted=False, **said))
    wait_until(lambda: runner.run(there.halted("TENANT_001")) is None, what="nobody halts")
    # The clock is set back an hour: the next halt is later all the same
    one.do("UPDATE mc.autonomy_switch SET at = at + interval '1 hour'")
    runner.run(here.set("TENANT_001", halted=True, **said))
    wait_until(lambda: runner.run(there.halted("TENANT_001")), what="the later halt is known")
    runner.run(here.set("TENANT_001", halted=False, **said))
    wait_until(lambda: runner.run(there.halted("TENANT_001")) is None, what="nobody halts")
    wait_until(lambda: _converged(regions))


def test_a_setup_that_meets_requests_on_the_way_is_tried_again(regions, runner, wait_until):
    """It locks tables in its own order, and so may be the one that ends for a deadlock."""
    one, _ = regions
    url = database_url(one.admin_url, "mc")
    waits = (
        "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'mc.aggregate_charge'::regclass"
    )
    with psycopg.connect(url) as request, ThreadPoolExecutor(1) as beside:
        request.execute("SET deadlock_timeout = '60s'")  # so that the other one ends
        request.execute("LOCK TABLE mc.aggregate_charge IN ROW EXCLUSIVE MODE")

        def _goes_on():
            wait_until(lambda: one.do(waits), what="the setup waits for the request")
            request.execute("LOCK TABLE mc.task IN ROW EXCLUSIVE MODE")
            request.commit()

        done = beside.submit(_goes_on)
        assert runner.run(replication.set_up(**one.urls, peering=one.peering))["subscribed"]
        done.result()


def test_a_slot_that_is_lost_is_mended_by_a_repair_and_nothing_stays_missing(
    regions, runner, wait_until
):
    """As after a peer was away for longer than WAL is kept: rows that are there are not added twice."""
    one, other = regions
    other.do("ALTER SUBSCRIPTION mc_local_2 DISABLE")
    slots = "SELECT active FROM pg_replication_slots WHERE slot_name = 'mc_local_2'"
    wait_until(lambda: one.do(slots) == [(False,)], what="the peer is away")
    runner.run(_looked(one))
    assert ("local-2",) in metrics.replication_retained._metrics
    one.do("SELECT pg_drop_replication_slot('mc_local_2')")
    runner.run(_looked(one))
    assert ("local-2",) not in metrics.replication_retained._metrics, "the last figure looks kept"
    _record(one, runner, 25)
    problems = runner.run(replication.status(**one.urls))["problems"]
    assert "local-2 does not subscribe to this region" in problems
    # A setup, such as `mcctl up` makes, does not take a subscription without its slot for one
    set_up = runner.run(replication.set_up(**other.urls, peering=other.peering))
    assert (set_up["subscribed"], set_up["left"]) == (False, True)
    report = runner.run(replication.repair(**other.urls, peering=other.peering))
    assert report["anew"]
    assert report["subscribed"]
    runner.run(replication.repair(**one.urls, peering=one.peering))
    wait_until(lambda: _converged(regions), what="nothing is missing")
    for region in regions:
        assert runner.run(replication.status(**region.urls))["refused"] == []


def test_another_slot_confirms_nothing_before_the_copy_that_began_with_it_is_whole(
    regions, runner, wait_until
):
    """Its position says nothing of what was written before it, and what the peer said of the former one counts no more.

    The peer copies (here: it waits for a lock), and what it says comes late: its clock was set back meanwhile.
    """
    one, other = regions
    wait_until(lambda: _confirmed(one, other, runner), what="the first slot's copy is whole")
    former = other.do("SELECT subslotname FROM pg_subscription")[0][0]
    other.link.cut()
    said = other.do(
        "INSERT INTO mc.region_change (region, kind, tenant, key, body, written_at) SELECT 'local-2', 'copy', "
        "'PLATFORM', 'local-2', jsonb_build_object('whole', true, 'reads_sets', true, 'slot', %s::text), "
        "clock_timestamp() + interval '1 hour' RETURNING number",
        former,
    )[0][0]
    other.do("ALTER SUBSCRIPTION mc_local_2 DISABLE")
    active = "SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'logical' AND active"
    wait_until(lambda: one.do(active) == [(0,)], what="the peer is away")
    one.do("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    other.do("ALTER SUBSCRIPTION mc_local_2 SET (slot_name = NONE)")
    other.do("DROP SUBSCRIPTION mc_local_2")
    _record(one, runner, 25)
    url = database_url(other.admin_url, "mc")
    other.do(
        "CREATE FUNCTION mc.wait() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN PERFORM pg_advisory_xact_lock(1); RETURN NEW; END'"
    )
    other.do("CREATE TRIGGER wait BEFORE INSERT ON mc.task FOR EACH ROW EXECUTE FUNCTION mc.wait()")
    other.do("ALTER TABLE mc.task ENABLE REPLICA TRIGGER wait")
    with psycopg.connect(url) as blocks:
        blocks.execute("SELECT pg_advisory_lock(1)")
        refused = runner.run(replication.set_up(**other.urls, peering=other.peering))
        assert (refused["subscribed"], "replication repair" in refused["why"]) == (False, True)
        assert runner.run(replication.repair(**other.urls, peering=other.peering))["subscribed"]
        other.link.mend()
        heard = "SELECT 1 FROM mc.region_copy WHERE region = 'local-2' AND number >= %s"
        wait_until(lambda: one.do(heard, said), what="what the peer said comes late")
        passed = "SELECT bool_or(confirmed_flush_lsn >= %s) FROM pg_replication_slots"
        end = one.do("SELECT pg_current_wal_flush_lsn()")[0][0]
        wait_until(lambda: one.do(passed, end) == [(True,)], what="the slot is past all of it")
        assert other.rows("task") < one.rows("task")
        runner.run(_looked(other))
        assert runner.run(PostgresPeerPosition(one.pools).look()).held is None
    wait_until(lambda: _converged(regions), what="nothing is missing")
    other.do("DROP FUNCTION mc.wait CASCADE")
    wait_until(lambda: _confirmed(one, other, runner), what="the second slot's copy is whole")


def test_what_the_peer_has_not_confirmed_is_kept_however_old(regions, runner, wait_until):
    """The copy that another slot would begin with must have it; what it has goes after a day."""
    one, other = regions
    old = "SELECT count(*) FROM mc.region_change WHERE written_at < now() - interval '1 day'"

    def kept():
        runner.run(_looked(other))
        one.do("SELECT mc.forget_told()")
        return one.do(old)[0][0]

    wait_until(
        lambda: kept() == 0 and one.do("SELECT mark FROM mc.region_peer")[0][0], what="a mark"
    )
    one.link.cut()
    _record(one, runner, 5)
    one.do(
        "UPDATE mc.region_change SET written_at = now() - interval '2 days' WHERE region = 'local-1'"
    )
    one.do("UPDATE mc.region_peer SET mark_at = mark_at - interval '3 days'")
    there = one.do(old)[0][0]
    assert [kept(), kept()] == [there, there] != [0, 0]
    one.link.mend()
    wait_until(lambda: kept() == 0, what="the peer has it, and it goes")


def _confirmed(region, peer, runner):
    """Whether an answer that is ready now would be confirmed, once the peer's heart has beaten."""
    runner.run(_looked(peer))
    seen = runner.run(PostgresPeerPosition(region.pools).look())
    return seen.held is not None and seen.held >= seen.written


def test_another_history_under_the_same_name_is_set_aside_and_stalls_nothing(
    regions, runner, wait_until
):
    """An entry that the peer has with other bytes: it is not replaced, it is told."""
    one, other = regions
    other.do(
        "INSERT INTO mc.ledger_event (region, index, event_id, tenant, kind, occurred_at, recorded_at, "
        "leaf, leaf_hash) VALUES ('local-1', %s, 'forged', 'T', 'k', now(), now(), '', sha256('f'))",
        one.do("SELECT size FROM mc.ledger_head")[0][0],
    )
    _record(one, runner, 2)
    wait_until(lambda: _converged(regions), what="the next entries are there all the same")
    refused = runner.run(replication.status(**other.urls))["refused"]
    assert [(row["kind"], row["error"]) for row in refused] == [
        ("event", "another history of this region is here")
    ]


def test_a_subscription_of_before_is_sent_values_as_they_are_once_it_is_set_up_again(
    regions, runner, wait_until
):
    """One that an earlier version made gets them as text."""
    one, other = regions
    other.do("ALTER SUBSCRIPTION mc_local_2 SET (binary = false)")
    assert runner.run(replication.set_up(**other.urls, peering=other.peering))["subscribed"]
    assert other.do("SELECT subbinary FROM pg_subscription") == [(True,)]
    _record(one, runner, 2)
    wait_until(lambda: _converged(regions), what="what is recorded comes")


def test_no_password_stands_where_others_read(regions):
    """With a file of passwords PostgreSQL keeps none; who reads subscriptions is a superuser at any rate."""
    one, _ = regions
    ((conninfo,),) = one.do("SELECT subconninfo FROM pg_subscription")
    assert "password=" not in conninfo.replace("passfile=", "")
    with (
        psycopg.connect(one.service_url) as service,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        service.execute("SELECT subconninfo FROM pg_subscription")


def test_what_carries_rows_may_add_them_and_nothing_else(regions):
    """The subscription's owner is no superuser, and neither changes nor removes a row, nor reads others."""
    one, _ = regions
    at = urlsplit(one.service_url)
    url = f"postgresql://{replication.ROLE}:pw@{at.hostname}:{at.port}/mc"
    for statement in (
        "DELETE FROM mc.region_change",
        "UPDATE mc.ledger_event SET leaf = ''",
        "INSERT INTO mc.task DEFAULT VALUES",
        "SELECT * FROM mc.credential",
        "SELECT mc.beat()",
    ):
        with psycopg.connect(url) as carrier, pytest.raises(psycopg.errors.InsufficientPrivilege):
            carrier.execute(statement)
    (made,) = one.do(
        "SELECT max(relname) FROM pg_class WHERE relname ~ '^ledger_event_y\\d{4}m\\d{2}$'"
    )[0]
    one.do(f"DROP TABLE mc.{made}")  # next month's, which holds nothing
    assert one.do("SELECT mc.ensure_ledger_partitions()") == [(made,)]
    may = "SELECT has_table_privilege('mc_replicator', %s, 'INSERT')"
    assert one.do(may, f"mc.{made}") == [(True,)]  # else the subscription stood still that month
