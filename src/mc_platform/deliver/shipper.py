"""Ships the outbox to the SIEM, and to the backup file while the SIEM is down.

One process of a region ships at a time; when it dies, or is silent for long, its claim falls to
another. When the SIEM has refused for `file_after_s`, the backup file takes what the SIEM has not,
by a cursor of its own, and goes on taking until the SIEM takes batches again; the SIEM's cursor
stays, so that on recovery the SIEM gets all of them, in order. Without a SIEM the file alone is
the sink. Every replica watches the backlog, so its figures are the region's wherever they are read.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import structlog

from mc_contract.numbers import counted
from mc_platform.deliver.outbox import Backup, Claim, LogDelivered, Outbox, Sink, Standing
from mc_platform.deliver.pace import Pace
from mc_platform.deliver.reports import FileReport, SiemReport
from mc_platform.deliver.sender import Sender
from mc_platform.errors import Unavailable
from mc_platform.observe import metrics

_CLAIM_RETRY_S = 1.0
_WATCH_S = 1.0
_LOOK_S = 0.1
_HOLD_S = 5.0
_UNKNOWN_AFTER_S = 15.0
_log = structlog.get_logger()


class Shipper:
    """Runs until cancelled; `wake` it after a commit so that it need not wait to look.

    Args:
        siem: None if there is none; then `backup` must be there.
        backup: The file; None if there is none.
        file_after_s: How long the SIEM must have refused before the file takes over.
        drain_events_per_s: See `pace`.
        late_after_s: How old the oldest event that waits may be in the region's state.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        siem: Sink | None,
        backup: Backup | None,
        file_after_s: float,
        drain_events_per_s: float = 5000.0,
        late_after_s: float = 60.0,
    ) -> None:
        def pace() -> Pace:
            return Pace(drain_events_per_s=drain_events_per_s)

        self._outbox = outbox
        self._backup = backup
        self._file_after_s = file_after_s
        self._paces = (pace(), pace())
        self._report = SiemReport()
        self._siem = None if siem is None else Sender(siem, self._paces[0], self._report)
        self._file = None if backup is None else Sender(backup, self._paces[1], FileReport())
        first = self._siem or self._file
        if first is None:
            raise ValueError("a shipper needs a SIEM, a file, or both")
        self._first: Sender = first
        self._without_claim: str | None = "starting"
        self._late_after_s = late_after_s
        self._standing: Standing | None = None
        self._seen_at = time.monotonic()

    def wake(self) -> None:
        """There is something new to ship."""
        self._first.wake()
        if self._file is not None:
            self._file.wake()

    @property
    def failing(self) -> bool:
        """Whether the sink refuses now, as far as this replica knows."""
        return self.state.startswith("failing")

    def region(self) -> tuple[bool, dict[str, Any]]:
        """Whether delivery works in the region, whichever replica ships; and its figures."""
        figures: dict[str, Any] = {"shipper": self.state}
        standing, age_s = self._standing, self._oldest_s()
        if standing is None or time.monotonic() - self._seen_at > _UNKNOWN_AFTER_S:
            return False, {**figures, "delivery": "unknown: the outbox cannot be read"}
        state = "ok"
        if age_s > self._late_after_s:
            state = f"late: the oldest event waits for {age_s:.0f} s"
        if standing.failing is not None or self.failing:
            state = f"failing: {standing.failing}" if standing.failing else self.state
        if self.damage:
            state = f"failing: {self.damage}"
        figures |= {"delivery": state, "backlog": standing.waiting, "oldest_s": round(age_s, 1)}
        return state == "ok", figures

    @property
    def damage(self) -> str | None:
        """That events were delivered which the log no longer has; None if it has them all."""
        ahead = self._standing.ahead if self._standing else 0
        if ahead <= 0:
            return None
        return f"a delivery cursor is {counted(ahead, 'event')} beyond the log's end: the log was set back"

    def _oldest_s(self) -> float:
        """Age of the oldest event that waits; while the outbox cannot be read it grows on."""
        if self._standing is None or self._standing.oldest_s is None:
            return 0.0
        return self._standing.oldest_s + time.monotonic() - self._seen_at

    @property
    def state(self) -> str:
        """For `/health`.

        `ok`; `standby` (another replica ships); `draining N`; `failing: REASON` (of a sink, or of
        the outbox), followed by what the backup file does meanwhile; `starting`.
        """
        if self._without_claim is not None:
            return self._without_claim
        if self._first.failing is not None:
            return f"failing: {self._first.failing}{self._stand_in_state()}"
        return f"draining {self._first.draining}" if self._first.draining else "ok"

    def _stand_in_state(self) -> str:
        if self._siem is None or self._file is None or not self._overdue():
            return ""
        if self._file.failing is not None:
            return f"; file backup failing: {self._file.failing}"
        return f"; file backup holds {counted(max(0, self._file.next_index - self._siem.next_index), 'event')}"

    async def run(self) -> None:
        """Claim, ship, and begin again after whatever went wrong."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._watch())
                group.create_task(self._ship())
        finally:
            self._report.summarise(at_end=True)

    async def _ship(self) -> None:
        while True:
            try:
                async with self._outbox.claim(self._first.sink.name) as claim:
                    if claim is None:
                        self._without_claim = "standby"
                    else:
                        await self._as_holder(claim)
            except* LogDelivered as errors:
                self._without_claim = "starting"
                _log.info("former_log_delivered", log=str(_first_of(errors)))
            except* Unavailable as errors:
                reason = str(_first_of(errors).args[0])
                self._without_claim = f"failing: {reason}"
                _log.warning("siem_shipping_paused", reason=reason)
            except* Exception as errors:  # noqa: BLE001
                # Delivery that ends by a defect would end in silence: say it, and try again.
                self._without_claim = f"failing: {type(_first_of(errors)).__name__} in delivery"
                _log.error("siem_shipping_broke", exc_info=_first_of(errors))
            await asyncio.sleep(_CLAIM_RETRY_S)

    async def _as_holder(self, claim: Claim) -> None:
        self._first.forgive()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep(claim))
            group.create_task(self._first.ship(claim))
            if self._siem and self._file and self._backup:
                group.create_task(self._stand_in(self._siem, self._file, self._backup))
            self._without_claim = None

    async def _keep(self, claim: Claim) -> None:
        while True:
            await asyncio.sleep(_HOLD_S)
            await claim.hold()

    def _overdue(self) -> bool:
        """Whether the SIEM has refused for so long that the file takes over."""
        since = self._siem.failing_since if self._siem else None
        return since is not None and time.monotonic() - since >= self._file_after_s

    async def _stand_in(self, siem: Sender, file: Sender, backup: Backup) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            await backup.delivered(siem.next_index)
            if not self._overdue():
                continue
            file.forgive()
            async with self._outbox.claim(backup.name) as claim:
                if claim is not None:
                    await self._write_file(siem, file, claim)

    async def _write_file(self, siem: Sender, file: Sender, claim: Claim) -> None:
        # What the SIEM took since the last outage need not be in the file.
        await claim.settle(siem.next_index, ())
        start = (await claim.position()).next_index
        _log.warning("audit_file_took_over", first=start)
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(self._keep(claim))
            await file.ship(claim, while_=self._overdue)
            keeping.cancel()
        _log.warning("audit_file_stood_down", first=start, next=file.next_index)

    # -- the figures --------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            try:
                self._saw(await self._outbox.standing(self._first.sink.name))
            except Unavailable as error:
                _log.warning("siem_backlog_unknown", reason=error.message)
            if self._siem is not None:
                metrics.siem_backlog_age.set(self._oldest_s())
            self._report.summarise()
            await asyncio.sleep(_WATCH_S)

    def _saw(self, standing: Standing) -> None:
        before, self._standing, self._seen_at = self.damage, standing, time.monotonic()
        if self.damage and not before:
            _log.error("delivery_cursor_ahead", events=standing.ahead, size=standing.size)
        metrics.delivery_cursor_ahead.set(standing.ahead)
        for pace in self._paces:
            pace.saw(standing.size)
        if self._siem is None:
            return
        metrics.siem_backlog.set(standing.waiting)
        metrics.siem_parked_now.set(standing.dead_letters)


def _first_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
