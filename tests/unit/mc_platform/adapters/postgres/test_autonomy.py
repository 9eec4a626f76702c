"""The autonomy switch on a real PostgreSQL: at once, for good, and in the ledger."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta

import asyncpg
import pytest

from mc_platform.adapters.postgres.autonomy import PostgresAutonomy, event_of
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.assembly.background import every
from mc_platform.errors import Unavailable
from mc_platform.model.autonomy import ALL, Source
from mc_platform.model.event import Kind


class RefusingJournal:
    """A ledger that is down; counts how often it was asked."""

    def __init__(self):
        self.asked = 0

    async def record(self, events, task=None):
        self.asked += 1
        raise Unavailable("the ledger is down")


@pytest.fixture
async def journal(pools):
    opened = PostgresJournal(pools, region=f"region-{uuid.uuid4().hex[:8]}")
    await opened.start()
    yield opened
    await opened.stop()


@pytest.fixture
async def autonomy(pools, journal):
    """The switch, with nothing halted for all before and after."""
    made = PostgresAutonomy(pools, journal=journal)
    yield made
    await _throw(made, ALL, halted=False)


@pytest.fixture
def tenant():
    """A tenant that no other test knows."""
    return f"T_{uuid.uuid4().hex[:8]}"


async def _throw(autonomy, scope, *, halted=True, **more):
    fields = {"reason": "why", "principal": "operator@platform", "source": Source.operator}
    return await autonomy.set(scope, halted=halted, **{**fields, **more})


async def _told(pools, switch):
    rows = await pools.record.fetch(
        "SELECT kind, tenant, leaf FROM mc.ledger_event WHERE event_id = $1", str(switch.id)
    )
    return [(row["kind"], row["tenant"]) for row in rows]


async def test_a_halt_holds_at_once_for_every_process_and_a_resume_ends_it(
    autonomy, pools, journal, tenant
):
    """Two replicas share no memory: the second sees the halt with its very next question."""
    other = PostgresAutonomy(pools, journal=journal)
    assert await other.halted(tenant) is None
    thrown = await _throw(autonomy, tenant, reason="orders go wrong")
    halt = await other.halted(tenant)
    assert (halt.scope, halt.reason, halt.at) == (
        tenant,
        "orders go wrong",
        thrown.switch.at,
    )
    assert await other.halted(f"{tenant}_NEIGHBOUR") is None
    await _throw(other, tenant, halted=False)
    assert await autonomy.halted(tenant) is None


async def test_the_switch_of_all_halts_everybody_and_is_told_first(autonomy, tenant):
    """A tenant halted both ways is told the wider one; its own outlives the other's resume."""
    await _throw(autonomy, tenant)
    await _throw(autonomy, ALL)
    assert (await autonomy.halted(tenant)).scope == ALL
    assert (await autonomy.halted("ANYBODY")).scope == ALL
    await _throw(autonomy, ALL, halted=False)
    assert (await autonomy.halted(tenant)).scope == tenant
    assert await autonomy.halted("ANYBODY") is None


async def test_what_holds_already_makes_no_new_row(autonomy, pools, tenant):
    """Halting twice, or resuming what was never halted, changes nothing."""
    assert not (await _throw(autonomy, tenant, halted=False)).changed
    first = await _throw(autonomy, tenant)
    again = await _throw(autonomy, tenant, reason="another")
    assert (first.changed, again.changed) == (True, False)
    assert again.switch == first.switch
    assert (
        await pools.record.fetchval(
            "SELECT count(*) FROM mc.autonomy_switch WHERE scope = $1", tenant
        )
        == 1
    )


async def test_many_who_halt_at_once_make_one_row(autonomy, pools, tenant):
    """Writers of a scope take turns."""
    thrown = await asyncio.gather(*(_throw(autonomy, tenant) for _ in range(12)))
    assert sum(one.changed for one in thrown) == 1


async def test_a_halt_on_old_news_does_not_overrule_a_resume(autonomy, tenant):
    """An alert that began before a person resumed changes nothing; one that began later does."""
    await _throw(autonomy, tenant)
    resumed = (await _throw(autonomy, tenant, halted=False)).switch.at
    old = await _throw(autonomy, tenant, unless_resumed_since=resumed - timedelta(seconds=1))
    assert not old.changed
    assert await autonomy.halted(tenant) is None
    new = await _throw(autonomy, tenant, unless_resumed_since=resumed + timedelta(seconds=1))
    assert new.changed


