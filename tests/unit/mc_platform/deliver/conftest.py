"""An outbox in memory and a sink that does as told, for tests of the shipper's own rules."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import msgspec
import pytest

from mc_platform.deliver import (
    BatchRejected,
    Rejected,
    Shipment,
    Shipper,
    SinkRefused,
    encoded,
)
from mc_platform.deliver.outbox import Position, Standing
from mc_platform.errors import Unavailable

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def make_shipment(index):
    leaf = {
        "v": 1,
        "id": f"event-{index}",
        "kind": "request.accepted",
        "tenant": "TENANT_001",
        "region": "r",
        "occurred_at": NOW.isoformat(),
        "detail": {"principal": "p", "agent": "records"},
    }
    return Shipment(index, NOW, leaf, msgspec.json.encode(leaf, order="sorted"))


class MemoryOutbox:
    """An outbox of `count` events; it outlives the shippers that read it, as a database does."""

    def __init__(self, count=0):
        self.events = [make_shipment(index) for index in range(count)]
        self.cursors, self.parked, self.claimed = {}, {}, set()
        self.reads, self.down = [], False

    def add(self, count):
        first = len(self.events)
        self.events += [make_shipment(index) for index in range(first, first + count)]

    @asynccontextmanager
    async def claim(self, sink):
        self._answer()
        if sink in self.claimed:
            yield None
            return
        self.claimed.add(sink)
        self.cursors.setdefault(sink, 0)
        self.parked.setdefault(sink, {})
        try:
            yield MemoryClaim(self, sink)
        finally:
            self.claimed.discard(sink)

    async def standing(self, sink):
        self._answer()
        cursor = self.cursors.get(sink, 0)
        oldest_at = self.events[cursor].recorded_at if cursor < len(self.events) else None
        return Standing(len(self.events), cursor, oldest_at, len(self.parked.get(sink, {})))

    def _answer(self):
        if self.down:
            raise Unavailable("the database is down")


class MemoryClaim:
    """Implements `deliver.Claim`."""

    def __init__(self, outbox, sink):
        self.outbox, self.sink = outbox, sink

    async def position(self):
        cursor, parked = self.outbox.cursors[self.sink], self.outbox.parked[self.sink]
        taken = [index for index in range(cursor) if index not in parked]
        last = taken[-1] if taken else None
        return Position(
            cursor, last, sum(index > (-1 if last is None else last) for index in parked)
        )

    async def read(self, start, limit):
        self.outbox._answer()
        self.outbox.reads.append((start, limit))
        await asyncio.sleep(0)
        return self.outbox.events[start : start + limit]

    async def settle(self, next_index, rejected):
        self.outbox._answer()
        self.outbox.parked[self.sink] |= {item.index: item.reason for item in rejected}
        self.outbox.cursors[self.sink] = max(self.outbox.cursors[self.sink], next_index)

    async def hold(self):
        self.outbox._answer()


class ScriptedSink:
    """Takes what it is told to take.

    `refusing` is a reason for which it takes nothing now; a batch with an index of `poison` is
    rejected whole, one of `blamed` by itself; one of `unmappable` breaks its encoding, and
    `broken` is a defect that breaks all the rest of its code.
    """

    def __init__(self, name="siem", most=100):
        self.name, self.most = name, most
        self.got, self.batches, self.tries, self.refused = [], [], 0, 0
        self.refusing = self.retry_after_s = None
        self.rejects_all = False
        self.broken = None
        self.poison, self.blamed, self.unmappable = set(), set(), set()
        self.under_way = self.most_under_way = 0
        self.latency_s = 0.0
        self.told_delivered = 0

    async def take(self, batch):
        self.tries += 1
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.latency_s)
            return self._answer(batch)
        finally:
            self.under_way -= 1

    def _answer(self, batch):
        if self.refusing:
            self.refused += 1
            raise SinkRefused(self.refusing, retry_after_s=self.retry_after_s)
        indices = [item.index for item in batch]
        encoded(self._encode, batch)
        if self.broken:
            raise self.broken
        if self.rejects_all or self.poison & set(indices):
            raise BatchRejected("HTTP 400")
        rejected = [Rejected(index, "mapping") for index in indices if index in self.blamed]
        self.got += [index for index in indices if index not in self.blamed]
        self.batches.append(indices)
        return rejected

    def _encode(self, batch):
        if self.unmappable & {item.index for item in batch}:
            raise KeyError("detail")
        return b""

    async def delivered(self, next_index):
        self.told_delivered = next_index


class Running:
    """A shipper that runs, with what it ships from and to."""

    def __init__(self, outbox, siem, file, **settings):
        self.outbox, self.siem, self.file = outbox, siem, file
        self.shipper = Shipper(
            outbox=outbox,
            siem=siem,
            backup=file,
            **{"file_after_s": 0.0, "drain_events_per_s": 1e9} | settings,
        )
        self.task = asyncio.create_task(self.shipper.run())

    async def stop(self):
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


async def poll(condition, within_s=20.0):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "never happened"
        await asyncio.sleep(0.005)


@pytest.fixture
def memory():
    """The classes of this file, for tests that cannot import it."""

    class Memory:
        Outbox, Sink, Run = MemoryOutbox, ScriptedSink, Running
        shipment = staticmethod(make_shipment)
        until = staticmethod(poll)

    return Memory


@pytest.fixture
async def start():
    """Starts shippers; all are stopped at the end."""
    running = []

    def begin(outbox, siem, file=None, **settings):
        running.append(Running(outbox, siem, file, **settings))
        return running[-1]

    yield begin
    for each in running:
        await each.stop()
