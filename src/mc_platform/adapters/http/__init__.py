"""The one place where this service makes clients for outgoing HTTP.

`Outgoing` asks within an event loop, `Lanes` keeps one of them for each tenant, and
`BlockingLanes` is the same for worker threads. tests/architecture/test_outgoing_http.py holds
that no other module of the service makes a client.
"""

from __future__ import annotations

from mc_platform.adapters.http.blocking import BlockingLanes
from mc_platform.adapters.http.connection import Sink
from mc_platform.adapters.http.outgoing import Lanes, Outgoing

__all__ = ["BlockingLanes", "Lanes", "Outgoing", "Sink"]
