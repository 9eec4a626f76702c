"""The client of Prometheus' HTTP API, against a real server that speaks it, and ones that do not."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs

import pytest
from tests.loopback import serving

from mc_ops.errors import CouldNotTell, NotAllowed, UnusableInput
from mc_ops.service_client import (
    BadQuery,
    InstantSample,
    PartialData,
    PrometheusClient,
    PrometheusUnreachable,
    RangeSeries,
)

NOON = datetime(2026, 5, 6, 12, tzinfo=UTC)
SECRET = "a-bearer-token"


def success(data):
    return 200, json.dumps({"status": "success", "data": data})


def failure(code, kind, message):
    return code, json.dumps({"status": "error", "errorType": kind, "error": message})


@dataclass
class Prometheus:
    """What it answers, and what it was asked: method, path, form and token."""

    url: str = ""
    answer: Callable[[dict[str, str]], tuple[int, str]] = lambda _: success({})
    asked: list[tuple[str, str, dict[str, str], str | None]] = field(default_factory=list)


@pytest.fixture
def prometheus() -> Iterator[Prometheus]:
    made = Prometheus()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer({key: values[0] for key, values in parse_qs(raw).items()})

        def do_GET(self) -> None:
            self._answer({})

        def _answer(self, form: dict[str, str]) -> None:
            made.asked.append((self.command, self.path, form, self.headers["Authorization"]))
            code, text = made.answer(form)
            self.send_response(code)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with serving(Handler) as made.url:
        yield made


def vector(*rows):
    return success(
        {
            "resultType": "vector",
            "result": [{"metric": labels, "value": [1.5, text]} for labels, text in rows],
        }
    )


def test_a_vector_is_samples_with_labels(prometheus):
    """Values come as text, NaN and infinity among them; the expression goes in the body."""
    prometheus.answer = lambda _: vector(({"a": "b"}, "0.5"), ({}, "NaN"), ({}, "+Inf"))
    with PrometheusClient(f"{prometheus.url}/") as client:
        first, second, third = client.query('sum(x{a=~"b|&=+"})', at=NOON)
    assert first == InstantSample({"a": "b"}, 0.5)
    assert math.isnan(second.value)
    assert third.value == math.inf
    assert prometheus.asked == [
        (
            "POST",
            "/api/v1/query",
            {"query": 'sum(x{a=~"b|&=+"})', "time": "2026-05-06T12:00:00.000+00:00"},
            None,
        )
    ]


def test_nothing_found_is_an_empty_list_and_no_zero(prometheus):
    """What an empty result means is the caller's to say."""
    prometheus.answer = lambda _: vector()
    with PrometheusClient(prometheus.url) as client:
        assert client.query("absent_metric") == []


def test_a_scalar_is_one_sample_without_labels(prometheus):
    """`time()` and arithmetic give scalars."""
    prometheus.answer = lambda _: success({"resultType": "scalar", "result": [1.5, "42"]})
    with PrometheusClient(prometheus.url) as client:
        assert client.query("42") == [InstantSample({}, 42.0)]


def test_a_range_selector_alone_is_a_bad_query(prometheus):
    """It gives a matrix, which is no value at one time."""
    prometheus.answer = lambda _: success({"resultType": "matrix", "result": []})
    with (
        PrometheusClient(prometheus.url) as client,
        pytest.raises(BadQuery, match="gives a matrix"),
    ):
        client.query("x[5m]")


def test_a_range_is_series_of_times_and_values(prometheus):
    """A step without a sample is left out; a path in front of the API is kept."""
    prometheus.answer = lambda _: success(
        {
            "resultType": "matrix",
            "result": [{"metric": {"a": "b"}, "values": [[10, "1"], [30.5, "2"]]}],
        }
    )
    with PrometheusClient(f"{prometheus.url}/monitoring", token=SECRET) as client:
        told = client.query_range("x", start=NOON, end=NOON + timedelta(minutes=1), step_s=10)
    assert told == [RangeSeries({"a": "b"}, (10.0, 30.5), (1.0, 2.0))]
    ((_, path, form, token),) = prometheus.asked
    assert path == "/monitoring/api/v1/query_range"
    assert form["step"] == "10"
    assert token == f"Bearer {SECRET}"


