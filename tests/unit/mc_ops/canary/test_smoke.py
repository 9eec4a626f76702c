"""The smoke check of an instance that answers with what it makes up."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from aiohttp import web

from mc_ops.canary import smoke
from mc_ops.canary.driver import open_session

DEEP = b"[" * 200_000


async def test_smoke_check_deep_card_is_told() -> None:
    """A card that nests without end is not JSON; the check does not end in a traceback."""
    app = web.Application()

    async def card(_request: web.Request) -> web.Response:
        return web.Response(body=DEEP)

    app.router.add_get("/.well-known/agent-card.json", card)
    with sys.modules["fake_edge"].serving_app(app) as url:
        async with open_session("mc_test_canary") as session:
            found = await smoke.check(session, url)
    assert found.reason == "agent card: not JSON"


@pytest.mark.parametrize(
    ("how", "reason", "probes"),
    [
        ({"probe_failures": 2}, "", 3),
        ({"probe_failures": 9}, "operation canary-probe: http 503 (each of 3 probes failed)", 3),
        ({"card_status": 503}, "agent card: HTTP 503 (each of 3 probes failed)", 0),
        ({"probe_outcome": "completed"}, 'expected outcome "compensated"', 1),
    ],
)
async def test_one_failed_request_is_no_failed_smoke_check(
    how: dict[str, Any], reason: str, probes: int
) -> None:
    """How often requests fail is for the pairs; what was not undone is a failure at once."""
    fakes = sys.modules["fake_edge"]
    with fakes.serving(fakes.FakeEdge(**how)) as edge:
        async with open_session(fakes.TOKEN) as session:
            found = await smoke.check(session, edge.url)
    assert (found.passed, edge.probes) == (not reason, probes)
    assert found.reason.endswith(reason)
