"""Stage 7: what is recorded reaches the SIEM, and a file while the SIEM is down."""

from mc_platform.deliver.outbox import (
    Backup,
    BatchRejected,
    Outbox,
    Rejected,
    Shipment,
    Sink,
    SinkRefused,
)
from mc_platform.deliver.prepared import Prepared, encoded
from mc_platform.deliver.shipper import Shipper

__all__ = [
    "Backup",
    "BatchRejected",
    "Outbox",
    "Prepared",
    "Rejected",
    "Shipment",
    "Shipper",
    "Sink",
    "SinkRefused",
    "encoded",
]
