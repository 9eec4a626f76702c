"""One of two regions is restored from a base backup: nothing is confirmed falsely, a repair brings all of it back."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from tests.link import link_to
from tests.unit.mc_platform.adapters.postgres.test_replication import (
    NAMES,
    Region,
    _accepted,
    _looked,
    _record,
)

from mc_platform.adapters.postgres import replication
from mc_platform.adapters.postgres.autonomy import PostgresAutonomy
from mc_platform.adapters.postgres.epochs import NewEpoch, begin_epoch, logs_of
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.migrate import database_url, migrate_schema
from mc_platform.adapters.postgres.peer_position import PostgresPeerPosition
from mc_platform.adapters.postgres.replication import Peering
from mc_platform.adapters.postgres.tasks import PostgresTasks
from mc_platform.model.autonomy import Source
from mc_platform.model.task import TaskState
from mc_platform.observe import metrics

FIRST, SECOND = NAMES


@pytest.fixture
def runner():
    with asyncio.Runner() as made:
        yield made


@pytest.fixture
def world(run_postgres, runner):
    """Two regions that replicate, and a way to end the first one's server; each test has its own."""
    with ExitStack() as stack:
        servers = [stack.enter_context(ExitStack()) for _ in NAMES]
        urls = [each.enter_context(run_postgres()) for each in servers]
        links = [stack.enter_context(link_to(at.hostname, at.port)) for at in map(urlsplit, urls)]
        made = [Region(*each) for each in zip(NAMES, urls, links, strict=True)]
        for region in made:
            runner.run(migrate_schema(**region.urls))
            _serve(region, runner)
            peer = made[region is made[0]]
            region.peering = _peering(region, peer)
        for region in (*made, made[0]):
            runner.run(replication.set_up(**region.urls, peering=region.peering))
        stack.callback(_stop, made[1], runner)  # the first one's is for the test to stop
        yield made, servers[0]


def _peering(region, peer):
    way = f"postgresql://{replication.ROLE}:pw@127.0.0.1:{peer.link.port}/mc"
    return Peering(region.name, peer.name, "pw", way, passfile="/nonexistent")


def _serve(region, runner):
    runner.run(region.pools.open())
    runner.run(region.journal.start())
    region.do("ALTER SYSTEM SET wal_retrieve_retry_interval = '200ms'")
    region.do("SELECT pg_reload_conf()")


def _stop(region, runner):
    runner.run(region.journal.stop())
    runner.run(region.pools.close())


def _problems(region, runner):
    return runner.run(replication.status(**region.urls))["problems"]


def _held(region, runner):
    """Whether an answer that is ready now would be confirmed."""
    seen = runner.run(PostgresPeerPosition(region.pools).look())
    return seen.held is not None and seen.held >= seen.written


def _whole(region, runner):
    runner.run(_looked(region))
    peer = region.peering.peer
    return metrics.replication_whole.labels(peer)._value.get()


def _charge(region):
    region.do("INSERT INTO mc.aggregate_turn (tenant, dataset) VALUES ('TENANT_001', 'd')")
    region.do(
        "INSERT INTO mc.aggregate_charge (tenant, dataset, principal, micro_epsilon) "
        "VALUES ('TENANT_001', 'd', 'p', 100)"
    )


def _charges(region):
    return region.do("SELECT count(*) FROM mc.aggregate_charge")[0][0]


def _question(region, runner, state, task_id=None):
    """Record a question in a state, and return its id."""
    event, task = _accepted(task_id)
    event = replace(event, id=f"{state.value}-{task.id}")
    runner.run(
        region.journal.record([event], replace(task, state=state, updated_at=datetime.now(UTC)))
    )
    return task.id


def _abandoned(region, runner):
    later = datetime.now(UTC) + timedelta(hours=1)
    return runner.run(PostgresTasks(region.pools).abandoned(later, 100))


