"""What delivery tells: metrics and log lines, for the SIEM and for the backup file.

A dead letter is named by its id and its place; no line holds an event's content.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from mc_platform.deliver.outbox import Rejected, Shipment, SinkRefused
from mc_platform.observe import logs, metrics

_SUMMARY_S = 60.0
_MOST_TIMES = 10_000
_log = structlog.get_logger()


@dataclass(slots=True)
class _Window:
    """Deliveries since the last summary; of very many the times of the newest alone."""

    began_s: float
    events: int = 0
    sent_bytes: int = 0
    batches: int = 0
    failures: int = 0
    took_s: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_TIMES))

    def summary(self, now_s: float) -> dict[str, Any]:
        """Its figures, for the log."""
        times = sorted(self.took_s)
        return {
            "batches": self.batches,
            "events": self.events,
            "bytes": self.sent_bytes,
            "p95_ms": round(times[math.ceil(0.95 * len(times)) - 1] * 1000, 1) if times else None,
            "failures": self.failures,
            "over_s": round(now_s - self.began_s),
        }


class SiemReport:
    """Tells about batches to the SIEM: when it changes, one line a minute, and each at DEBUG."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._window = _Window(monotonic())
        self._takes = False

    def taken(
        self, batch: Sequence[Shipment], rejected: Sequence[Rejected], *, took_s: float
    ) -> None:
        """The sink has the batch, but for `rejected`."""
        metrics.siem_requests.labels("success").inc()
        window, events = self._window, len(batch) - len(rejected)
        window.batches += 1
        window.events += events
        window.sent_bytes += sum(len(item.raw) for item in batch)
        window.took_s.append(took_s)
        tell = _log.debug if self._takes else _log.info
        first, last = batch[0].index, batch[-1].index
        tell(logs.DELIVERY, status="success", events=events, first=first, last=last)
        self._takes = True

    def batch_rejected(self) -> None:
        """The sink rejected a batch for its content."""
        metrics.siem_requests.labels("rejected").inc()

    def refused(self, refusal: SinkRefused, *, failures: int, wait_s: float) -> None:
        """The sink refused for the n-th time in a row; the next try is in `wait_s`."""
        metrics.siem_requests.labels("failure").inc()
        self._window.failures += 1
        self._takes = False
        _log.warning(
            "siem_refused", reason=refusal.reason, failures=failures, wait_s=round(wait_s, 3)
        )

    def dead_letter(self, event: Shipment, reason: str) -> None:
        """The sink refused one event for good."""
        metrics.siem_parked.inc()
        _log.error("siem_event_parked", index=event.index, event_id=event.leaf["id"], reason=reason)

    def summarise(self, *, at_end: bool = False) -> None:
        """Log what was delivered since the last summary, if that is a minute ago, or at the end."""
        now_s, window = self._monotonic(), self._window
        if now_s - window.began_s < _SUMMARY_S and not at_end:
            return
        self._window = _Window(now_s)
        if window.batches or window.failures:
            status = "success" if window.batches else "failure"
            _log.info(logs.DELIVERY, status=status, **window.summary(now_s))


class FileReport:
    """Tells the same about the backup file."""

    def taken(
        self, batch: Sequence[Shipment], rejected: Sequence[Rejected], *, took_s: float
    ) -> None:
        del took_s
        metrics.audit_file_events.inc(len(batch) - len(rejected))

    def batch_rejected(self) -> None:
        metrics.audit_file_errors.inc()

    def refused(self, refusal: SinkRefused, *, failures: int, wait_s: float) -> None:
        metrics.audit_file_errors.inc()
        _log.error(
            "audit_file_refused", reason=refusal.reason, failures=failures, wait_s=round(wait_s, 3)
        )

    def dead_letter(self, event: Shipment, reason: str) -> None:
        _log.error(
            "audit_file_event_parked", index=event.index, event_id=event.leaf["id"], reason=reason
        )
