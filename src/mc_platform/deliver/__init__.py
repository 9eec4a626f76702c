"""Stage 7: what is recorded reaches the SIEM, and a file while the SIEM is down."""

from mc_platform.deliver.outbox import Outbox, Shipment, Sink, SinkRefused
from mc_platform.deliver.shipper import Shipper

__all__ = ["Outbox", "Shipment", "Shipper", "Sink", "SinkRefused"]
