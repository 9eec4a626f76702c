"""The layer that holds answers back: what leaves when, and how a refusal is told."""

from __future__ import annotations

import asyncio
import json

import pytest

from mc_platform.errors import PeerAway
from mc_platform.model.ids import TenantId
from mc_platform.model.tenant import Principal
from mc_platform.receive.handler import PRINCIPAL
from mc_platform.receive.held_answers import HeldAnswers
from mc_platform.receive.wire_errors import begin_note, retry_after

TENANT = TenantId("T")


class Copies:
    """A peer that has as many answers as it may; then none, if it is away."""

    def __init__(self, may=0, *, away=False):
        self.tenants = frozenset({TENANT})
        self.may = asyncio.Semaphore(may)
        self.away = away

    async def require(self, _tenant):
        if self.away and self.may.locked():
            raise PeerAway("the peer has not confirmed it", hint="send it again")
        await self.may.acquire()


def _app(*pieces, status=200):
    async def app(_scope, _receive, send):
        await send({"type": "http.response.start", "status": status, "headers": []})
        for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    return app


async def _ask(app, copies, told, *, path="/a2a", tenant=TENANT):
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"",
        "headers": [],
        "state": {PRINCIPAL: Principal("agent", TenantId(tenant), "k")},
    }

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        told.append(message)

    begin_note()
    await HeldAnswers(app, copies)(scope, receive, send)


def _body(told):
    return b"".join(message.get("body", b"") for message in told)


async def test_nothing_leaves_before_the_peer_has_it():
    """Neither status nor headers: that it was taken at all is an acknowledgement."""
    copies, told = Copies(), []
    asking = asyncio.create_task(_ask(_app(b'{"id": 1}'), copies, told))
    await asyncio.sleep(0.01)
    assert told == []
    copies.may.release()
    await asking
    assert (told[0]["status"], _body(told)) == (200, b'{"id": 1}')


async def test_each_event_of_a_stream_waits():
    """The second tells more than the first."""
    copies, told = Copies(1), []
    asking = asyncio.create_task(_ask(_app(b"data: 1\n\n", b"data: 2\n\n"), copies, told))
    await asyncio.sleep(0.01)
    assert _body(told) == b"data: 1\n\n"
    copies.may.release()
    await asking
    assert _body(told) == b"data: 1\n\ndata: 2\n\n"


@pytest.mark.parametrize("answered", [b'{"jsonrpc": "2.0", "id": 7}', b'data: {"id": 7}\n\n'])
async def test_a_json_rpc_call_is_refused_by_its_id_and_told_nothing_of_its_answer(answered):
    """Also where a stream would have begun."""
    told = []
    await _ask(_app(answered, b"secret"), Copies(away=True), told)
    refused = json.loads(_body(told))
    assert (refused["id"], refused["error"]["code"]) == (7, -32052)
    assert "peer-away" in json.dumps(refused["error"])
    assert "send it again" in refused["error"]["message"]
    assert retry_after(200) == (b"retry-after", b"2")


@pytest.mark.parametrize("path", ["/v1/message:send", "/graphql", "/aggregates"])
async def test_other_calls_are_refused_by_their_status(path):
    """With the wait that a client needs."""
    told = []
    await _ask(_app(b'{"secret": 1}'), Copies(away=True), told, path=path)
    assert told[0]["status"] == 503
    assert b"secret" not in _body(told)
    assert b"peer-away" in _body(told)
    assert retry_after(503) == (b"retry-after", b"2")


async def test_a_stream_that_has_begun_breaks_off():
    """Its client cannot take it for whole."""
    told = []
    with pytest.raises(PeerAway):
        await _ask(_app(b"data: 1\n\n", b"data: 2\n\n"), Copies(1, away=True), told)
    assert _body(told) == b"data: 1\n\n"
    assert all(message.get("more_body", True) for message in told)


@pytest.mark.parametrize(("status", "tenant"), [(429, "T"), (503, "T"), (200, "OTHER")])
async def test_what_tells_nothing_does_not_wait_nor_does_another_tenant(status, tenant):
    """However long the peer is away."""
    told = []
    await _ask(_app(b"{}", status=status), Copies(away=True), told, tenant=tenant)
    assert (told[0]["status"], _body(told)) == (status, b"{}")


async def test_a_failure_of_the_application_stays_its_own():
    """The layer refuses only for the peer."""

    async def breaks(_scope, _receive, _send):
        raise RuntimeError("defect")

    with pytest.raises(RuntimeError, match="defect"):
        await _ask(breaks, Copies(1), [])
