"""The ledger as an outbox, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import uuid
from asyncio import events
from datetime import UTC, datetime

import asyncpg
import pytest
from tests.isolation import steps
from tests.raw_peer import answer, raw_peer

from mc_contract.ledger.merkle import leaf_hash
from mc_contract.ledger.tiles import TileId
from mc_contract.siem import SiemFormat
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.ledger import PostgresLedger
from mc_platform.adapters.postgres.migrate import database_url
from mc_platform.adapters.postgres.outbox import PostgresOutbox
from mc_platform.adapters.siem.sink import siem_sink
from mc_platform.deliver import Rejected, Shipment, Shipper
from mc_platform.deliver.guard import Offered
from mc_platform.deliver.outbox import Position
from mc_platform.errors import LedgerDamaged, Unavailable
from mc_platform.model.event import UNREADABLE, Event, Kind
from mc_platform.model.ids import EventId, TenantId

TENANT = TenantId("TENANT_001")
_TAKEN, _REFUSED = (Offered("request.accepted", taken) for taken in (True, False))
NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
async def log(pools):
    """A region of its own with a journal; `add` records events."""

    class Log:
        region = f"r-{uuid.uuid4().hex[:8]}"

        async def add(self, count, **detail):
            await self.journal.record(
                [
                    Event(
                        EventId(str(uuid.uuid4())),
                        Kind.request_accepted,
                        TENANT,
                        NOW,
                        {"n": n, **detail},
                    )
                    for n in range(count)
                ],
                None,
            )

    made = Log()
    made.journal = PostgresJournal(pools, region=made.region)
    await made.journal.start()
    yield made
    await made.journal.stop()


@pytest.fixture
async def owner(database):
    connection = await asyncpg.connect(database_url(database.admin_url, "mc"))
    yield connection
    await connection.close()


async def test_events_are_read_in_order_with_the_bytes_that_the_log_holds(pools, log, owner):
    """A shipment's raw bytes are the leaf's; a limit is kept; the end is an empty list."""
    await log.add(5)
    async with PostgresOutbox(pools, region=log.region).claim("siem") as claim:
        batch = await claim.read(1, 3)
        assert [item.index for item in batch] == [1, 2, 3]
        held = await owner.fetchval(
            "SELECT leaf FROM mc.ledger_event WHERE region = $1 AND index = 2", log.region
        )
        assert batch[1].raw == held
        assert batch[1].leaf["detail"] == {"n": 2}
        assert await claim.read(5, 3) == []


async def test_the_cursor_moves_on_and_never_back(pools, log):
    """It lives with the ledger, one for each sink."""
    await log.add(5)
    outbox = PostgresOutbox(pools, region=log.region)
    async with outbox.claim("siem") as claim:
        await claim.settle(4, ())
        await claim.settle(2, ())
    async with outbox.claim("siem") as claim, outbox.claim("file") as other:
        assert await claim.position() == Position(4, [_TAKEN] * 4)
        assert await other.position() == Position(0, [])
    standing = await outbox.standing("siem")
    assert (standing.size, standing.next_index, standing.waiting) == (5, 4, 1)
    assert standing.oldest_s is not None
    assert 0 <= standing.oldest_s < 60
    assert (standing.failing, standing.ahead) == (None, 0)


async def test_a_cursor_that_was_set_back_is_followed(pools, log, owner):
    """What an administrator wants sent again is sent; nothing jumps over it."""
    await log.add(5)
    outbox = PostgresOutbox(pools, region=log.region)
    async with outbox.claim("siem") as claim:
        await claim.settle(2, ())  # whoever has not asked where it stands only moves it on
        await claim.settle(1, ())
        await claim.position()
        await claim.settle(4, ())
        await owner.execute(
            "UPDATE mc.delivery_cursor SET next_index = 1 WHERE region = $1", log.region
        )
        for rejected in ((), [Rejected(4, "HTTP 400")]):
            with pytest.raises(Unavailable, match="somebody else has moved the delivery cursor"):
                await claim.settle(5, rejected)
        with pytest.raises(Unavailable, match="somebody else has moved the delivery cursor"):
            await claim.hold()  # also where nothing is to be shipped
        assert (await claim.position()).next_index == 1
        await claim.hold()
        await claim.settle(5, ())
        assert (await claim.position()).next_index == 5


async def test_large_events_are_read_in_smaller_batches(pools, log):
    """By their bytes; one that is larger than a batch by itself is a batch."""
    await log.add(5, text="x" * 900_000)
    await log.add(1, text="x" * 3_000_000)
    await log.add(1)
    async with PostgresOutbox(pools, region=log.region).claim("siem") as claim:
        batches, start = [], 0
        while batch := await claim.read(start, 1000):
            batches.append([item.index for item in batch])
            start += len(batch)
        assert batches == [[0, 1, 2], [3, 4, 5], [6]]


async def test_no_batch_keeps_the_loop(pools, log, monkeypatch):
    """Of the largest events in every format that is sent over HTTP: read, encoded, and answered."""
    for _ in range(12):
        await log.add(50, policies=[f"policy-{at}" for at in range(2000)])
    await log.add(1000)
    gc.collect()
    gc.freeze()  # what pytest holds is not this service's to walk through
    monkeypatch.setattr(events.Handle, "_run", steps.run_measured)
    with raw_peer(_takes_everything) as siem:
        for siem_format in (SiemFormat.ocsf, SiemFormat.splunk_hec, SiemFormat.elastic):
            found = []
            for _ in range(8):  # a full machine makes the same work dearer: 0.055 was seen
                sink = siem_sink(
                    url=siem.by_address,
                    key="k",
                    format=siem_format,
                    version="1",
                    hec_ack_required=False,
                )
                sink.name = f"{siem_format}-{len(found)}"
                outbox = PostgresOutbox(pools, region=log.region)
                shipper = Shipper(outbox=outbox, siem=sink, backup=None, file_after_s=60)
                steps.reset()
                running = asyncio.create_task(shipper.run())
                while (await outbox.standing(sink.name)).next_index < 1600:
                    assert not shipper.failing, shipper.state
                    await asyncio.sleep(0.02)
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                await sink.close()
                found.append(dict(steps.longest))
                if found[-1]["cpu_s"] <= 0.08:
                    break
            assert min(step["cpu_s"] for step in found) <= 0.08, (siem_format, found)
    gc.unfreeze()


def _takes_everything(asked, connection):
    lines = gzip.decompress(asked.body).count(b"\n") if asked.header("Content-Encoding") else 0
    said = {"code": 0, "items": [{"create": {"status": 201}}] * (lines // 2)}
    answer(json.dumps(said).encode())(asked, connection)


async def test_parking_and_the_cursor_are_one_commit_and_can_be_read_again(pools, log, owner):
    """A parked event has a row with its id and reason; the position tells how many in a row."""
    await log.add(6)
    outbox = PostgresOutbox(pools, region=log.region)
    async with outbox.claim("siem") as claim:
        await claim.settle(2, [Rejected(0, "HTTP 400")])
        await claim.settle(5, [Rejected(3, "x" * 999), Rejected(4, "HTTP 400")])
        assert await claim.position() == Position(5, [_REFUSED, _TAKEN, _TAKEN, _REFUSED, _REFUSED])
    assert (await outbox.standing("siem")).dead_letters == 3
    rows = await owner.fetch(
        "SELECT p.index, p.event_id = e.event_id AS same, length(p.reason) AS long "
        "FROM mc.delivery_parked p JOIN mc.ledger_event e USING (region, index) "
        "WHERE p.region = $1 ORDER BY p.index",
        log.region,
    )
    assert [tuple(row) for row in rows] == [(0, True, 8), (3, True, 300), (4, True, 8)]


async def test_what_is_parked_cannot_be_changed_or_removed_by_the_service(pools):
    """Append-only by grants, like the log."""
    for statement in (
        "UPDATE mc.delivery_parked SET reason = ''",
        "DELETE FROM mc.delivery_parked",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pools.record.execute(statement)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pools.tenant.execute("SELECT FROM mc.delivery_parked")


async def test_why_the_sink_takes_nothing_is_the_regions_until_it_takes_something(
    pools, log, owner
):
    """Told by the one that ships, seen by all; the cursor's next move ends it."""
    await log.add(3)
    outbox, other = (PostgresOutbox(pools, region=log.region) for _ in range(2))
    async with outbox.claim("siem") as claim:
        await claim.fail("HTTP 503" + "x" * 400)
        assert (await other.standing("siem")).failing.startswith("HTTP 503")
        await claim.settle(1, ())
        assert (await other.standing("siem")).failing is None
        await claim.fail("HTTP 503")
        await owner.execute(  # the clock steps back
            "UPDATE mc.delivery_cursor SET failing_at = now() + interval '1 hour' "
            "WHERE region = $1",
            log.region,
        )
        assert (await other.standing("siem")).failing == "HTTP 503"
        await claim.settle(2, ())
        assert (await other.standing("siem")).failing is None