@pytest.mark.parametrize(
    ("span_s", "step_s", "said"),
    [
        (-1, 10, "has no points"),
        (60, 0, "has no points"),
        (60, math.nan, "has no points"),
        (11_000, 1, "over 11000 points"),
    ],
)
def test_a_range_that_makes_no_sense_is_never_asked(prometheus, span_s, step_s, said):
    """The end before the start, no step, or more points than Prometheus gives."""
    with PrometheusClient(prometheus.url) as client, pytest.raises(BadQuery, match=said):
        client.query_range("x", start=NOON, end=NOON + timedelta(seconds=span_s), step_s=step_s)
    assert prometheus.asked == []


def test_alerts_are_given_as_they_came(prometheus):
    """Pending and firing ones."""
    prometheus.answer = lambda _: success({"alerts": [{"state": "firing"}]})
    with PrometheusClient(prometheus.url) as client:
        assert client.alerts() == [{"state": "firing"}]
    assert prometheus.asked[0][:2] == ("GET", "/api/v1/alerts")


@pytest.mark.parametrize(
    ("answer", "error", "said"),
    [
        (failure(400, "bad_data", "parse error at char 3"), BadQuery, "parse error at char 3"),
        (failure(422, "execution", "found duplicate series"), BadQuery, "duplicate series"),
        (failure(503, "unavailable", "starting up"), PrometheusUnreachable, "starting up"),
        (failure(503, "timeout", "query timed out"), PrometheusUnreachable, "timed out"),
        ((401, "who are you"), NotAllowed, "HTTP 401"),
        ((403, "no"), NotAllowed, "HTTP 403"),
        ((404, "404 page not found"), PrometheusUnreachable, "does not answer as Prometheus"),
        ((200, "<html>hello</html>"), PrometheusUnreachable, "does not answer as Prometheus"),
        ((200, "[]"), PrometheusUnreachable, "does not answer as Prometheus"),
        ((200, '{"status": "success"}'), PrometheusUnreachable, "does not answer as Prometheus"),
        ((200, '{"status": "error"}'), PrometheusUnreachable, "does not answer as Prometheus"),
    ],
)
def test_each_failure_is_told_as_what_it_is(prometheus, answer, error, said):
    """A refused query is the asker's; a door is a right; anything else cannot be told."""
    prometheus.answer = lambda _: answer
    client = PrometheusClient(prometheus.url, token=SECRET)
    with client, pytest.raises(error, match=said) as caught:
        client.query("sum(")
    assert SECRET not in f"{caught.value.message} {caught.value.hint}"


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        ((503, "Service Unavailable"), "try again later"),
        ((502, "<html>Bad Gateway</html>"), "try again later"),
        ((429, "Too many requests"), "try again later"),
        (failure(503, "timeout", "query timed out"), "try again later"),
        ((302, ""), "to which it redirects"),
        ((404, "404 page not found"), "without /api/v1"),
        ((200, "<html>hello</html>"), "login page"),
    ],
)
def test_what_to_do_about_an_answer_depends_on_it(prometheus, answer, remedy):
    """A Prometheus that starts answers 503 in plain text: its URL is right."""
    prometheus.answer = lambda _: answer
    with PrometheusClient(prometheus.url) as client, pytest.raises(PrometheusUnreachable) as caught:
        client.query("up")
    assert remedy in caught.value.hint


