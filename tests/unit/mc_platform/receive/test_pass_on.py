"""The layer that passes requests on to the tenant's home, with regions in memory."""

from __future__ import annotations

import pytest
from starlette.requests import Request

from mc_platform.bulkheads import Slots
from mc_platform.errors import HomeElsewhere, PeerFailed
from mc_platform.model.ids import TenantId
from mc_platform.model.tenant import Principal
from mc_platform.receive.handler import PRINCIPAL
from mc_platform.receive.pass_on import PassOn
from mc_platform.receive.wire_errors import answer, begin_note, retry_after


class Peers:
    """A region that answers as it is told to."""

    names = frozenset({"eu-2"})

    def __init__(self, *answers):
        self.answers = answers
        self.asked = []

    async def ask(self, region, tenant, method, target, *, body, headers, taker):
        self.asked.append((region, tenant, method, target, body, headers))
        for one in self.answers:
            if isinstance(one, Exception):
                raise one
            taker.piece(one) if isinstance(one, bytes) else taker.head(*one)


async def _elsewhere(scope, receive, send):
    await receive()
    error = HomeElsewhere("the home of tenant T is region eu-2", home="eu-2")
    await (await answer(Request(scope), error))(scope, receive, send)


async def _sent(peers, *, marked=False, app=_elsewhere):
    """What a request is answered with: status, headers, body."""
    headers = [(b"authorization", b"Bearer x"), (b"cookie", b"y")]
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/aggregates",
        "raw_path": b"/aggregates",
        "query_string": b"a=b",
        "headers": headers + [(b"mc-passed-on", b"eu-3")] * marked,
        "state": {PRINCIPAL: Principal("agent", TenantId("T"), "k")},
    }
    told = []

    async def receive():
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message):
        told.append(message)

    begin_note()
    slots = Slots("requests passed on", per_tenant=1, wait_s=0.1, most_waiting=1)
    await PassOn(app, peers, "eu-1", slots)(scope, receive, send)
    assert slots.taken(TenantId("T")) == 0
    body = b"".join(message.get("body", b"") for message in told[1:])
    return told[0]["status"], dict(told[0]["headers"]), body


async def test_the_home_s_answer_comes_back_as_it_is():
    """With the caller's credential and mark, and nothing of the refusal that it stands for."""
    peers = Peers((200, {"content-type": "text/plain", "set-cookie": "z"}), b"an", b"swer")
    assert await _sent(peers) == (200, {b"content-type": b"text/plain"}, b"answer")
    sent = {"authorization": "Bearer x", "MC-Passed-On": "eu-1"}
    assert peers.asked == [("eu-2", "T", "POST", "/aggregates?a=b", b"{}", sent)]
    assert retry_after(200) is None


@pytest.mark.parametrize(
    "answers",
    [
        (PeerFailed("not reachable", asked=False),),
        ((401, {"content-type": "application/json"}), b"{}"),  # the credential is not there yet
    ],
)
async def test_a_home_that_cannot_be_asked_is_named(answers):
    """The refusal says where to go, and when to ask again."""
    status, _, body = await _sent(Peers(*answers))
    assert status == 503
    assert b'"home":"eu-2"' in body
    assert retry_after(503) == (b"retry-after", b"2")


async def test_an_answer_that_breaks_off_is_not_made_whole():
    """The caller must see that it is cut."""
    broken = PeerFailed("the connection broke", asked=True)
    with pytest.raises(PeerFailed):
        await _sent(Peers((200, {}), b"an", broken))


async def test_what_was_passed_on_is_refused():
    """However often two regions take each other for the home."""
    peers = Peers((200, {}))
    assert (await _sent(peers, marked=True))[0] == 503
    assert peers.asked == []