async def test_dead_letters_that_are_wanted_again_are_read_and_settled(pools, log, owner):
    """By index, once each; what is taken is a dead letter no more, what is refused stays one."""
    await log.add(6)
    outbox = PostgresOutbox(pools, region=log.region)
    async with outbox.claim("siem") as claim:
        await claim.settle(5, [Rejected(index, "HTTP 400") for index in (0, 1, 3)])
        assert await claim.wanted_again(10) == []
        for request in ("a", "b"):
            await owner.execute(
                "INSERT INTO mc.dead_letter_resend (region, sink, index, request) "
                "SELECT $1, 'siem', unnest($2::bigint[]), $3",
                log.region,
                [0, 3],
                request,
            )
        assert [item.index for item in await claim.wanted_again(1)] == [0]
        assert [item.index for item in await claim.wanted_again(10)] == [0, 3]
        await claim.settle_again([0], [Rejected(3, "y" * 999)])
        assert await claim.wanted_again(10) == []
        assert [item.taken for item in (await claim.position()).recent] == [
            True, False, True, False, True]  # fmt: skip
    assert (await outbox.standing("siem")).dead_letters == 2
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pools.record.execute("DELETE FROM mc.dead_letter_resend")


async def test_only_what_the_ledger_recorded_is_sent(pools, log, owner):
    """A leaf that was edited, in its row alone or with its hash, is told as that; no forged event goes."""
    await log.add(256)
    outbox = PostgresOutbox(pools, region=log.region)
    forged = (
        b'{"id":"e","kind":"k","occurred_at":"2026-01-02T00:00:00Z","detail":{"reason":"forged"}}'
    )
    rows = await owner.fetch(
        "SELECT leaf_hash FROM mc.ledger_event WHERE region = $1 ORDER BY index", log.region
    )
    await PostgresLedger(pools, region=log.region).store_tile(
        TileId(0, 0), [row["leaf_hash"] for row in rows], b"r" * 32
    )
    async with outbox.claim("siem") as claim:
        await claim.settle(9, [Rejected(index, "HTTP 400") for index in (1, 3, 5, 7)])
        await owner.execute(
            "INSERT INTO mc.dead_letter_resend (region, sink, index, request) "
            "SELECT $1, 'siem', unnest($2::bigint[]), 'r'",
            log.region,
            [1, 3, 5, 7],
        )
        await owner.execute(
            "UPDATE mc.ledger_event SET leaf = $2 WHERE region = $1 AND index IN (3, 5)",
            log.region,
            forged,
        )
        await owner.execute(
            "UPDATE mc.ledger_event SET leaf_hash = $2 WHERE region = $1 AND index = 5",
            log.region,
            leaf_hash(forged),
        )
        await owner.execute(
            "UPDATE mc.delivery_parked SET event_id = 'another' WHERE region = $1 AND index = 7",
            log.region,
        )
        again = await claim.wanted_again(10)
        assert [type(item) for item in again] == [Shipment] + [Rejected] * 3
        assert again[0].leaf["kind"] == "request.accepted"
        assert all("is not what was recorded" in item.reason for item in again[1:3])
        assert "another id" in again[3].reason
        [shipment] = await claim.read(3, 1)
        assert (shipment.leaf["kind"], b"forged" in shipment.raw) == (UNREADABLE, False)
        assert shipment.leaf["detail"]["reason"] == "it is not what was recorded"


