"""One tenant cannot take the places of another, and an agent is not blamed for our queue."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from itertools import islice
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from tests.fakes import ROOT, MemoryLedger, NoOperations, local_catalogue, request_path
from tests.raw_peer import Asked, RawPeer, answer, raw_peer

from mc_contract.governance import RATE_LIMITED_CODE
from mc_platform.adapters.cedar.decision_point import CedarDecisionPoint
from mc_platform.adapters.downstream_a2a import A2ADownstream
from mc_platform.bulkheads import Messages, Slot, Slots, client_left
from mc_platform.errors import RateLimited
from mc_platform.model.event import Kind
from mc_platform.model.ids import AgentName, PrincipalId, TenantId
from mc_platform.model.tenant import Principal
from mc_platform.receive import GatewayMiddleware, GovernedRequestHandler, a2a_routes
from mc_platform.receive.detail import DetailRule
from mc_platform.receive.exact_values import VALUES, ExactValues
from mc_platform.receive.handler import PRINCIPAL
from mc_platform.receive.limits import RateLimiter
from mc_platform.receive.peers import Peers
from mc_platform.receive.routes import agent_card
from mc_platform.screen import LibraryScreener

ONE, TWO, THREE = TenantId("TENANT_001"), TenantId("TENANT_002"), TenantId("TENANT_003")
REPLY = (
    b'{"jsonrpc":"2.0","id":%b,"result":{"message":{"messageId":"m","role":"ROLE_AGENT",'
    b'"parts":[{"text":"All is well."}]}}}'
)


def slots(**changes: Any) -> Slots:
    return Slots(
        **{"kind": "questions", "per_tenant": 2, "wait_s": 30, "most_waiting": 9} | changes
    )


async def settled(holds: Callable[[], bool]) -> None:
    """Let the loop run until it holds; a test that waits in vain is ended by its time limit."""
    while not holds():
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("waiting", [1, 2])
async def test_a_place_that_becomes_free_while_a_wait_ends_is_not_lost(waiting):
    """Whoever gave up is passed over before it has left the queue: the next one has the place."""
    places = slots(total=2)
    held = [await places.take(ONE), await places.take(ONE)]
    turns = [asyncio.create_task(places.take(ONE)) for _ in range(waiting)]
    other = asyncio.create_task(places.take(TWO))
    await settled(lambda: (places.waiting(ONE), places.waiting(TWO)) == (waiting, 1))
    for turn in turns:
        turn.cancel()
    held[0].release()
    await other
    held[1].release()
    await asyncio.gather(*turns, return_exceptions=True)
    assert (places.taken(ONE), places.taken(TWO), places.waiting(ONE)) == (0, 1, 0)


async def test_a_tenant_has_so_many_places_and_another_has_its_own():
    """A full tenant waits; the next one does not."""
    places = slots()
    held = [await places.take(ONE), await places.take(ONE)]
    third = asyncio.create_task(places.take(ONE))
    await settled(lambda: places.waiting(ONE) == 1)
    await places.take(TWO)
    assert not third.done()
    held[0].release()
    held[0].release()  # twice is once
    await third
    assert (places.taken(ONE), places.taken(TWO), places.waiting(ONE)) == (2, 1, 0)


async def test_a_place_that_becomes_free_goes_to_tenants_in_turn():
    """However many of one tenant wait, the other's first is served second at the latest."""
    places, served = slots(per_tenant=9, total=1), []
    first = await places.take(ONE)

    async def serve(tenant: TenantId) -> None:
        async with places.held(tenant):
            served.append(tenant)

    waiting = [asyncio.create_task(serve(ONE)) for _ in range(4)]
    await settled(lambda: places.waiting(ONE) == 4)
    waiting += [asyncio.create_task(serve(TWO)) for _ in range(2)]
    await settled(lambda: places.waiting(TWO) == 2)
    first.release()
    await asyncio.gather(*waiting)
    assert served == [ONE, TWO, ONE, TWO, ONE, ONE]


