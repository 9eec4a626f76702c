"""Where events of the ledger are delivered, as settings say."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from mc_platform.adapters.audit_file import AuditFile
from mc_platform.adapters.postgres.outbox import PostgresOutbox
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.adapters.siem.sink import siem_sink
from mc_platform.deliver import Shipper
from mc_platform.settings import Settings

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Delivery:
    """What delivers, if anything does.

    Attributes:
        sends: Whether there is a SIEM.
        closing: Closes what it holds, in order.
    """

    shipper: Shipper | None
    sends: bool
    closing: tuple[Callable[[], Awaitable[None]], ...]


def delivery(settings: Settings, pools: Pools, version: str, logs: Sequence[str]) -> Delivery:
    """The shipper of the region's logs to the SIEM and to the file beside it."""
    siem = file = None
    if settings.audit_siem_url:
        key = settings.audit_siem_key
        siem = siem_sink(
            url=settings.audit_siem_url,
            key=key.get_secret_value() if key else "",
            format=settings.audit_siem_format,
            version=version,
            index=settings.audit_siem_index,
            ca_file=settings.audit_siem_ca_file,
            hec_ack_required=settings.audit_siem_hec_ack == "required",
        )
    else:
        _log.warning("siem_not_configured", hint="set AUDIT_SIEM_URL and AUDIT_SIEM_KEY")
    if settings.audit_file_enabled and settings.audit_file_path is not None:
        file = AuditFile(
            settings.audit_file_path,
            max_bytes=settings.audit_file_max_bytes,
            keep=settings.audit_file_keep,
        )
    sinks = [sink for sink in (siem, file) if sink is not None]
    if not sinks:
        return Delivery(None, False, ())
    shipper = Shipper(
        outbox=PostgresOutbox(pools, region=logs[-1], former=logs[:-1]),
        siem=siem,
        backup=file,
        file_after_s=settings.audit_file_after_s,
        drain_events_per_s=settings.siem_drain_events_per_s,
        late_after_s=settings.siem_late_after_s,
    )
    return Delivery(shipper, siem is not None, tuple(sink.close for sink in sinks))
