"""What delivery tells: metrics and log lines, for the SIEM and for the backup file.

A dead letter is named by its id and its place; no line holds an event's content.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from mc_platform.deliver.outbox import Rejected, Shipment, SinkRefused
from mc_platform.observe import logs, metrics

_log = structlog.get_logger()


class SiemReport:
    """Tells about batches to the SIEM."""

    def taken(self, batch: Sequence[Shipment], rejected: Sequence[Rejected]) -> None:
        """The sink has the batch, but for `rejected`."""
        metrics.siem_requests.labels("success").inc()
        _log.info(
            logs.DELIVERY,
            status="success",
            events=len(batch) - len(rejected),
            first=batch[0].index,
            last=batch[-1].index,
        )

    def batch_rejected(self) -> None:
        """The sink rejected a batch for its content."""
        metrics.siem_requests.labels("rejected").inc()

    def refused(self, refusal: SinkRefused, *, failures: int, wait_s: float) -> None:
        """The sink refused for the n-th time in a row; the next try is in `wait_s`."""
        metrics.siem_requests.labels("failure").inc()
        _log.warning(
            "siem_refused", reason=refusal.reason, failures=failures, wait_s=round(wait_s, 3)
        )

    def dead_letter(self, event: Shipment, reason: str) -> None:
        """The sink refused one event for good."""
        metrics.siem_parked.inc()
        _log.error("siem_event_parked", index=event.index, event_id=event.leaf["id"], reason=reason)


class FileReport:
    """Tells the same about the backup file."""

    def taken(self, batch: Sequence[Shipment], rejected: Sequence[Rejected]) -> None:
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
