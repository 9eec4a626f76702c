"""Prometheus' HTTP API, as far as the rooms ask it: an instant query, a range, what it alerts on.

No room parses Prometheus' answers itself. An empty result is an answer (a list with nothing in
it), never a zero: what that means is the caller's to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

from mc_ops.errors import CouldNotTell, NotAllowed, UnusableInput
from mc_ops.service_client.http import HttpClient
from mc_ops.urls import plain_url

Told = Callable[[str], None]

_PLACE = "give the URL without /api/v1; is it a login page?"
_LONGEST_WARNING = 1000
_MOST_POINTS = 11_000  # Prometheus refuses a range of more points a series


class PrometheusUnreachable(CouldNotTell):
    """Prometheus did not answer, or not as Prometheus does."""

    code = "prometheus-unreachable"


class PartialData(CouldNotTell):
    """Prometheus answered with a warning: a source behind it is missing, or series do not go together."""

    code = "prometheus-partial-data"


class BadQuery(UnusableInput):
    """Prometheus refused the query, or a range asks for more points than it gives."""

    code = "prometheus-bad-query"


@dataclass(frozen=True, slots=True)
class InstantSample:
    """One series' value at one time; `value` may be NaN or infinite, as PromQL has it."""

    labels: Mapping[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class RangeSeries:
    """One series over a range: `times` (Unix seconds) and `values`, as many of each.

    A step at which the series had no sample is left out, not filled.
    """

    labels: Mapping[str, str]
    times: tuple[float, ...]
    values: tuple[float, ...]


class PrometheusClient(HttpClient):
    """One Prometheus at one URL; close it, or use it as a context manager.

    Every call raises `PartialData` for an answer with warnings.
    """

    BELOW = "/api/v1"

    def __init__(
        self, url: str, token: str | None = None, *, told: Told = lambda _: None, **more: Any
    ) -> None:
        """Make a client; a path in front of `/api/v1` is kept. Arguments as for `HttpClient`.

        Args:
            told: Takes what Prometheus remarks about a query (its `infos`), each text once.

        Raises:
            UnusableInput: When the URL is not http(s), or holds a user or password.
        """
        place = plain_url(
            "Prometheus",
            url,
            example="http://127.0.0.1:9090",
            instead="a bearer token can be given beside it",
        )
        super().__init__(place, token, **more)
        self._told, self._remarks = told, set[str]()

    def query(self, expression: str, *, at: datetime | None = None) -> list[InstantSample]:
        """Evaluate an expression at one time (now unless told).

        A scalar is a sample without labels.

        Raises:
            BadQuery: Prometheus refused the expression.
            PrometheusUnreachable: It did not answer, or not as Prometheus does.
            NotAllowed: It demands other credentials.
        """
        form = {"query": expression}
        if at is not None:
            form["time"] = _stamp(at)
        data = self._post("query", form)
        with self._read():
            match data.get("resultType"):
                case "vector":
                    _refuse_histograms(expression, data["result"])
                    return [
                        InstantSample(_labels(row["metric"]), float(row["value"][1]))
                        for row in data["result"]
                    ]
                case "scalar":
                    return [InstantSample({}, float(data["result"][1]))]
                case "matrix" | "string" as other:
                    raise BadQuery(
                        f'"{expression}" gives a {other}, expected an instant vector or a scalar',
                        hint="a range selector needs a function around it, such as rate(...)",
                    )
                case _:
                    raise TypeError("a result of no known type")

    def query_range(
        self, expression: str, *, start: datetime, end: datetime, step_s: float
    ) -> list[RangeSeries]:
        """Evaluate an expression at each step from `start` to `end`, both included.

        Raises:
            BadQuery: The expression is refused, or the range makes no sense or too many points.
            PrometheusUnreachable: It did not answer, or not as Prometheus does.
            NotAllowed: It demands other credentials.
        """
        span_s = (end - start).total_seconds()
        if not (math.isfinite(step_s) and step_s > 0 and span_s >= 0):
            raise BadQuery(
                f"a range from {_stamp(start)} to {_stamp(end)} by {step_s} s has no points",
                hint="the end must not be before the start, and the step must be above 0",
            )
        if span_s / step_s >= _MOST_POINTS:
            raise BadQuery(
                f"{span_s:.0f} s by {step_s:g} s make over {_MOST_POINTS} points a series",
                hint="ask for a shorter range or a longer step",
            )
        data = self._post(
            "query_range",
            {
                "query": expression,
                "start": _stamp(start),
                "end": _stamp(end),
                "step": f"{step_s:g}",
            },
        )
        with self._read():
            _refuse_histograms(expression, data["result"])
            return [
                RangeSeries(
                    _labels(row["metric"]),
                    tuple(float(at) for at, _ in row["values"]),
                    tuple(float(value) for _, value in row["values"]),
                )
                for row in data["result"]
            ]

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that are pending or firing: `labels`, `annotations`, `state`, `activeAt`."""
        data = self._call("GET", "alerts")
        with self._read():
            return [dict(alert) for alert in data["alerts"]]

    @contextmanager
    def _read(self) -> Iterator[None]:
        """What is not shaped as Prometheus' answers are is told as that, whatever it breaks."""
        try:
            yield
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise PrometheusUnreachable(
                f"{self.url} does not answer as Prometheus does: {type(error).__name__}",
                hint=_PLACE,
            ) from error

    def _post(self, path: str, form: dict[str, str]) -> dict[str, Any]:
        return self._call("POST", path, form)

    def _call(self, method: str, path: str, form: dict[str, str] | None = None) -> dict[str, Any]:
        try:
            answer = self.ask(method, path, data=form)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise PrometheusUnreachable(
                f"{self.url} did not answer: {type(error).__name__}",
                hint="is it a Prometheus, and can it be reached from here?",
            ) from error
        if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            raise NotAllowed(
                f"{self.url} refuses to be asked: HTTP {answer.status_code}",
                hint="it asks for other credentials",
            )
        try:
            told = answer.json()
            warnings = [str(each) for each in told.get("warnings") or ()]
            remarks = [str(each) for each in told.get("infos") or ()]
            if told["status"] == "success" and not warnings:
                data: dict[str, Any] = told["data"]
                self._remark(remarks)
                return data
            if told["status"] != "success":
                kind, message = str(told["errorType"]), str(told["error"])
        except (AttributeError, ValueError, KeyError, TypeError) as error:
            raise PrometheusUnreachable(
                f"{self.url} does not answer as Prometheus does: HTTP {answer.status_code}",
                hint=_remedy(answer),
            ) from error
        query = (form or {}).get("query", path)
        if told["status"] == "success":
            raise PartialData(
                f'Prometheus warns about "{query}": {"; ".join(warnings)[:_LONGEST_WARNING]}',
                hint="what it has may be a part: mend what it warns about, then repeat",
            )
        if kind in ("bad_data", "execution"):
            raise BadQuery(
                f'Prometheus refuses "{query}": {message}',
                hint="try the expression in Prometheus' own page",
            )
        raise PrometheusUnreachable(
            f"{self.url} could not answer: {kind}, {message}", hint=_remedy(answer)
        )

    def _remark(self, remarks: list[str]) -> None:
        for remark in dict.fromkeys(remarks):
            if remark not in self._remarks:
                self._remarks.add(remark)
                self._told(f"Prometheus remarks: {remark[:_LONGEST_WARNING]}")


def _remedy(answer: httpx.Response) -> str:
    """What to do about an answer that has no data: it may be that of a proxy in front of Prometheus."""
    if answer.is_server_error or answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return "it, or a proxy in front of it, is starting or has too much to do: try again later"
    if answer.is_redirect:
        return "give the URL to which it redirects"
    return _PLACE


def _refuse_histograms(expression: str, rows: list[Mapping[str, Any]]) -> None:
    """Raise `BadQuery` where a series has native histograms, which are no numbers."""
    if any(row.keys() & {"histogram", "histograms"} for row in rows):
        raise BadQuery(
            f'"{expression}" gives native histograms, expected numbers',
            hint="put a function around it: histogram_quantile(0.95, ...) or histogram_count(...)",
        )


def _labels(told: Mapping[str, Any]) -> dict[str, str]:
    """The labels of a series; whoever is no Prometheus may send anything for them."""
    if not all(isinstance(value, str) for value in told.values()):
        raise TypeError("a label is no text")
    return dict(told)


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds")