@pytest.mark.parametrize(
    "data",
    [
        [],
        None,
        {"resultType": "vector"},
        {"resultType": "vector", "result": [{"metric": {}}]},
        {"resultType": "vector", "result": [{"metric": {}, "value": [1, "many"]}]},
        {"resultType": "vector", "result": 5},
        {"resultType": "scalar", "result": None},
    ],
)
def test_an_answer_of_another_shape_is_no_answer(prometheus, data):
    """Something that speaks half of the API ends in our error, and in no other one."""
    prometheus.answer = lambda _: success(data)
    with PrometheusClient(prometheus.url) as client:
        with pytest.raises(PrometheusUnreachable, match="does not answer as Prometheus"):
            client.query("up")
        with pytest.raises(PrometheusUnreachable, match="does not answer as Prometheus"):
            client.query_range("up", start=NOON, end=NOON, step_s=1)
        with pytest.raises(PrometheusUnreachable, match="does not answer as Prometheus"):
            client.alerts()


def test_a_result_of_no_known_type_is_no_answer(prometheus):
    """That the expression is wrong is told only of the types that expressions can have."""
    prometheus.answer = lambda _: success({"resultType": None, "result": []})
    with (
        PrometheusClient(prometheus.url) as client,
        pytest.raises(PrometheusUnreachable, match="does not answer as Prometheus"),
    ):
        client.query("up")


def test_a_prometheus_that_is_not_there_is_unreachable():
    """Nobody listens: exit 3, with the URL and without a traceback of the library."""
    with (
        PrometheusClient("http://127.0.0.1:9", timeout_s=1) as client,
        pytest.raises(PrometheusUnreachable, match=r"127\.0\.0\.1:9 did not answer") as caught,
    ):
        client.query("up")
    assert isinstance(caught.value, CouldNotTell)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:9090",
        "ftp://localhost",
        "http://",
        "http://host:0",
        "http://host:99999",
        "http://[::1",
        "http://user:pass@host",
        "http://host/?a=b",
        "http://host/#a",
        "http://ho\x01st",
        "http://xn--/",
        "http://[::1]x/",
    ],
)
def test_a_url_that_is_none_is_refused_before_anything_is_sent(url):
    """A password in it is refused as well, and is not repeated."""
    with pytest.raises(UnusableInput) as caught:
        PrometheusClient(url)
    assert "pass" not in caught.value.message.replace("password", "")


def with_notes(**notes):
    answer = {"status": "success", "data": {"resultType": "vector", "result": []}, **notes}
    return 200, json.dumps(answer)


def test_an_answer_with_warnings_is_no_answer(prometheus: Prometheus) -> None:
    """A store behind Prometheus is down: what it gave is a part, and no part is a pass."""
    prometheus.answer = lambda _: with_notes(warnings=["store eu-2: connection refused"])
    with PrometheusClient(prometheus.url) as client:
        for ask in (
            lambda: client.query("up"),
            lambda: client.query_range("up", start=NOON, end=NOON, step_s=1),
            client.alerts,
        ):
            with pytest.raises(PartialData, match="eu-2: connection refused"):
                ask()


def test_remarks_are_told_once(prometheus: Prometheus) -> None:
    """Of a name that is no counter's, for one: the answer stands, and its reader may doubt it."""
    prometheus.answer = lambda _: with_notes(infos=["metric might not be a counter"])
    told: list[str] = []
    with PrometheusClient(prometheus.url, told=told.append) as client:
        assert [client.query("rate(up[5m])"), client.query("rate(up[5m])")] == [[], []]
    assert told == ["Prometheus remarks: metric might not be a counter"]


def test_native_histograms_are_refused_with_what_makes_numbers_of_them(
    prometheus: Prometheus,
) -> None:
    """Not as "this is no Prometheus": a function around the query gives numbers."""
    histogram = {"count": "3", "sum": "1.5", "buckets": [[0, "0", "1", "3"]]}
    rows = [{"metric": {}, "histogram": [1.5, histogram], "histograms": [[1.5, histogram]]}]
    prometheus.answer = lambda _: success({"resultType": "vector", "result": rows})
    with PrometheusClient(prometheus.url) as client:
        for ask in (
            lambda: client.query("latency"),
            lambda: client.query_range("latency", start=NOON, end=NOON, step_s=1),
        ):
            with pytest.raises(BadQuery, match="native histograms") as caught:
                ask()
            assert "histogram_quantile" in caught.value.hint
