"""A replica in a process of its own, of whose event loop every step is measured in CPU time.

It is told what to do by lines on standard input, and answers each by a line of JSON on standard
output that begins with `@`:

    longest    the longest step since the last such line: `{"cpu_s", "step"}`
    routes     the paths that take a POST
    reads      the paths that take a GET

Settings come from the environment as for `python -m mc_platform serve`, and the server is the same.
The loop is asyncio's own, because its steps can be counted one by one.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from asyncio import events
from collections.abc import Iterable, Iterator
from typing import Any

from starlette.routing import BaseRoute, Mount, Route
from tests.isolation import steps

from mc_platform.__main__ import _serve
from mc_platform.app import Workbench

_paths: dict[str, list[str]] = {}


def _taking(method: str, routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[str]:
    for route in routes:
        if isinstance(route, Mount):
            yield from _taking(method, route.routes, prefix + route.path)
        elif isinstance(route, Route) and method in (route.methods or ()):
            yield prefix + re.sub(r"\{[^}]*\}", "x", route.path)


async def _opened(workbench: Workbench) -> Any:
    app = outermost = await _open(workbench)
    while not hasattr(app, "routes"):  # within its layers
        app = app.app
    _paths["routes"] = sorted(_taking("POST", app.routes))
    _paths["reads"] = sorted(_taking("GET", app.routes))
    events.Handle._run = steps.run_measured  # type: ignore[method-assign]
    threading.Thread(target=_answer, daemon=True).start()
    return outermost


def _answer() -> None:
    for line in sys.stdin:
        told: Any = _paths.get(line.strip()) or dict(steps.longest)
        print("@" + json.dumps(told), flush=True)
        steps.reset()


_open = Workbench.open
Workbench.open = _opened  # type: ignore[method-assign,assignment]
if __name__ == "__main__":  # a worker process imports this file as well
    asyncio.run(_serve())
