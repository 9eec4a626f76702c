"""The service as any of its users sees it: a thin typed client over public HTTP.

And Prometheus, which saw it before: `PrometheusClient`.

>>> from mc_ops.service_client import ServiceClient
>>> with ServiceClient("http://127.0.0.1:8080", token="mc_...") as service:
...     service.send_message("What is the status of order O-2001?").text
'Order O-2001 is shipped, expected 2026-12-01.'
"""

from __future__ import annotations

from mc_ops.service_client.client import (
    Denied,
    Governance,
    Health,
    Reply,
    Sample,
    ServiceClient,
    TaskView,
)
from mc_ops.service_client.operator import OperatorClient
from mc_ops.service_client.prometheus import (
    BadQuery,
    InstantSample,
    PartialData,
    PrometheusClient,
    PrometheusUnreachable,
    RangeSeries,
)

__all__ = [
    "BadQuery",
    "Denied",
    "Governance",
    "Health",
    "InstantSample",
    "OperatorClient",
    "PartialData",
    "PrometheusClient",
    "PrometheusUnreachable",
    "RangeSeries",
    "Reply",
    "Sample",
    "ServiceClient",
    "TaskView",
]
