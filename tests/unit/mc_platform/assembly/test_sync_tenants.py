"""Tenants that wait for the peer, with a peer in memory."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from tests.fakes import NOW, MemoryLedger

from mc_platform.adapters.postgres.peer_position import Positions
from mc_platform.assembly.sync_tenants import SyncTenants
from mc_platform.errors import PeerAway, Unavailable
from mc_platform.model.event import Kind
from mc_platform.model.ids import TenantId
from mc_platform.record import EventFactory

STRICT, LENIENT, OTHER = TenantId("STRICT"), TenantId("LENIENT"), TenantId("OTHER")
_LONG_S = 60.0


class Peer:
    """How far the region has written, and what the peer has of it."""

    def __init__(self):
        self.written, self.held, self.looks = 100, 100, 0
        self.fails = False

    async def look(self):
        self.looks += 1
        if self.fails:
            raise Unavailable("the database is away")
        return Positions(self.written, self.held)


@asynccontextmanager
async def _watched(peer, *, wait_s=_LONG_S):
    ledger = MemoryLedger()
    made = SyncTenants(
        region="eu-1",
        degrades={STRICT: False, LENIENT: True},
        wait_s=wait_s,
        look=peer.look,
        journal=ledger,
        events=EventFactory(clock=lambda: NOW),
    )
    watching = asyncio.create_task(made.run())
    try:
        yield made, ledger
    finally:
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching


async def _until(condition):
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.001)


async def test_an_answer_waits_for_what_was_written_before_it_and_for_no_more():
    """What is written meanwhile is for those who come later; nobody looks when nobody waits."""
    peer = Peer()
    async with _watched(peer) as (tenants, _):
        await tenants.require(OTHER)
        assert peer.looks == 0
        await tenants.require(STRICT)
        peer.written = 200
        first = asyncio.create_task(tenants.require(STRICT))
        await _until(lambda: peer.looks > 3)
        peer.written = 300
        second = asyncio.create_task(tenants.require(LENIENT))
        seen = peer.looks
        await _until(lambda: peer.looks > seen + 3)
        assert not first.done()
        peer.held = 200
        await first
        assert not second.done()
        peer.held = 300
        await second
        seen = peer.looks
        await asyncio.sleep(0)
        await _until(lambda: not tenants._waiting)
        await tenants.require(OTHER)
        assert peer.looks <= seen + 1


async def test_a_silent_peer_refuses_one_tenant_and_degrades_another_until_it_has_what_was_due():
    """One answer finds out, the others do not wait; the ledger tells both ends of it once."""
    peer = Peer()
    peer.written = 500
    async with _watched(peer, wait_s=0.05) as (tenants, ledger):
        with pytest.raises(PeerAway) as refused:
            await tenants.require(STRICT)
        assert refused.value.retryable
        assert "same message id" in refused.value.hint
        tenants.wait_s = _LONG_S
        for _ in range(3):
            await tenants.require(LENIENT)
            with pytest.raises(PeerAway):
                await tenants.require(STRICT)
        assert REGISTRY.get_sample_value("mc_sync_peer_away", {"region": "eu-1"}) == 1
        peer.held, peer.written = 499, 600  # it moves, and has not what was due
        with pytest.raises(PeerAway):
            await tenants.require(STRICT)
        peer.held = 500
        await _until(lambda: not tenants._away)  # also if nobody asks
        assert REGISTRY.get_sample_value("mc_sync_peer_away", {"region": "eu-1"}) == 0
        waits = asyncio.create_task(tenants.require(STRICT))
        seen = peer.looks
        await _until(lambda: peer.looks > seen + 3)
        assert not waits.done()  # as before it went away
        peer.held = 600
        await waits
        await tenants.record_untold()
    told = [(event.kind, event.tenant, event.detail) for event in ledger.events]
    assert [(kind, tenant) for kind, tenant, _ in told] == [
        (Kind.replication_degraded, LENIENT),
        (Kind.replication_restored, LENIENT),
    ]
    assert told[0][2]["subject"] == told[1][2]["subject"]
    assert told[0][2]["peer_has"] == "0/64"


async def test_a_peer_without_a_slot_is_away_at_once():
    """Never set up, or lost: nobody waits for what cannot come."""
    peer = Peer()
    peer.held = None
    async with _watched(peer) as (tenants, _):
        with pytest.raises(PeerAway):
            await tenants.require(STRICT)
        await tenants.require(LENIENT)
        peer.held = 100
        await _until(lambda: not tenants._away)
        await tenants.require(STRICT)


async def test_two_times_away_at_one_position_are_told_as_two():
    """The database is away, twice, and nothing is written between."""
    peer = Peer()
    async with _watched(peer, wait_s=0.05) as (tenants, ledger):
        for _ in range(2):
            await _until(lambda: tenants._held == 100 or not tenants._asked.set())
            peer.fails = True
            await tenants.require(LENIENT)
            peer.fails = False
            await _until(lambda: not tenants._away)
        await tenants.record_untold()
    subjects = [event.detail["subject"] for event in ledger.events]
    assert subjects[0] == subjects[1] != subjects[2] == subjects[3]


async def test_a_database_that_does_not_answer_confirms_nothing():
    """Whoever waits then is refused when the time is over, and confirmed if it answers before."""
    peer = Peer()
    peer.fails = True
    async with _watched(peer, wait_s=0.05) as (tenants, _):
        with pytest.raises(PeerAway):
            await tenants.require(STRICT)
        peer.fails = False
        await _until(lambda: not tenants._away)
        await tenants.require(STRICT)


@given(st.lists(st.tuples(st.sampled_from(["write", "hold", "ask", "turn"]), st.integers(1, 9))))
def test_nothing_is_confirmed_that_the_peer_does_not_have(acts):
    """Whatever the order of writes, confirmations and answers."""

    async def play():
        peer = Peer()
        promised = []

        async def ask(tenants):
            due = peer.written
            await tenants.require(STRICT)
            promised.append((due, peer.held))

        async with _watched(peer) as (tenants, _):
            asked = []
            for act, much in acts:
                if act == "write":
                    peer.written += much
                elif act == "hold":
                    peer.held = min(peer.held + much, peer.written)
                elif act == "ask":
                    asked.append(asyncio.create_task(ask(tenants)))
                for _ in range(much):
                    await asyncio.sleep(0)
            peer.held = peer.written
            await asyncio.gather(*asked)
        assert all(held >= due for due, held in promised)

    asyncio.run(play())