def _restored(world, runner, run_postgres, taken):
    """The first region's server is gone; its backup is in its place, in a new epoch, before it can reach the peer."""
    (one, other), server = world
    _stop(one, runner)
    other.link.cut()
    server.close()
    at = server.enter_context(run_postgres(backup=taken))
    back = Region(FIRST, at, one.link)
    back.link.lead_to(urlsplit(at).hostname, urlsplit(at).port)
    new = NewEpoch(FIRST, "r-1", "the end", "b-1", "", "os-user:test", "disk lost")
    began = runner.run(begin_epoch(database_url(at, "mc"), new, [], []))
    assert (began["peer"], began["former"]["size"]) == (SECOND, 21)
    logs = runner.run(logs_of(back.service_url, FIRST))
    assert logs == (FIRST, f"{FIRST}/e2")
    back.journal = PostgresJournal(back.pools, region=logs[-1])
    back.peering = _peering(back, other)
    _serve(back, runner)
    server.callback(_stop, back, runner)
    other.link.mend()
    return back


def test_a_restored_region_confirms_nothing_until_both_are_repaired(
    world, runner, run_postgres, base_backup, wait_until
):
    (one, other), _ = world
    for region in (one, other):
        _record(region, runner, 20)
    wait_until(lambda: not _problems(one, runner) + _problems(other, runner), what="they replicate")
    wait_until(lambda: one.state() == other.state(), what="both have the same")
    wait_until(lambda: _whole(one, runner) == _whole(other, runner) == 1, what="copies are whole")
    question = _question(one, runner, TaskState.working)
    taken = base_backup(one.admin_url)
    _question(one, runner, TaskState.completed, question)

    # What the backup does not have: entries of both logs, a halt and a charge of the first region
    _record(one, runner, 15)
    _record(other, runner, 15)
    said = {"reason": "why", "principal": "operator@platform", "source": Source.operator}
    autonomy = PostgresAutonomy(one.pools, journal=one.journal)
    runner.run(autonomy.set("TENANT_001", halted=True, **said))
    _charge(one)
    wait_until(lambda: one.state() == other.state(), what="both have the same")
    lost = one.do("SELECT size FROM mc.ledger_head")[0][0] - 21

    back = _restored(world, runner, run_postgres, taken)

    # Nothing goes on by itself, and each is told so. `setup`, as each `mcctl up` does it, mends nothing
    _record(other, runner, 10)
    report = runner.run(replication.set_up(**back.urls, peering=back.peering))
    assert (report["subscribed"], report["left"]) == (False, True)
    assert report["logs"] == [FIRST, f"{FIRST}/e2"]
    assert "its subscription ended" in report["why"]
    for region in (back, other):
        assert not _held(region, runner)
    assert any("does not subscribe" in each for each in _problems(back, runner))
    assert any("restored" in each for each in _problems(back, runner))
    assert _whole(back, runner) == 0
    assert _problems(other, runner) != []

    # A question that the backup has open was answered since: it is not ended as abandoned before that is known
    assert _abandoned(back, runner) == []

    # The restored one has a slot again and copies; the other has not heard that it has all, so it is not believed
    assert runner.run(replication.repair(**back.urls, peering=back.peering))["anew"]
    slot = "SELECT active FROM pg_replication_slots WHERE slot_name ~ '^mc_local_1'"
    wait_until(lambda: other.do(slot) == [(True,)], what="the restored region streams")
    copying = "SELECT 1 FROM pg_subscription_rel WHERE srsubstate <> 'r'"
    wait_until(lambda: back.do(copying) == [], what="it has copied")
    assert not _held(other, runner)
    assert not _held(back, runner)

    assert runner.run(replication.repair(**other.urls, peering=other.peering))["anew"]
    _record(back, runner, 5)
    wait_until(lambda: back.state() == other.state(), what="both have the same again")
    wait_until(lambda: not _problems(back, runner) + _problems(other, runner), what="and say so")
    for region in (back, other):
        wait_until(lambda r=region: _held(r, runner), what="answers are confirmed again")
        assert region.rows("task") == 86
        ended = region.do(f"SELECT state FROM mc.task WHERE id = '{question}'")
        assert ended == [(TaskState.completed.value,)]
        assert _charges(region) == 1
    assert _whole(back, runner) == _whole(other, runner) == 1
    held = PostgresAutonomy(back.pools, journal=back.journal)
    assert runner.run(held.status()).halt_of("TENANT_001") is not None
    assert back.do("SELECT halted FROM mc.autonomy_switch WHERE scope = 'TENANT_001'") == [(True,)]
    # The survivor keeps what the restored log has lost, and says how much
    kept = [runner.run(replication.status(**r.urls))["lost_entries_kept"] for r in (back, other)]
    assert kept == [0, lost]
