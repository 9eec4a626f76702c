"""Native histograms, by a real Prometheus that scrapes some: the tests of the protocol are of our own words."""

from __future__ import annotations

import struct
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler

import pytest
from tests.loopback import serving
from tests.real_prometheus import NEEDED, prometheus, scraping

from mc_ops.errors import CouldNotTell
from mc_ops.service_client import BadQuery, PrometheusClient

pytestmark = NEEDED
PROTOBUF = (
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
)
NUMBER, LONG, BYTES = 0, 1, 2  # wire types of protobuf
HISTOGRAM = 4
OBSERVED = 12


def field(number: int, told: float | bytes) -> bytes:
    """A field of a protobuf message; its numbers are below 128 here, and not signed."""
    if isinstance(told, bytes):
        return bytes([number << 3 | BYTES, len(told)]) + told
    if isinstance(told, float):
        return bytes([number << 3 | LONG]) + struct.pack("<d", told)
    return bytes([number << 3 | NUMBER, told])


def exposed() -> bytes:
    """`latency_seconds` as `io.prometheus.client.MetricFamily`: all observed between 0.5 and 1."""
    counts = bytes([2 * OBSERVED])  # zigzag
    histogram = b"".join(
        [
            *(field(1, OBSERVED), field(2, 0.75 * OBSERVED), field(5, 0), field(6, 1e-9)),
            *(field(12, field(1, 0) + field(2, 1)), field(13, counts)),
        ]
    )
    family = field(1, b"latency_seconds") + field(3, HISTOGRAM) + field(4, field(7, histogram))
    return bytes([len(family)]) + family


class Exporter(BaseHTTPRequestHandler):
    """Answers each scrape with it."""

    def do_GET(self) -> None:
        body = exposed()
        self.send_response(200)
        self.send_header("Content-Type", PROTOBUF)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_native_histogram_is_refused_and_what_is_advised_gives_numbers(
    tmp_path, wait_until, free_ports
) -> None:
    at, option = f"127.0.0.1:{free_ports}", "--enable-feature=native-histograms"
    with (
        serving(Exporter) as exporter,
        prometheus(tmp_path, at, scraping({"exporter": [exporter]}), option) as url,
        PrometheusClient(url) as client,
    ):
        wait_until(lambda: scraped(client), what="a scrape")
        now = datetime.now(UTC)
        minute = {"start": now - timedelta(minutes=1), "end": now, "step_s": 1}
        for ask in (
            lambda: client.query("latency_seconds"),
            lambda: client.query_range("latency_seconds", **minute),
        ):
            with pytest.raises(BadQuery, match="native histograms") as caught:
                ask()
            assert "histogram_quantile(0.95, ...)" in caught.value.hint
            assert "histogram_count(...)" in caught.value.hint
        [quantile] = client.query("histogram_quantile(0.95, latency_seconds)")
        assert 0.5 < quantile.value <= 1
        [series] = client.query_range("histogram_count(latency_seconds)", **minute)
        assert set(series.values) == {OBSERVED}


def scraped(client: PrometheusClient) -> bool:
    """Whether there is something to ask for."""
    try:
        return bool(client.query("histogram_count(latency_seconds)"))
    except CouldNotTell:
        return False