def ended(places: Slots, *, left: int, stayed: int, tenant: TenantId = ONE) -> int:
    """How many places the tenant has after so many ends of its questions."""
    for one in [True] * left + [False] * stayed:
        places.heed(tenant, left=one)
    return places.most(tenant)


def test_places_whose_clients_have_left_are_withdrawn_and_come_back():
    """Half of them, while most clients leave, and never all; once clients stay, by and by."""
    places = slots(per_tenant=64)
    assert ended(places, left=8, stayed=8) == 64  # some always leave
    assert [ended(places, left=16, stayed=0) for _ in range(6)] == [32, 16, 8, 4, 2, 2]
    assert ended(places, left=5, stayed=11) == 2  # not good enough to give some again
    assert [ended(places, left=0, stayed=16) for _ in range(6)] == [3, 4, 5, 6, 7, 8]
    assert [ended(places, left=0, stayed=16) for _ in range(20)][-1] == 64
    assert places.most(TWO) == 64  # the neighbour's are its own


async def test_while_clients_leave_the_newest_is_served_first():
    """Who came last may still be waited for; places that come back go to whoever waits."""
    places, served = slots(per_tenant=4, wait_s=60), []
    assert ended(places, left=16, stayed=0) == 2
    held = [await places.take(ONE), await places.take(ONE)]

    async def serve(number: int) -> None:
        await places.take(ONE)
        served.append(number)

    waiting = [asyncio.create_task(serve(number)) for number in range(3)]
    await settled(lambda: places.waiting(ONE) == 3)
    held[0].release()
    await waiting[2]
    assert ended(places, left=0, stayed=16) == 3
    await waiting[1]
    assert ended(places, left=0, stayed=16) == 4
    await waiting[0]
    assert served == [2, 1, 0]
    assert (places.taken(ONE), places.waiting(ONE)) == (4, 0)


async def test_a_client_that_left_while_it_waited_takes_no_place():
    """Nothing is begun that nobody waits for; the place is the next one's."""
    messages = Messages(tenants=1, per_tenant=1, per_agent=2, operations=1, wait_s=60)
    first = await messages.take(ONE, AgentName("records"), operation=False)
    client_left.set(lambda: True)
    waiting = asyncio.create_task(messages.take(ONE, AgentName("records"), operation=False))
    await settled(lambda: messages.questions.waiting(ONE) == 1)
    first.release()
    with pytest.raises(RateLimited, match="left before a place was free"):
        await waiting
    assert messages.questions.taken(ONE) == 0


async def test_work_on_what_was_accepted_waits_first_and_is_never_refused():
    """A reply's turn comes before the tenant's next request, however many of those wait."""
    places, served = slots(per_tenant=1, wait_s=0.05, most_waiting=1), []
    first = await places.take(ONE)

    async def serve(name: str, *, patient: bool) -> None:
        async with places.held(ONE, patient=patient):
            served.append(name)

    waiting = [asyncio.create_task(serve("request", patient=False))]
    await settled(lambda: places.waiting(ONE) == 1)
    replies = [asyncio.create_task(serve(f"reply {at}", patient=True)) for at in range(3)]
    await settled(lambda: places.waiting(ONE) == 4)
    with pytest.raises(RateLimited):
        await places.take(ONE)
    with pytest.raises(RateLimited):  # a request does not wait for ever
        await waiting[0]
    first.release()
    await asyncio.gather(*replies)
    assert served == ["reply 0", "reply 1", "reply 2"]


async def _fill(places: Slots, tenant: TenantId) -> None:
    with suppress(RateLimited):
        while True:
            await places.take(tenant)


