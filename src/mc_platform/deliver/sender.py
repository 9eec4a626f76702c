"""Carries one sink's events from a claim to the sink, strictly in order.

While a batch is being sent, the next is made ready, if the sink can, and the one after that is read;
two are never under way to the sink. A batch that the sink rejects for its content is split by halves down
to the one event that is to blame: that one becomes a dead letter, and delivery goes on, as far as
`guard` finds that the sink is well. Where that is open, a few later events are offered ahead of
their turn, each once (they come again in their turn; their ids tell). Dead letters that an operator
wants sent again go in between the batches.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache

from mc_platform.deliver.guard import Guard, Offered
from mc_platform.deliver.outbox import (
    MOST_BATCH_BYTES,
    BatchRejected,
    Claim,
    Preparing,
    Rejected,
    Shipment,
    Sink,
    SinkRefused,
)
from mc_platform.deliver.pace import Pace, backoff_s
from mc_platform.deliver.reports import FileReport, SiemReport

REJECTS_TOO_MUCH = "the sink rejects too many events"
_PROBES = 3
_PROBES_FROM = 200  # events after those that were refused
_LOOK_AGAIN_S = 1.0
_AGAIN_AFTER_S = 10.0  # when the sink refused what was to be sent again
_IDLE_S = 0.5
_AHEAD = 2  # batches that are read or made ready while one is being sent
_GATHER_S = 0.2  # what comes this soon after the first event goes out in one batch
_TAKE_MOST_S = 120.0  # beyond every sink's own limit: a sink that hangs must not hang delivery


class Sender:
    """Ships to one sink while it has a claim. `wake` it when there is something new."""

    def __init__(self, sink: Sink, pace: Pace, report: SiemReport | FileReport) -> None:
        self.sink = sink
        self.next_index = 0
        self.failing: str | None = None
        self.failing_since: float | None = None
        self._pace = pace
        self._report = report
        self._wake = asyncio.Event()
        self._failures = 0
        self._guard = Guard()
        self._probed: set[int] = set()
        self._again_at = 0.0
        self._took_s = 0.0

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
            LedgerDamaged: the cursor is beyond the log's end.
        """
        position = await claim.position()
        self.next_index = position.next_index
        self._guard, self._probed = Guard(position.recent), set()
        ahead = _ReadAhead(claim, self.next_index, self.sink)
        try:
            while while_():
                self._wake.clear()
                limit = self._pace.batch_limit(self.next_index, self.sink.most)
                batch = await ahead.next(limit)
                if batch:
                    await self._deliver(claim, batch, while_)
                await self._send_again(claim)
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
                rest, refusal = await self._offer(claim, part)
            except BatchRejected:
                half = len(part) // 2
                parts += [part[half:], part[:half]]
                continue
            except SinkRefused as error:
                rest, refusal = part, error
            if rest:
                await self._back_off(claim, refusal)
                if not while_():
                    return
                parts.append(rest)

    async def _offer(
        self, claim: Claim, part: Sequence[Shipment]
    ) -> tuple[Sequence[Shipment], SinkRefused]:
        """Send a part of a batch, and settle what may be; the rest, and why that may not.

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
        reasons = {item.index: item.reason for item in rejected}
        outcomes = [_offered(item.leaf["kind"], item.index not in reasons) for item in part]
        count = self._guard.settled(outcomes)
        others: list[Offered] = []
        if count < len(part):
            others = await self._probe(claim, part)
            count = self._guard.settled(outcomes, others)
        if count:
            await self._settle(claim, part[:count], reasons)
            self._guard.saw(outcomes[:count])
        self._guard.saw(others)
        return part[count:], SinkRefused(REJECTS_TOO_MUCH)

    async def _probe(self, claim: Claim, part: Sequence[Shipment]) -> list[Offered]:
        """Offer a few events that come later and that the sink has not taken, other kinds first."""
        self._probed = {index for index in self._probed if index > part[-1].index}
        later = await claim.read(part[-1].index + 1, _PROBES_FROM)
        new = [item for item in later if item.index not in self._probed]
        kinds = {item.leaf["kind"] for item in part}
        found = []
        for item in sorted(new, key=lambda item: item.leaf["kind"] in kinds)[:_PROBES]:
            try:
                taken = not await self._take([item])
            except BatchRejected:
                taken = False
            if taken:
                self._probed.add(item.index)
            found.append(Offered(item.leaf["kind"], taken))
        return found

    async def _settle(
        self, claim: Claim, part: Sequence[Shipment], reasons: Mapping[int, str]
    ) -> None:
        refused = [item for item in part if item.index in reasons]
        rejected = [Rejected(item.index, reasons[item.index]) for item in refused]
        await claim.settle(part[-1].index + 1, rejected)
        self.next_index = part[-1].index + 1
        self.forgive()
        if len(refused) < len(part):
            self._report.taken(part, rejected, took_s=self._took_s)
        for item in refused:
            self._report.dead_letter(item, reasons[item.index])

    async def _send_again(self, claim: Claim) -> None:
        """Send dead letters that an operator wants sent again; refused again, they stay what they are.

        Raises:
            Unavailable: the outbox cannot be read or written.
        """
        if time.monotonic() < self._again_at:
            return
        self._again_at = time.monotonic() + _LOOK_AGAIN_S
        wanted = await claim.wanted_again(self.sink.most)
        gone = [item for item in wanted if isinstance(item, Rejected)]
        if gone:
            await claim.settle_again((), gone)
        parts = [[item for item in wanted if isinstance(item, Shipment)]]
        while parts:
            part = parts.pop()
            if not part:
                continue
            try:
                rejected = await self._take(part)
            except BatchRejected as refusal:
                if len(part) > 1:
                    parts += [part[len(part) // 2 :], part[: len(part) // 2]]
                    continue
                rejected = [Rejected(part[0].index, refusal.reason)]
            except SinkRefused as refusal:
                wait_s = max(_AGAIN_AFTER_S, backoff_s(1, refusal.retry_after_s))
                self._again_at = time.monotonic() + wait_s
                self._report.refused(refusal, failures=1, wait_s=wait_s)
                return
            refused = {item.index for item in rejected}
            await claim.settle_again([x.index for x in part if x.index not in refused], rejected)
            if len(refused) < len(part):
                self._report.taken(part, rejected, took_s=self._took_s)

    async def _take(self, part: Sequence[Shipment]) -> Sequence[Rejected]:
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(_TAKE_MOST_S):
                rejected = await self.sink.take(part)
        except BatchRejected:
            self._report.batch_rejected()
            raise
        except SinkRefused:
            raise
        except TimeoutError as error:
            raise SinkRefused(f"no answer in {_TAKE_MOST_S:g} s") from error
        except Exception as error:
            # A defect, and not known to be the content's: it makes no dead letter
            raise SinkRefused(f"unexpected {type(error).__name__} in the sink") from error
        self._took_s = time.monotonic() - began_s
        return rejected

    async def _back_off(self, claim: Claim, refusal: SinkRefused) -> None:
        self._failures += 1
        self.failing = refusal.reason
        self.failing_since = self.failing_since or time.monotonic()
        wait_s = backoff_s(self._failures, refusal.retry_after_s)
        self._report.refused(refusal, failures=self._failures, wait_s=wait_s)
        await claim.fail(refusal.reason)
        await asyncio.sleep(wait_s)

    async def _rest(self) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), _IDLE_S)
        except TimeoutError:
            return
        await asyncio.sleep(_GATHER_S)


@lru_cache(maxsize=256)
def _offered(kind: str, taken: bool) -> Offered:
    """The outcomes of a batch are few, and events many."""
    return Offered(kind, taken)


class _ReadAhead:
    """Reads the log in order, up to `_AHEAD` batches ahead of the one that was asked for.

    While one is being sent, the next is made ready, and the one after that is read.
    """

    def __init__(self, claim: Claim, start: int, sink: Sink) -> None:
        self._claim = claim
        self._sink = sink
        self._start = start
        self._limit = 0
        self._coming: deque[asyncio.Task[list[Shipment]]] = deque()
        self._more = True  # as far as the last read tells

    @property
    def reading(self) -> bool:
        """Whether another batch is on its way: the last one was full."""
        return bool(self._coming)

    async def next(self, limit: int) -> list[Shipment]:
        """The next batch; empty if the log has no more.

        One that is being read already may have another size than `limit`.
        """
        self._limit, self._more = limit, self._more or not self._coming
        self._read_on()
        batch = await self._coming.popleft()
        self._read_on()
        return batch

    def _read_on(self) -> None:
        if self._more and len(self._coming) < _AHEAD:
            self._more = False  # until this read tells
            self._coming.append(asyncio.create_task(self._read_and_prepare(self._limit)))

    async def _read_and_prepare(self, limit: int) -> list[Shipment]:
        batch = await self._claim.read(self._start, limit)
        self._start += len(batch)
        self._more = len(batch) >= limit or sum(len(item.raw) for item in batch) >= MOST_BATCH_BYTES
        self._read_on()
        if batch and isinstance(self._sink, Preparing):
            with suppress(Exception):  # `take` meets it again, and knows what to do
                await self._sink.prepare(batch)
        return batch

    async def close(self) -> None:
        """Give up what is being read."""
        self._more = False
        for one in self._coming:
            one.cancel()
        await asyncio.gather(*self._coming, return_exceptions=True)
