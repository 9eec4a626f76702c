"""What an alert counts stands at zero before it happens for the first time."""

from __future__ import annotations

from prometheus_client import REGISTRY

from mc_platform.observe import metrics


def test_failures_have_a_series_before_the_first():
    """A series that is born at 1 has no increase, so the first failure would be in no figure."""
    metrics.begin(["TENANT_009"])
    metrics.begin_work("sweeping")
    for tenant in ("TENANT_009", metrics.UNKNOWN_TENANT):
        for route in ("a2a", "a2a_rest", "graphql"):
            for status in ("200", "500", "502", "503"):
                labels = {"tenant": tenant, "route": route, "status": status}
                assert REGISTRY.get_sample_value("mc_requests_total", labels) is not None
    failures = REGISTRY.get_sample_value("mc_background_failures_total", {"work": "sweeping"})
    assert failures == 0