@pytest.mark.parametrize("hogs", [1, 2, 3])
async def test_places_are_kept_for_whoever_has_none(hogs: int):
    """Other tenants take all but the share that is kept: the last tenant finds it free."""
    tenants = [TenantId(f"T{number}") for number in range(4)]
    places = slots(per_tenant=100, total=16, kept_each=2, tenants=4, wait_s=0.01)
    for tenant in tenants[:hogs]:
        await _fill(places, tenant)
    assert sum(places.taken(tenant) for tenant in tenants) == 16 - 2 * (4 - hogs)
    for _ in range(2):
        await places.take(tenants[3])


async def test_waiting_is_bounded_in_time_and_number():
    """Both end with 429 and a time to come back, and are counted; nothing is left behind."""
    places = slots(per_tenant=1, wait_s=0.01, most_waiting=1)
    held = await places.take(ONE)
    with pytest.raises(RateLimited, match="no place became free") as late:
        await places.take(ONE)
    assert late.value.retry_after_s == 1.0
    patient = slots(per_tenant=1, most_waiting=1)
    kept = await patient.take(ONE)
    waits = asyncio.create_task(patient.take(ONE))
    await settled(lambda: patient.waiting(ONE) == 1)
    with pytest.raises(RateLimited):
        await patient.take(ONE)
    kept.release()
    (await waits).release()
    held.release()
    assert [one.taken(ONE) + one.waiting(ONE) for one in (places, patient)] == [0, 0]


async def test_who_leaves_the_queue_takes_no_place_along():
    """Cancelled while waiting, or in the moment in which the place was given."""
    places = slots(per_tenant=1)
    held = await places.take(ONE)
    gone = asyncio.create_task(places.take(ONE))
    await settled(lambda: places.waiting(ONE) == 1)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    assert places.waiting(ONE) == 0
    late = asyncio.create_task(places.take(ONE))
    await settled(lambda: places.waiting(ONE) == 1)
    held.release()  # given to `late`, which has not run since
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    assert places.taken(ONE) == 0
    (await places.take(ONE)).release()


async def test_a_message_that_finds_no_place_at_the_agent_keeps_none_of_its_tenant():
    """Both places are taken, or neither."""
    messages = Messages(tenants=2, per_tenant=5, per_agent=1, operations=1, wait_s=0.01)
    agent = AgentName("records")
    held = await messages.take(ONE, agent, operation=False)
    with pytest.raises(RateLimited):
        await messages.take(ONE, agent, operation=False)
    assert messages.questions.taken(ONE) == 1
    await messages.take(ONE, agent, operation=True)  # waits for no question
    held.release()
    assert (messages.questions.taken(ONE), messages.agent(agent).taken(ONE)) == (0, 0)
    Slot(ONE).release()


# -- the story: a gateway with everything real but the database -------------------------------


class ByHeader:
    """An `Authenticator` that takes the credential for the tenant's name."""

    async def authenticate(self, authorization: str | None, _client_of: Any) -> Principal:
        tenant = TenantId((authorization or "").removeprefix("Bearer "))
        return Principal(PrincipalId(f"agent@{tenant}"), tenant, "0" * 12)


class Unwatched:
    """`Connections` of a middleware that is called without any."""

    closing = False

    def begun(self, _scope: Any) -> None:
        """There are none."""

    def ended(self, _key: None, *, closed: bool) -> None:
        """There are none."""


