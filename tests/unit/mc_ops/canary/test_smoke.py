"""The smoke check of an instance that answers with what it makes up."""

from __future__ import annotations

import sys

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
