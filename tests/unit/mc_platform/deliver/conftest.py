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
from mc_platform.deliver.guard import WINDOW, Offered
from mc_platform.deliver.outbox import Position, Standing
from mc_platform.errors import LedgerDamaged, Unavailable

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def make_shipment(index, kind="request.accepted"):
    leaf = {
        "v": 1,
        "id": f"event-{index}",
        "kind": kind,
        "tenant": "TENANT_001",
        "region": "r",
        "occurred_at": NOW.isoformat(),
        "detail": {"principal": "p", "agent": "records"},
    }
    return Shipment(index, NOW, leaf, msgspec.json.encode(leaf, order="sorted"))


class MemoryOutbox:
    """An outbox of `count` events; it outlives the shippers that read it, as a database does."""

    def __init__(self, count=0, kinds=("request.accepted",)):
        self.events = [make_shipment(index, kinds[index % len(kinds)]) for index in range(count)]
        self.cursors, self.parked, self.claimed = {}, {}, set()
        self.failing, self.again, self.settled_again = {}, [], {}
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
        oldest_s = None
        if cursor < len(self.events):
            oldest_s = (datetime.now(UTC) - self.events[cursor].recorded_at).total_seconds()
        return Standing(
            len(self.events),
            cursor,
            oldest_s,
            len(self.parked.get(sink, {})),
            self.failing.get(sink),
            max(0, max(self.cursors.values(), default=0) - len(self.events)),
        )

    def _answer(self):
        if self.down:
            raise Unavailable("the database is down")


class MemoryClaim:
    """Implements `deliver.Claim`."""

    def __init__(self, outbox, sink):
        self.outbox, self.sink = outbox, sink

    async def position(self):
        cursor, parked = self.outbox.cursors[self.sink], self.outbox.parked[self.sink]
        if cursor > len(self.outbox.events):
            raise LedgerDamaged("the log was set back")
        recent = self.outbox.events[max(0, cursor - WINDOW) : cursor]
        return Position(
            cursor, [Offered(item.leaf["kind"], item.index not in parked) for item in recent]
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
        self.outbox.failing.pop(self.sink, None)

    async def fail(self, reason):
        self.outbox._answer()
        self.outbox.failing[self.sink] = reason

    async def wanted_again(self, limit):
        self.outbox._answer()
        return [
            self.outbox.events[index]
            if index < len(self.outbox.events)
            else Rejected(index, "the event has left the ledger")
            for index in self.outbox.again[:limit]
        ]

    async def settle_again(self, taken, rejected):
        for index in taken:
            self.outbox.parked[self.sink].pop(index, None)
        for index, reason in [(i, None) for i in taken] + [(r.index, r.reason) for r in rejected]:
            self.outbox.again.remove(index)
            self.outbox.settled_again[index] = reason

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
        self.bad, self.names_bad = None, False  # a rule by which a shipment is refused, and how
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
        by_rule = {item.index for item in batch if self.bad and self.bad(item)}
        named, unnamed = (by_rule, set()) if self.names_bad else (set(), by_rule)
        if self.rejects_all or (self.poison | unnamed) & set(indices):
            raise BatchRejected("HTTP 400")
        blamed = self.blamed | named
        rejected = [Rejected(index, "mapping") for index in indices if index in blamed]
        self.got += [index for index in indices if index not in blamed]
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


async def poll(condition, within_s=60.0):
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