async def test_each_switch_is_in_the_ledger_under_its_own_id(autonomy, pools, tenant):
    """A tenant's switch is the tenant's event; that of all is the platform's."""
    halted = (await _throw(autonomy, tenant)).switch
    resumed = (await _throw(autonomy, tenant, halted=False)).switch
    everybody = (await _throw(autonomy, ALL)).switch
    assert await _told(pools, halted) == [("autonomy.halted", tenant)]
    assert await _told(pools, resumed) == [("autonomy.resumed", tenant)]
    assert await _told(pools, everybody) == [("autonomy.halted", "PLATFORM")]
    assert event_of(halted).detail == {
        "subject": str(halted.id),
        "scope": tenant,
        "reason": "why",
        "principal": "operator@platform",
        "source": "operator",
    }
    assert event_of(resumed).kind is Kind.autonomy_resumed


async def test_a_halt_does_not_wait_for_the_ledger_which_is_told_later(autonomy, pools, tenant):
    """While the ledger is down a halt holds; afterwards it is recorded, once."""
    cut_off = PostgresAutonomy(pools, journal=RefusingJournal())
    switch = (await _throw(cut_off, tenant)).switch
    assert await autonomy.halted(tenant) is not None
    assert await _told(pools, switch) == []
    assert await autonomy.record_untold() >= 1
    assert await _told(pools, switch) == [("autonomy.halted", tenant)]
    assert await autonomy.record_untold() == 0


async def test_a_crash_after_the_event_and_before_its_note_records_nothing_twice(
    autonomy, pools, journal, tenant
):
    """The event bears the switch's id, so telling again is telling once."""
    cut_off = PostgresAutonomy(pools, journal=RefusingJournal())
    switch = (await _throw(cut_off, tenant)).switch
    await journal.record([event_of(switch)])
    await autonomy.record_untold()
    assert len(await _told(pools, switch)) == 1


async def test_reconciling_goes_on_by_itself(pools, autonomy, tenant):
    """Background work heals at its start, and survives a ledger that is down."""
    refusing = RefusingJournal()
    cut_off = PostgresAutonomy(pools, journal=refusing)
    switch = (await _throw(cut_off, tenant)).switch
    failing = asyncio.create_task(every(0.01, cut_off.record_untold, "postponed"))
    async with asyncio.timeout(60):
        while refusing.asked < 4:
            await asyncio.sleep(0.02)
    failing.cancel()
    running = asyncio.create_task(every(60, autonomy.record_untold, "postponed"))
    async with asyncio.timeout(60):
        while not await _told(pools, switch):
            await asyncio.sleep(0.02)
    running.cancel()


async def test_status_tells_the_newest_of_each_scope(autonomy, tenant):
    """And the database's time, by which a resume is judged earlier or later."""
    await _throw(autonomy, tenant)
    await _throw(autonomy, tenant, halted=False, reason="mended")
    status = await autonomy.status()
    assert status.switches[tenant].reason == "mended"
    assert status.halt_of(tenant) is None
    assert status.resumed_at(tenant) == status.switches[tenant].at <= status.at


@pytest.mark.parametrize("role", ["mc_service", "mc_recorder"])
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE mc.autonomy_switch SET halted = false",
        "DELETE FROM mc.autonomy_switch",
        "TRUNCATE mc.autonomy_switch CASCADE",
        "DELETE FROM mc.autonomy_switch_recorded",
        "DELETE FROM mc.operation_resolved",
    ],
)
async def test_no_role_of_the_service_can_take_a_switch_back(database, role, statement):
    """Append-only by grants."""
    connection = await asyncpg.connect(database.service_url)
    try:
        if role == "mc_recorder":
            await connection.execute("SET ROLE mc_recorder")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(statement)
    finally:
        await connection.close()


async def test_the_role_that_serves_requests_cannot_throw_the_switch(database):
    """`mc_service` reads it; only `mc_recorder` adds to it."""
    connection = await asyncpg.connect(database.service_url)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(
                "INSERT INTO mc.autonomy_switch (id, scope, halted, reason, principal, source) "
                "VALUES (gen_random_uuid(), '*', false, 'x', 'x', 'operator')"
            )
    finally:
        await connection.close()


async def test_a_switch_that_cannot_be_read_is_said(pools, journal):
    """Whoever asks learns that it is not known, so nothing is enacted on a guess."""
    await pools.tenant.close()
    with pytest.raises(Unavailable, match="autonomy switch cannot be read"):
        await PostgresAutonomy(pools, journal=journal).halted("TENANT_001")
