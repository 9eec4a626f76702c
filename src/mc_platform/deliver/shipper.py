"""Ships the outbox to the SIEM, and to the backup file while the SIEM is down.

One process of a region ships at a time; when it dies its claim falls to another. After a refusal
it waits, doubling up to a limit with jitter, or as long as the SIEM asks. When the SIEM has
refused for `file_after_s`, the backup file takes the same events by a cursor of its own; the
SIEM's cursor stays, so that on recovery the SIEM gets all of them, in order.
"""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime

import structlog

from mc_platform.deliver.outbox import Claim, Outbox, Sink, SinkRefused
from mc_platform.errors import Unavailable
from mc_platform.observe import logs, metrics

_BATCH = 500
_IDLE_S = 0.5
_GATHER_S = 0.2  # what comes this soon after the first event goes out in one batch
_CLAIM_RETRY_S = 1.0
_BACKOFF_FIRST_S = 0.2
_BACKOFF_MOST_S = 10.0
_log = structlog.get_logger()


class Shipper:
    """Runs until cancelled; `wake` it after a commit so that it need not wait to look."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        siem: Sink,
        backup: Sink | None,
        file_after_s: float,
    ) -> None:
        self._outbox = outbox
        self._siem = siem
        self._backup = backup
        self._file_after_s = file_after_s
        self._wake = asyncio.Event()
        self._failures = 0
        self._failing_since: float | None = None
        self.state = "starting"

    def wake(self) -> None:
        """There is something new to ship."""
        self._wake.set()

    async def run(self) -> None:
        """Claim, ship, and begin again after whatever went wrong."""
        while True:
            try:
                async with self._outbox.claim(self._siem.name) as claim:
                    if claim is None:
                        self.state = "standby"
                    else:
                        await self._ship(claim)
            except Unavailable as error:
                self.state = "waiting for the database"
                _log.warning("siem_shipping_paused", reason=error.message)
            await asyncio.sleep(_CLAIM_RETRY_S)

    async def _ship(self, claim: Claim) -> None:
        self.state = "ok"
        while True:
            self._wake.clear()
            batch = await claim.next(_BATCH)
            if not batch:
                await self._tell_backlog(claim)
                await self._rest(_IDLE_S)
                await asyncio.sleep(_GATHER_S)
                continue
            try:
                await self._siem.take(batch)
            except SinkRefused as refusal:
                await self._refused(claim, refusal)
                continue
            await claim.taken(batch[-1].index + 1)
            self._failures, self._failing_since, self.state = 0, None, "ok"
            metrics.siem_requests.labels("success").inc()
            _log.info(
                logs.DELIVERY,
                status="success",
                events=len(batch),
                first=batch[0].index,
                last=batch[-1].index,
            )

    async def _refused(self, claim: Claim, refusal: SinkRefused) -> None:
        metrics.siem_requests.labels("failure").inc()
        self._failures += 1
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        self.state = f"failing: {refusal.reason}"
        await self._tell_backlog(claim)
        backoff_s = min(_BACKOFF_MOST_S, _BACKOFF_FIRST_S * 2 ** min(self._failures - 1, 10))
        wait_s = refusal.retry_after_s or backoff_s * random.uniform(0.5, 1.0)  # noqa: S311
        _log.warning("siem_refused", reason=refusal.reason, failures=self._failures, wait_s=wait_s)
        if self._backup is not None and now - self._failing_since >= self._file_after_s:
            await self._fall_back(self._backup)
        await asyncio.sleep(wait_s)

    async def _fall_back(self, backup: Sink) -> None:
        async with self._outbox.claim(backup.name) as claim:
            if claim is None:
                return
            written = 0
            while batch := await claim.next(_BATCH):
                try:
                    await backup.take(batch)
                except SinkRefused as refusal:
                    _log.error("audit_file_refused", reason=refusal.reason)
                    return
                await claim.taken(batch[-1].index + 1)
                written += len(batch)
            if written:
                _log.warning("audit_file_took_over", events=written)

    async def _rest(self, longest_s: float) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), longest_s)
        except TimeoutError:
            return

    async def _tell_backlog(self, claim: Claim) -> None:
        waiting, oldest = await claim.backlog()
        metrics.siem_backlog.set(waiting)
        age_s = 0.0 if oldest is None else (datetime.now(UTC) - oldest).total_seconds()
        metrics.siem_backlog_age.set(max(0.0, age_s))
