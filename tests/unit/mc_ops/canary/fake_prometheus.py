"""A Prometheus that speaks the two calls the canary asks: a query at one time, and a range.

It knows series by a word in the query, and gives each value by time. A query that has no known
word gives nothing, `many` gives two series, `refused` is refused, as Prometheus would. `up` has the
time of the last scrape.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aiohttp import web

Values = Callable[[float], float | None]


@dataclass
class FakePrometheus:
    """`series`: word in the query to its value at a Unix time (None: no point there)."""

    series: dict[str, Values] = field(default_factory=dict)
    scraped_at: Callable[[], float | None] = time.time
    token: str | None = None
    down: bool = False
    asked: list[dict[str, str]] = field(default_factory=list)
    url: str = ""

    def app(self) -> web.Application:
        """The application to serve."""
        app = web.Application()
        app.router.add_post("/api/v1/query", self._query)
        app.router.add_post("/api/v1/query_range", self._range)
        return app

    async def _query(self, request: web.Request) -> web.Response:
        if refused := await self._refused(request):
            return refused
        at = self.scraped_at()
        rows = [] if at is None else [{"metric": {}, "value": [time.time(), f"{at:.3f}"]}]
        return _success("vector", rows)

    async def _range(self, request: web.Request) -> web.Response:
        if refused := await self._refused(request):
            return refused
        form = self.asked[-1]
        start, end = (datetime.fromisoformat(form[name]).timestamp() for name in ("start", "end"))
        step = float(form["step"])
        times = [start + step * at for at in range(int((end - start) / step + 1e-9) + 1)]
        values = next((by for word, by in self.series.items() if word in form["query"]), None)
        if values is None:
            return _success("matrix", [])
        points = [[at, _text(value)] for at in times if (value := values(at)) is not None]
        if not points:
            return _success("matrix", [])
        rows = [{"metric": {}, "values": points}]
        if "many" in form["query"]:
            rows.append({"metric": {"instance": "b"}, "values": points})
        return _success("matrix", rows)

    async def _refused(self, request: web.Request) -> web.Response | None:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self.asked.append(form)
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        if self.down:
            return web.Response(status=503, text="upstream is gone")
        if "refused" in form["query"]:
            error = {"status": "error", "errorType": "bad_data", "error": "parse error"}
            return web.json_response(error, status=400)
        return None


def _success(kind: str, rows: list[Any]) -> web.Response:
    return web.json_response({"status": "success", "data": {"resultType": kind, "result": rows}})


def _text(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{value}"
