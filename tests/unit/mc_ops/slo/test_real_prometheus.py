"""The queries, against a real Prometheus that scrapes two replicas and a stranger."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import httpx
import pytest
from tests.fake_replica import replica
from tests.real_prometheus import NEEDED, prometheus, scraping

from mc_ops.service_client import PrometheusClient
from mc_ops.slo import Measure, PrometheusSource, Window, targets
from mc_ops.slo import levels as gauges
from mc_ops.slo.trend import counted

pytestmark = NEEDED
HOUR = Window.parse("1h")


@pytest.fixture
def region(tmp_path, wait_until, free_ports):
    """Prometheus, two replicas of which each has been scraped, and a stranger that burns CPU."""
    with replica("blue-1") as one, replica("blue-2") as two, replica("stranger") as stranger:
        del stranger.samples["mc_ledger_size"]
        for made in (one, two):
            made.well()
        settings = scraping({"agent-workbench": [one.url, two.url], "other": [stranger.url]})
        with prometheus(tmp_path, f"127.0.0.1:{free_ports}", settings) as url:
            wait_until(lambda: one.scraped > 2 and two.scraped > 2, what="a first scrape")
            yield url, one, two, stranger


def scraped(wait_until, *replicas):
    """Wait until what the replicas tell now has been read at least twice."""
    for made in replicas:
        seen = made.scraped
        wait_until(lambda made=made, seen=seen: made.scraped > seen + 2, what="two more scrapes")


def test_figures_of_a_region(region, wait_until):
    """Sums over replicas, levels, quantiles as Prometheus has them, CPU of ours alone, gaps."""
    url, one, two, stranger = region
    scraped(wait_until, one, two)
    one.a2a(success=300, denied=3)
    two.a2a(success=300, error=30)
    two.operations(completed=300)
    one.took(0.05, 60)
    two.took(0.24, 40)
    one.decided(allow=190, deny=10)
    one.samples["process_cpu_seconds_total"] += 2
    two.samples["process_cpu_seconds_total"] += 3
    stranger.samples["process_cpu_seconds_total"] += 1000
    one.samples['mc_autonomy_stuck_operations{tenant="TENANT_001"}'] = 2
    scraped(wait_until, one, two, stranger)
    with PrometheusClient(url) as client:
        source = PrometheusSource(client)
        measure = Measure(source)

        told = measure.ratio(targets.A2A)
        assert told.verdict == "missed"
        # Both counters are extrapolated alike, so that their ratio is the true one
        assert told.value == pytest.approx(603 / 633, rel=0.02)
        assert measure.compensation().verdict == "met"
        assert "known)" in told.window, "a day was asked, seconds are known, and it says so"

        buckets = measure.tenants_p95()[0]
        (theirs,) = client.query(
            "1000 * histogram_quantile(0.95, sum by (le)"
            ' (increase(mc_tenant_request_duration_seconds_bucket{tenant="TENANT_001"}[300s])))'
        )
        assert buckets.value == pytest.approx(theirs.value, rel=0.02)
        assert buckets.verdict == "missed"

        stuck = gauges.level(measure, "s", "s", "mc_autonomy_stuck_operations", 0, "count")
        assert (stuck.value, stuck.verdict) == (2, "missed")

        # On a busy machine a scrape may have failed just now
        wait_until(lambda: source.capacity(HOUR).replicas == 2, what="both are up")
        capacity = source.capacity(HOUR)
        assert 4.5 < capacity.process_cpu_s < 12, "extrapolated, and without the stranger's 1000"
        assert capacity.replica_s == pytest.approx(2 * source.covered_s(HOUR), rel=0.5)
        assert 0 < source.covered_s(HOUR) < 120

        hour, *_, day = counted(measure)
        assert hour.denies == pytest.approx(
            day.denies, rel=0.25
        )  # extrapolated, asked one after the other
        assert math.isclose(hour.share, 10 / 200, rel_tol=0.05)

        series = source.replica_series(3600, now=datetime.now(UTC))
        assert {count for _, count in series} <= {1, 2}
        assert source.increases("mc_no_such_total", ("status",), HOUR) == {}
        assert source.unread == ()
        assert not source.stopped("mc_replication_lag_seconds")


def test_a_replica_that_fell_silent_is_named(region, wait_until):
    """Prometheus cannot scrape it any more: nothing is called met, and its lag has stopped."""
    url, one, two, stranger = region
    for made in (one, two):
        made.samples['mc_replication_lag_seconds{peer="eu-2"}'] = 1
    scraped(wait_until, one, two, stranger)
    one.a2a(success=500)
    scraped(wait_until, one)
    two.samples.clear()
    two.samples["}{"] = 1  # what cannot be parsed is a failed scrape
    one.samples.pop('mc_replication_lag_seconds{peer="eu-2"}')
    scraped(wait_until, one, two)

    def down():
        rows = httpx.get(f"{url}/api/v1/query", params={"query": "up == 0"}).json()
        return rows["data"]["result"]

    wait_until(down, what="Prometheus sees that it is down")
    with PrometheusClient(url) as client:
        source = PrometheusSource(client)
        assert source.unread == (two.url[7:],)
        told = Measure(source).ratio(targets.A2A)
        assert (told.verdict, told.few) == ("unknown", False)
        assert "does not answer" in told.reason
        lag = gauges.replication_lag(Measure(source))
        assert (lag.verdict, lag.reason) == (
            "unknown",
            "a peer's lag was told within a day, and is not now",
        )


def test_a_workbench_that_is_scraped_no_more_is_unread(region, wait_until):
    """Prometheus has yesterday's counts and no replica now: a list of targets that is old, for one."""
    url, one, two, _ = region
    one.a2a(success=500)
    scraped(wait_until, one, two)
    for made in (one, two):
        del made.samples["mc_ledger_size"]
    scraped(wait_until, one, two)
    with PrometheusClient(url) as client:
        source = PrometheusSource(client)
        wait_until(lambda: source.unread == ("the workbench",), what="Prometheus has none of it")
        assert Measure(source).ratio(targets.A2A).verdict == "unknown"
