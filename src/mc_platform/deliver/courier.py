"""Carries one sink's events from a claim to the sink, strictly in order.

The next batch is read, and made ready if the sink can, while the former is being sent; two are
never under way to the sink. A batch
that the sink rejects for its content is split by halves down to the one event that is to blame:
that one is parked, and delivery goes on. The guard: when `_MOST_IN_A_ROW` events were parked with
none taken in between, the last event that the sink did take is offered again (it bears its old id,
so a SIEM knows it). If the sink takes it, the others are to blame, and are parked; if not, or if
there is none, the sink rejects everything: nothing more is parked, and the same is tried later.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from mc_platform.deliver.outbox import (
    BatchRejected,
    Claim,
    Preparing,
    Rejected,
    Shipment,
    Sink,
    SinkRefused,
)
from mc_platform.deliver.pace import Pace, backoff_s

REJECTS_EVERYTHING = "the sink rejects everything"
_MOST_IN_A_ROW = 5
_IDLE_S = 0.5
_GATHER_S = 0.2  # what comes this soon after the first event goes out in one batch
_TAKE_MOST_S = 120.0  # beyond every sink's own limit: a sink that hangs must not hang delivery


class Report(Protocol):
    """Where a courier tells what happened: metrics and log lines, which differ by sink."""

    def taken(self, batch: Sequence[Shipment], rejected: Sequence[Rejected]) -> None:
        """The sink has the batch, but for `rejected`."""
        ...

    def batch_rejected(self) -> None:
        """The sink rejected a batch for its content."""
        ...

    def refused(self, refusal: SinkRefused, *, failures: int, wait_s: float) -> None:
        """The sink refused for the n-th time in a row; the next try is in `wait_s`."""
        ...

    def parked(self, event: Shipment, reason: str) -> None:
        """One event was parked."""
        ...


class Courier:
    """Ships to one sink while it has a claim. `wake` it when there is something new."""

    def __init__(self, sink: Sink, pace: Pace, report: Report) -> None:
        self.sink = sink
        self.next_index = 0
        self.failing: str | None = None
        self.failing_since: float | None = None
        self._pace = pace
        self._report = report
        self._wake = asyncio.Event()
        self._failures = 0
        self._in_a_row = 0
        self._witness: Shipment | int | None = None

    def wake(self) -> None:
        """There is something new to ship, or a reason to stop."""
        self._wake.set()

    @property
    def draining(self) -> int:
        """How many events of a backlog wait; 0 in the steady state."""
        if not self._pace.draining(self.next_index, self.sink.most):
            return 0
        return self._pace.waiting(self.next_index)

    def forgive(self) -> None:
        """Forget refusals: what comes next begins afresh."""
        self._failures, self.failing, self.failing_since = 0, None, None

    async def ship(self, claim: Claim, *, while_: Callable[[], bool] = lambda: True) -> None:
        """Ship until `while_` says no; it is asked between batches.

        Raises:
            Unavailable: the outbox cannot be read or the cursor not be moved.
        """
        position = await claim.position()
        self.next_index = position.next_index
        self._in_a_row, self._witness = position.parked_since, position.last_taken
        ahead = _ReadAhead(claim, self.next_index, self.sink)
        try:
            while while_():
                self._wake.clear()
                limit = self._pace.batch_limit(self.next_index, self.sink.most)
                batch = await ahead.next(limit)
                if batch:
                    await self._deliver(claim, batch, while_)
                if not ahead.reading:
                    await self._rest()
        finally:
            await ahead.close()

    async def _deliver(
        self, claim: Claim, batch: Sequence[Shipment], while_: Callable[[], bool]
    ) -> None:
        draining = self._pace.draining(self.next_index, self.sink.most)
        await self._pace.allow(len(batch), draining=draining)
        parts = [batch]
        while parts:
            part = parts.pop()
            try:
                rejected = await self._offer(claim, part)
            except BatchRejected:
                half = len(part) // 2
                parts += [part[half:], part[:half]]
                continue
            except SinkRefused as refusal:
                await self._back_off(refusal)
                if not while_():
                    return
                parts.append(part)
                continue
            await claim.settle(part[-1].index + 1, rejected)
            self.next_index = part[-1].index + 1
            self._tell(part, rejected)

    async def _offer(self, claim: Claim, part: Sequence[Shipment]) -> Sequence[Rejected]:
        """Send a part of a batch; those events that are to be parked.

        Raises:
            BatchRejected: split it.
            SinkRefused: try it again later.
        """
        try:
            rejected = await self._take(part)
        except BatchRejected as refusal:
            if len(part) > 1:
                raise
            rejected = [Rejected(part[0].index, refusal.reason)]
        blamed = {item.index for item in rejected}
        taken = [item for item in part if item.index not in blamed]
        if taken:
            self._witness = taken[-1]
            self._in_a_row = part[-1].index - taken[-1].index
        elif self._in_a_row + len(part) <= _MOST_IN_A_ROW or await self._sink_is_well(claim):
            self._in_a_row += len(part)
        else:
            raise SinkRefused(REJECTS_EVERYTHING)
        return [item for item in rejected if part[0].index <= item.index <= part[-1].index]

    async def _sink_is_well(self, claim: Claim) -> bool:
        """Whether the sink still takes what it took before."""
        if isinstance(self._witness, int):
            found = await claim.read(self._witness, 1)
            self._witness = found[0] if found else None
        if self._witness is None:
            return False
        try:
            rejected = await self._take([self._witness])
        except BatchRejected:
            return False
        self._in_a_row = 0
        return not rejected

    async def _take(self, part: Sequence[Shipment]) -> Sequence[Rejected]:
        try:
            async with asyncio.timeout(_TAKE_MOST_S):
                return await self.sink.take(part)
        except BatchRejected:
            self._report.batch_rejected()
            raise
        except SinkRefused:
            raise
        except TimeoutError as error:
            raise SinkRefused(f"no answer in {_TAKE_MOST_S:g} s") from error
        except Exception as error:
            # A defect, and not known to be the content's: nothing is parked for it
            raise SinkRefused(f"unexpected {type(error).__name__} in the sink") from error

    def _tell(self, part: Sequence[Shipment], rejected: Sequence[Rejected]) -> None:
        self.forgive()
        reasons = {item.index: item.reason for item in rejected}
        if len(rejected) < len(part):
            self._report.taken(part, rejected)
        for item in part:
            if item.index in reasons:
                self._report.parked(item, reasons[item.index])

    async def _back_off(self, refusal: SinkRefused) -> None:
        self._failures += 1
        self.failing = refusal.reason
        self.failing_since = self.failing_since or time.monotonic()
        wait_s = backoff_s(self._failures, refusal.retry_after_s)
        self._report.refused(refusal, failures=self._failures, wait_s=wait_s)
        await asyncio.sleep(wait_s)

    async def _rest(self) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), _IDLE_S)
        except TimeoutError:
            return
        await asyncio.sleep(_GATHER_S)


class _ReadAhead:
    """Reads the log in order, one batch ahead of the one that was asked for."""

    def __init__(self, claim: Claim, start: int, sink: Sink) -> None:
        self._claim = claim
        self._sink = sink
        self._start = start
        self._asked = 0
        self._next: asyncio.Task[list[Shipment]] | None = None

    @property
    def reading(self) -> bool:
        """Whether another batch is on its way: the last one was full."""
        return self._next is not None

    async def next(self, limit: int) -> list[Shipment]:
        """The next batch; empty if the log has no more.

        One that is being read already may have another size than `limit`.
        """
        reading, self._next = self._next, None
        if reading is None:
            self._asked = limit
        batch = await (reading or self._claim.read(self._start, limit))
        self._start += len(batch)
        if len(batch) >= self._asked:
            self._asked = limit
            self._next = asyncio.create_task(self._read_and_prepare(self._start, limit))
        return batch

    async def _read_and_prepare(self, start: int, limit: int) -> list[Shipment]:
        batch = await self._claim.read(start, limit)
        if batch and isinstance(self._sink, Preparing):
            with suppress(Exception):  # `take` meets it again, and knows what to do
                await self._sink.prepare(batch)
        return batch

    async def close(self) -> None:
        """Give up what is being read."""
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)
