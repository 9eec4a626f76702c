"""The runbook's own queries, by a real Prometheus that scrapes the service's own registry."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler

import httpx
import pytest
from tests.loopback import serving
from tests.real_prometheus import NEEDED, prometheus, scraping

from mc_platform.observe import metrics
from mc_platform.observe.scrape import Scrape

pytestmark = NEEDED
P95 = "histogram_quantile(0.95, rate(mc_request_duration_seconds_bucket[5m]))"
FAILURES = 'rate(mc_requests_total{status=~"5.."}[5m])'


class Exposed(BaseHTTPRequestHandler):
    """Answers with the metrics of this process, after another round of requests."""

    def do_GET(self) -> None:
        for _ in range(95):
            metrics.count_answer(200, "graphql", "TENANT_001", 0.22)
        for _ in range(5):
            metrics.count_answer(503, "a2a", "TENANT_001", 0.3)
        body = Scrape()._render()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def address(tmp_path, free_ports):
    """The address of one that scrapes this process every 200 ms."""
    metrics.begin(["TENANT_001"])
    at = f"127.0.0.1:{free_ports}"
    with (
        serving(Exposed) as url,
        prometheus(tmp_path, at, scraping({"agent-workbench": [url]})) as address,
    ):
        yield address


def test_the_runbooks_own_queries_have_answers(address, wait_until):
    """A p95 by route without the tenant, failures with it, and each tenant's p95 of ours."""

    def ask(query):
        try:
            answer = httpx.get(f"{address}/api/v1/query", params={"query": query}, timeout=5)
        except httpx.TransportError:
            return []
        if answer.status_code != 200:
            return []
        rows = answer.json()["data"]["result"]
        return [(row["metric"], float(row["value"][1])) for row in rows if row["value"][1] != "NaN"]

    wait_until(lambda: len(ask(P95)) >= 2, what="two scrapes")
    by_route = {labels["route"]: value for labels, value in ask(P95)}
    assert 0.2 < by_route["graphql"] < 0.25
    assert 0.25 < by_route["a2a"] < 0.35
    [(labels, rate)] = [row for row in ask(FAILURES) if row[1] > 0]
    assert (labels["tenant"], labels["route"], labels["status"]) == ("TENANT_001", "a2a", "503")
    assert rate > 0
    own = P95.replace("mc_request_", "mc_tenant_request_")
    told = {labels["tenant"]: value for labels, value in ask(own)}
    # 95 of 100 took 220 ms: the 95th is the last of the bucket up to 250 ms
    assert told["TENANT_001"] == pytest.approx(0.25)