class Gateway:
    """Middleware, handler, request path and client to agents, in this process."""

    def __init__(self, agent_url: str, *, wait_s: float) -> None:
        catalogue = local_catalogue()
        agents = {
            name: replace(agent, url=agent_url, timeout_s=60.0)
            for name, agent in catalogue.agents.items()
        }
        catalogue = replace(catalogue, agents=agents)
        self.ledger = MemoryLedger()
        self.downstream = A2ADownstream()
        self.messages = Messages(
            tenants=len(catalogue.tenants),
            per_tenant=64,
            per_agent=128,
            operations=64,
            wait_s=wait_s,
        )
        self.path = request_path(
            catalogue=catalogue,
            decisions=CedarDecisionPoint.load(ROOT / "policies"),
            screener=LibraryScreener(),
            ledger=self.ledger,
            downstream=self.downstream,  # type: ignore[arg-type] # the real one
            operations=NoOperations(),
            messages=self.messages,
        )
        card = agent_card(public_url="http://gateway", version="0", catalogue=catalogue)
        self.handler = GovernedRequestHandler(
            path=self.path,
            tasks=self.ledger,  # type: ignore[arg-type] # no story here lists pages
            limiter=RateLimiter(rate_per_s=10_000, burst=10_000),
            card=card,
        )
        app = GatewayMiddleware(
            Starlette(routes=list(a2a_routes(self.handler, card))),
            authenticator=ByHeader(),  # type: ignore[arg-type] # knows no tokens
            peers=Peers((), loopback_is_local=True),
            detail=DetailRule(None),
            connections=Unwatched(),  # type: ignore[arg-type] # there are no sockets here
            max_body_bytes=2**20,
            body_timeout_s=30,
            tenants=frozenset(map(str, catalogue.tenants)),
        )
        self.client = httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://gateway", timeout=60
        )

    async def ask(self, tenant: TenantId, message_id: str, *, rest: bool = False) -> httpx.Response:
        """One question to the agent `records`."""
        params: dict[str, Any] = {
            "message": {
                "messageId": message_id,
                "role": "ROLE_USER",
                "parts": [{"text": "Where is order O-2001?"}],
            }
        }
        headers = {"Authorization": f"Bearer {tenant}", "A2A-Version": "1.0"}
        if rest:
            return await self.client.post("/v1/message:send", json=params, headers=headers)
        call = {"jsonrpc": "2.0", "id": message_id, "method": "SendMessage", "params": params}
        return await self.client.post("/a2a", json=call, headers=headers)

    def told(self, kind: Kind) -> Counter[TenantId]:
        """How many events of a kind the ledger has, by tenant."""
        return Counter(event.tenant for event in self.ledger.events if event.kind is kind)


def holding(tenant: TenantId, go: threading.Event) -> Callable[[Asked, Any], None]:
    """An agent that answers everybody at once but this tenant, for which it waits."""

    def send(asked: Asked, connection: Any) -> None:
        if asked.body and tenant in asked.body.decode():
            go.wait(60)
        told = json.dumps(json.loads(asked.body)["id"]).encode() if asked.body else b"null"
        answer(REPLY % told)(asked, connection)

    return send


@asynccontextmanager
async def besieged(wait_s: float) -> AsyncIterator[tuple[Gateway, RawPeer, threading.Event]]:
    """A gateway whose agent holds every question of TENANT_001 until it is told to go on."""
    go = threading.Event()
    with raw_peer(holding(ONE, go)) as peer:
        gateway = Gateway(peer.by_address, wait_s=wait_s)
        try:
            yield gateway, peer, go
        finally:
            go.set()
            await gateway.client.aclose()
            await gateway.downstream.close()


async def test_260_slow_questions_of_one_tenant_hold_up_nobody_else():
    """64 are asked, the others refused as ours; a neighbour and a probe are answered meanwhile."""
    async with besieged(wait_s=0.05) as (gateway, peer, go):
        slow = [asyncio.create_task(gateway.ask(ONE, f"slow-{n}")) for n in range(260)]
        for done in islice(asyncio.as_completed(slow), 260 - 64):
            answered = await done
            error = answered.json()["error"]
            assert (answered.status_code, error["code"]) == (200, RATE_LIMITED_CODE)
            assert answered.headers["Retry-After"] == "1"
            assert "TENANT_001 has 64 questions under way" in error["message"]
        await settled(lambda: len(peer.asked) == 64)

        quick = await gateway.ask(TWO, "quick")
        assert quick.json()["result"]["task"]["status"]["state"] == "TASK_STATE_COMPLETED"
        assert await gateway.downstream.alive(peer.by_address)
        as_http = await gateway.ask(ONE, "slow-by-http", rest=True)
        assert (as_http.status_code, as_http.headers["Retry-After"]) == (429, "1")
        assert sum(task.done() for task in slow) == 260 - 64  # all that were asked still wait

        assert gateway.told(Kind.request_accepted) == {ONE: 64, TWO: 1}
        assert gateway.told(Kind.request_failed) == {}
        assert gateway.told(Kind.request_refused) == {}

        go.set()
        answers = [one.result() for one in await _all(slow)]
        assert sum("result" in one.json() for one in answers) == 64
        assert gateway.told(Kind.request_failed) == {}
        assert gateway.messages.questions.taken(ONE) == 0
        assert gateway.messages.agent(AgentName("records")).taken(ONE) == 0