async def test_a_cursor_beyond_the_log_is_an_error_and_no_empty_backlog(pools, log, owner):
    """Somebody removed what was delivered, and set the head back."""
    await log.add(6)
    outbox = PostgresOutbox(pools, region=log.region)
    async with outbox.claim("siem") as claim:
        await claim.settle(6, ())
        await owner.execute("UPDATE mc.ledger_head SET size = 2 WHERE region = $1", log.region)
        with pytest.raises(LedgerDamaged, match="cursor is 6, the log has 2 entries"):
            await claim.read(6, 10)
        with pytest.raises(LedgerDamaged, match="cursor is 6, the log has 2 entries"):
            await claim.position()
    for sink in ("siem", "file"):
        assert (await outbox.standing(sink)).ahead == 4


async def _claim_falls_free(outbox):
    async with asyncio.timeout(60):
        while True:
            async with outbox.claim("siem") as claim:
                if claim is not None:
                    return
            await asyncio.sleep(0.02)


async def _lose_claim(outbox, how):
    """Have the claim, lose it by `how`, see another get it, and then try to use it."""
    async with outbox.claim("siem") as claim:
        async with outbox.claim("siem") as other:
            assert other is None
        await how(claim)
        await _claim_falls_free(outbox)
        await claim.position()


async def test_only_one_has_the_claim_and_it_is_free_when_its_connection_dies(pools, log, owner):
    """Another gets None, and gets the claim as soon as the holder's connection is gone."""

    async def cut(claim):
        pid = await claim._connection.fetchval("SELECT pg_backend_pid()")
        await owner.execute("SELECT pg_terminate_backend($1)", pid)

    with pytest.raises(Unavailable):
        await _lose_claim(PostgresOutbox(pools, region=log.region), cut)


