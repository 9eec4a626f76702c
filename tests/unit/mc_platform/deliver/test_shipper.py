"""Delivery: at-least-once, in order, with the file standing in while the SIEM is down."""

from __future__ import annotations

import asyncio
import json
import stat
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import pytest
from aiohttp import web

from mc_platform.adapters.siem import BackupFile, HttpSiem
from mc_platform.deliver import Shipment, Shipper

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def _shipment(index):
    leaf = {
        "v": 1,
        "id": f"event-{index}",
        "kind": "request.accepted",
        "tenant": "TENANT_001",
        "region": "r",
        "occurred_at": NOW.isoformat(),
        "detail": {"principal": "p", "agent": "records"},
    }
    return Shipment(index, NOW, leaf)


class MemoryOutbox:
    """An outbox of `count` events with a cursor for each sink."""

    def __init__(self, count):
        self.events = [_shipment(index) for index in range(count)]
        self.cursors = {}

    @asynccontextmanager
    async def claim(self, sink):
        outbox = self

        class Claim:
            async def next(self, limit):
                start = outbox.cursors.get(sink, 0)
                return outbox.events[start : start + limit]

            async def taken(self, next_index):
                outbox.cursors[sink] = next_index

            async def backlog(self):
                waiting = outbox.events[outbox.cursors.get(sink, 0) :]
                return len(waiting), waiting[0].recorded_at if waiting else None

        yield Claim()


@pytest.fixture
async def siem():
    """A real HTTP receiver that can be told to refuse."""

    class Siem:
        def __init__(self):
            self.got, self.status, self.seen = [], 200, 0

        async def ingest(self, request):
            self.seen += 1
            if request.headers["Authorization"] != "Bearer key":
                return web.Response(status=401)
            if self.status == 200:
                body = await request.read()
                self.got += [json.loads(line) for line in body.decode().splitlines()]
            return web.Response(status=self.status, headers={"Retry-After": "0.01"})

    made = Siem()
    app = web.Application()
    app.router.add_post("/ingest", made.ingest)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/ingest"
    yield made
    await runner.cleanup()


@pytest.fixture
async def ship(siem, tmp_path):
    """Starts a shipper; everything is stopped at the end."""
    running = []

    def start(outbox, *, key="key", file_after_s=0.0, backup=True):
        sink = HttpSiem(url=siem.url, key=key, version="test")
        path = tmp_path / "audit" / "events.log"
        shipper = Shipper(
            outbox=outbox,
            siem=sink,
            backup=BackupFile(path) if backup else None,
            file_after_s=file_after_s,
        )
        running.append((asyncio.create_task(shipper.run()), sink))
        return shipper, path

    yield start
    for task, sink in running:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await sink.close()


async def _until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_everything_arrives_in_order_with_stable_ids(ship, siem):
    """1,200 events take three batches; each carries its id and its place."""
    ship(MemoryOutbox(1200))
    await _until(lambda: len(siem.got) == 1200)
    assert [event["metadata"]["uid"] for event in siem.got] == [f"event-{n}" for n in range(1200)]
    assert [event["metadata"]["sequence"] for event in siem.got] == list(range(1200))
    assert {event["class_uid"] for event in siem.got} == {6003}


async def test_while_the_siem_is_down_the_file_takes_over_and_the_siem_gets_all_later(ship, siem):
    """The file has each event once, only its owner may read it, and the SIEM misses nothing."""
    siem.status = 503
    outbox = MemoryOutbox(30)
    shipper, path = ship(outbox)
    await _until(lambda: path.exists() and len(path.read_text().splitlines()) == 30)
    assert shipper.state.startswith("failing: HTTP 503")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600

    outbox.events += [_shipment(30)]
    siem.status = 200
    await _until(lambda: len(siem.got) == 31)
    assert [event["metadata"]["sequence"] for event in siem.got] == list(range(31))
    await _until(lambda: shipper.state == "ok")


async def test_a_wrong_key_is_a_failure_and_moves_no_cursor(ship, siem):
    """What the SIEM did not take stays in the outbox."""
    outbox = MemoryOutbox(3)
    shipper, _ = ship(outbox, key="wrong", backup=False)
    await _until(lambda: siem.seen >= 2)
    assert shipper.state == "failing: HTTP 401"
    assert outbox.cursors == {}