async def _all(tasks: list[asyncio.Task[httpx.Response]]) -> list[asyncio.Task[httpx.Response]]:
    await asyncio.wait(tasks)
    return tasks


async def test_a_refused_message_may_come_again_and_a_known_one_is_answered():
    """429 leaves nothing that its retry would meet; a repeat of an answered one needs no place."""
    async with besieged(wait_s=0.05) as (gateway, peer, go):
        known = await gateway.ask(TWO, "known")
        full = [asyncio.create_task(gateway.ask(ONE, f"slow-{n}")) for n in range(64)]
        await settled(lambda: len(peer.asked) == 65)
        refused = await gateway.ask(ONE, "again")
        assert refused.json()["error"]["code"] == RATE_LIMITED_CODE
        # The same tenant is full, and what it asked before the siege is told all the same
        gateway.messages.questions.per_tenant = 0
        assert (await gateway.ask(TWO, "known")).json()["result"] == known.json()["result"]
        gateway.messages.questions.per_tenant = 64
        go.set()
        await asyncio.wait(full)
        again = await gateway.ask(ONE, "again")
        assert again.json()["result"]["task"]["status"]["state"] == "TASK_STATE_COMPLETED"


async def test_the_agents_time_begins_when_it_is_asked():
    """Waiting for a place is not counted: a question that waited longer than the agent may take."""
    async with besieged(wait_s=30) as (gateway, peer, go):
        full = [asyncio.create_task(gateway.ask(ONE, f"slow-{n}")) for n in range(64)]
        await settled(lambda: len(peer.asked) == 64)
        late = asyncio.create_task(gateway.ask(ONE, "late"))
        await settled(lambda: gateway.messages.questions.waiting(ONE) == 1)
        assert gateway.told(Kind.request_accepted) == {ONE: 64}  # no task of it stands open
        go.set()
        await asyncio.wait([*full, late])
        assert "result" in late.result().json()


async def test_a_caller_that_leaves_gives_its_place_back():
    """Cancelled by the server's loop, or a stream that is left at once."""
    async with besieged(wait_s=0.05) as (gateway, peer, go):
        call = asyncio.create_task(gateway.ask(ONE, "left"))
        await settled(lambda: len(peer.asked) == 1)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await settled(lambda: gateway.messages.questions.taken(ONE) == 0)

        stream = gateway.handler.on_message_send_stream(*_sending(ONE, "stream"))
        first = await anext(stream)
        assert json.dumps(str(first))
        await stream.aclose()
        go.set()
        await settled(lambda: gateway.messages.questions.taken(ONE) == 0)
        # The work was not called back: its task has ended
        states = [task.state.name for task in gateway.ledger.tasks.values()]
        assert sorted(states) == ["completed", "failed"]


def _sending(tenant: TenantId, message_id: str) -> tuple[Any, Any]:
    from a2a.server.context import ServerCallContext
    from a2a.types import a2a_pb2 as pb

    message = pb.Message(message_id=message_id, role=pb.Role.ROLE_USER)
    message.parts.append(pb.Part(text="Where is order O-2001?"))
    principal = Principal(PrincipalId(f"agent@{tenant}"), tenant, "0" * 12)
    return pb.SendMessageRequest(message=message), ServerCallContext(
        state={PRINCIPAL: principal, VALUES: ExactValues()}
    )
