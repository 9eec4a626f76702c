"""The targets that the runbook fixes, each as a share of good events or a limit.

`docs/reference/slo.md` has the same table in words.
"""

from __future__ import annotations

from dataclasses import dataclass

from mc_ops.slo.figure import Heading, Share
from mc_ops.slo.source import Window

OTHER_TENANT = "unknown"
"""The tenant label of requests that belong to none, such as `/health` and refused credentials."""
CANARY = "CANARY"
"""Its traffic tries a candidate, and one of its operations always fails: no user sees that."""
STRANGERS = "strangers"
"""The audience of whoever has no credential: among its refusals no failure must hide."""
CANCELED = frozenset({"canceled"})
"""Operations whose end somebody asked for: neither a success nor a compensation."""
NO_CUSTOMERS = frozenset({CANARY, "PLATFORM"})
"""`PLATFORM` are those who run the platform."""

P95 = 0.95
P95_LIMIT_S = 0.2
GRAPHQL_WARNING_S, GRAPHQL_CRITICAL_S = 0.25, 0.35
MOST_REPLICATION_LAG_S = 120.0
MOST_BACKLOG_AGE_S = 300.0
LEAST_REPLICAS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class RatioTarget(Heading):
    """A target on the share of good events.

    Attributes:
        good: The metric and the values of its `status` label that are good.
        left_out: Values of `status` that are no events of this target.
        tenants_left_out: Tenants whose events are none.
    """

    metric: str
    good: frozenset[str]
    share: Share
    window: Window
    left_out: frozenset[str] = frozenset()
    tenants_left_out: frozenset[str] = NO_CUSTOMERS


A2A = RatioTarget(
    "a2a-success",
    "A2A success",
    "> 99 %",
    metric="mc_a2a_requests_total",
    # A denial is an answer: policy did what it is there for, and the gateway did not fail
    good=frozenset({"success", "denied"}),
    share=Share(0.99, strict=True),
    window=Window.parse("24h"),
    left_out=frozenset({"client_error"}),
)
AUTONOMY = RatioTarget(
    "autonomy-success",
    "autonomy success",
    "> 99.5 %",
    metric="mc_autonomy_operations_total",
    good=frozenset({"completed"}),
    share=Share(0.995, strict=True),
    window=Window.parse("24h"),
    left_out=CANCELED,
)
SIEM = RatioTarget(
    "siem-delivery",
    "SIEM delivery",
    ">= 95 %",
    metric="mc_siem_requests_total",
    good=frozenset({"success"}),
    share=Share(0.95),
    window=Window.parse("15m"),
)
COMPENSATION = Share(0.995)
COMPENSATION_WINDOW = Window.parse("24h")
AVAILABILITY = Share(0.999)
"""The share of requests not answered 5xx, as the alerts have it; the runbook fixes none."""
PROBES = frozenset({"health", "metrics"})
"""Routes that machines ask all the time: they would water a burn rate down."""
LATENCY_WINDOW = Window.parse("5m")

# Google's "Site Reliability Workbook", chapter 5: a long window tells that budget is really spent,
# a short one that it still is. 14.4 spends 2 % of a 30-day budget in an hour, 6 spends 5 % in six.
BURNS = (
    ("fast", Window.parse("1h"), Window.parse("5m"), 14.4),
    ("slow", Window.parse("6h"), Window.parse("30m"), 6.0),
)