async def test_a_holder_that_is_silent_loses_its_claim(pools, log):
    """A stopped process keeps its connection, but not its claim; `hold` is what keeps that."""

    async def be_silent(claim):
        await claim._connection.execute("SET idle_session_timeout = '2s'")
        for _ in range(5):  # longer than the limit, but never silent for so long
            await asyncio.sleep(0.5)
            await claim.hold()
        held.append(True)

    held: list[bool] = []

    with pytest.raises(Unavailable):
        await _lose_claim(PostgresOutbox(pools, region=log.region), be_silent)
    assert held, "it lost its claim although it held it"


async def test_a_claim_leaves_nothing_behind_on_its_connection(pools, log):
    """The ledger's writer may get that connection next: its commits must wait for the disk."""
    outbox = PostgresOutbox(pools, region=log.region)
    async with outbox.claim("siem") as claim:
        connection = claim._connection
        assert await connection.fetchval("SHOW synchronous_commit") == "off"
        assert await connection.fetchval("SHOW idle_session_timeout") == "20s"
    seen = {}
    async with pools.record.acquire() as one, pools.record.acquire() as two:
        for each in (one, two):
            seen[await each.fetchval("SELECT pg_backend_pid()")] = (
                await each.fetchval("SHOW synchronous_commit"),
                await each.fetchval("SHOW idle_session_timeout"),
                await each.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' "
                                    "AND pid = pg_backend_pid()"),
            )  # fmt: skip
    assert set(seen.values()) == {("on", "0", 0)}


async def test_a_cancelled_holder_frees_the_claim(pools, log):
    """Also when it is cancelled in the middle of a query."""
    outbox = PostgresOutbox(pools, region=log.region)

    async def hold():
        async with outbox.claim("siem") as claim:
            held.set()
            await claim._connection.execute("SELECT pg_sleep(60)")

    held = asyncio.Event()
    task = asyncio.create_task(hold())
    await held.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _claim_falls_free(outbox)


async def test_a_new_sink_begins_with_what_is_still_in_the_ledger(pools, log, owner):
    """Older events are in archives: a SIEM that is configured later must not wait for them."""
    await log.add(5)
    await owner.execute("DELETE FROM mc.ledger_event WHERE region = $1 AND index < 3", log.region)
    async with PostgresOutbox(pools, region=log.region).claim("siem") as claim:
        assert (await claim.position()).next_index == 3
        assert [item.index for item in await claim.read(3, 10)] == [3, 4]


async def test_a_gap_in_the_ledger_is_told_and_not_skipped(pools, log, owner):
    """Events that are gone before they were delivered stop delivery, visibly."""
    await log.add(5)
    async with PostgresOutbox(pools, region=log.region).claim("siem") as claim:
        await owner.execute(
            "DELETE FROM mc.ledger_event WHERE region = $1 AND index = 2", log.region
        )
        with pytest.raises(Unavailable, match="events from 1 on are not all in the ledger"):
            await claim.read(1, 10)
        await owner.execute(
            "DELETE FROM mc.ledger_event WHERE region = $1 AND index = 1", log.region
        )
        with pytest.raises(Unavailable, match="events from 1 on are not all in the ledger"):
            await claim.read(1, 10)


async def test_events_that_are_all_gone_are_a_gap_too(pools, log, owner):
    """Nothing found where the head says that there is something is not the end of the log."""
    await log.add(5)
    async with PostgresOutbox(pools, region=log.region).claim("siem") as claim:
        await owner.execute(
            "DELETE FROM mc.ledger_event WHERE region = $1 AND index < 5", log.region
        )
        with pytest.raises(Unavailable, match="events from 1 on are not all in the ledger"):
            await claim.read(1, 3)
        assert await claim.read(5, 3) == []


async def test_reading_uses_the_index(pools, log, owner):
    """Whatever the partitions, a batch is read by (region, index) and not by a scan."""
    from mc_platform.adapters.postgres.outbox import _READ

    await log.add(500)
    await owner.execute("ANALYZE mc.ledger_event; ANALYZE mc.ledger_id")
    await owner.execute("SET enable_seqscan = off")
    plan = "\n".join(row[0] for row in await owner.fetch(f"EXPLAIN {_READ}", log.region, 400, 100))
    assert "Seq Scan" not in plan
    assert "(index < " in plan  # a sort, if any, has one batch and not the backlog
