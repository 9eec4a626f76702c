"""The card, which anyone may ask for."""

from __future__ import annotations

import a2a.server.routes.agent_card_routes as sdk
import httpx
from a2a.types import a2a_pb2 as pb
from starlette.applications import Starlette

from mc_platform.receive.routes import _card_route


async def test_the_card_is_rendered_once_for_all(monkeypatch):
    """Who has it already gets 304; the rest get the same bytes without making them anew."""
    made = []
    render = sdk.agent_card_to_dict
    monkeypatch.setattr(sdk, "agent_card_to_dict", lambda card: made.append(1) or render(card))
    app = Starlette(routes=[_card_route(pb.AgentCard(name="agent-workbench"))])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        path = "/.well-known/agent-card.json"
        first = await client.get(path)
        assert first.json()["name"] == "agent-workbench"
        assert first.headers["Cache-Control"] == "public, max-age=60"
        assert {(await client.get(path)).content for _ in range(5)} == {first.content}
        again = await client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert (await client.head(path)).status_code == 200
    assert made == [1]
