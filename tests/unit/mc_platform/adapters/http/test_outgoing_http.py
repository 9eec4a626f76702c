"""What a hostile or broken peer can do to whoever asks it: nothing, for this or any later request.

Real sockets on loopback; the peers are agents, actions' endpoints, datasets' sources and a SIEM.
"""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from tests.aggregate_fakes import dataset
from tests.raw_peer import answer, raw, raw_peer

from mc_platform.adapters.dataset_http import HttpRows
from mc_platform.adapters.downstream_a2a import A2ADownstream
from mc_platform.adapters.http import BlockingLanes, Outgoing
from mc_platform.adapters.siem.http import SiemHttp
from mc_platform.deliver import SinkRefused
from mc_platform.enact.actions import ActionRegistry
from mc_platform.enact.calls import RetryPolicy
from mc_platform.errors import AgentFailed, PeerFailed
from mc_platform.model.catalogue import ActionSpec, HttpCall
from mc_platform.model.ids import ActionName, TenantId

ONE, TWO = TenantId("TENANT_001"), TenantId("TENANT_002")
ACT = ActionName("act")
TASK = (
    b'{"jsonrpc":"2.0","id":"m","result":{"task":{"id":"t","contextId":"c",'
    b'"status":{"state":"TASK_STATE_COMPLETED"},"artifacts":[{"artifactId":"a","parts":[%s]}]}}}'
)
FINE = TASK % b'{"text":"fine"}'
PERSON = b'{"rows":[{"id":"p","town":"east","place":4,"income":7.5,"secret":"no"}]}'
COOKIES = (
    "Set-Cookie: sid=of-the-first; Path=/",
    "Set-Cookie: sid2=of-the-first; Path=/; Domain=localhost",
    "Set-Cookie: sid3=of-the-first; Max-Age=9999999; SameSite=None",
)


async def ask_agent(agents: A2ADownstream, url: str, tenant: TenantId = ONE, timeout_s: float = 10):
    """One question, as the request path asks it."""
    return await agents.ask(
        tenant=tenant,
        url=url,
        message_id="m",
        context_id="c",
        parts=[{"text": "hello"}],
        governance={"tenant": tenant},
        timeout_s=timeout_s,
    )


Ask = Callable[[str, TenantId], Awaitable[object]]


@asynccontextmanager
async def agents() -> AsyncIterator[Ask]:
    client = A2ADownstream()
    yield lambda url, tenant: ask_agent(client, url, tenant)
    await client.close()


@asynccontextmanager
async def probes() -> AsyncIterator[Ask]:
    client = A2ADownstream()
    yield lambda url, _tenant: client.alive(url)
    await client.close()


@asynccontextmanager
async def datasets() -> AsyncIterator[Ask]:
    client = HttpRows()
    yield lambda url, tenant: client.read(replace(dataset(), url=url), tenant)
    await client.close()


@asynccontextmanager
async def siem() -> AsyncIterator[Ask]:
    client = SiemHttp(headers={"Authorization": "Bearer key"})
    yield lambda url, _tenant: client.post(url, b"{}")
    await client.close()


@asynccontextmanager
async def actions() -> AsyncIterator[Ask]:
    client = BlockingLanes()

    def do(url: str, tenant: TenantId) -> object:
        return acts_at(client, url).do(ACT, {}, "op:0:do", lambda _s: None, tenant=tenant)

    yield lambda url, tenant: asyncio.to_thread(do, url, tenant)
    await asyncio.to_thread(client.close)


def acts_at(client: BlockingLanes, url: str, timeout_s: float = 10.0) -> ActionRegistry:
    call = HttpCall("POST", url, {}, timeout_s=timeout_s)
    once = RetryPolicy(attempts=1)
    return ActionRegistry(
        {ACT: ActionSpec(ACT, call, call)}, http=client, do_retries=once, undo_retries=once
    )


EVERYBODY = pytest.mark.parametrize(
    ("client", "body"),
    [(agents, FINE), (probes, b""), (datasets, PERSON), (siem, b"{}"), (actions, b"{}")],
    ids=["agents", "probes", "datasets", "siem", "actions"],
)


@EVERYBODY
@pytest.mark.parametrize("where", ["by_name", "by_address"])
async def test_a_cookie_that_a_peer_sets_is_never_sent_to_it(client: Any, body: bytes, where: str):
    """What a peer sets for one tenant's request is not in another's, nor in the same tenant's."""
    with raw_peer(answer(body, *COOKIES)) as peer:
        async with client() as ask:
            for tenant in (ONE, TWO, ONE):
                await ask(getattr(peer, where), tenant)
    assert [asked.header("Cookie") for asked in peer.asked] == [None, None, None]


@EVERYBODY
async def test_a_redirect_is_not_followed(client: Any, body: bytes):
    """The URL that is configured is the only destination."""
    with raw_peer(answer(body)) as elsewhere:
        away = answer(b"", f"Location: {elsewhere.by_address}/", status="307 Temporary Redirect")
        with raw_peer(away) as peer:
            async with client() as ask:
                try:
                    await ask(peer.by_address, ONE)
                except (AgentFailed, SinkRefused) as told:
                    assert elsewhere.by_address not in str(told)
    assert len(peer.asked) == 1
    assert elsewhere.asked == []


@EVERYBODY
async def test_proxies_of_the_environment_are_not_used(
    client: Any, body: bytes, monkeypatch: pytest.MonkeyPatch
):
    """Whoever sets a variable of the process reads no tenant's data by it."""
    with raw_peer(answer(body)) as proxy, raw_peer(answer(body)) as peer:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
            monkeypatch.setenv(name, proxy.by_address)
        monkeypatch.delenv("no_proxy", raising=False)
        async with client() as ask:
            await ask(peer.by_address, ONE)
    assert (len(peer.asked), proxy.asked) == (1, [])


@pytest.mark.parametrize(("client", "body"), [(agents, FINE), (datasets, PERSON), (actions, b"{}")])
async def test_tenants_share_no_connection(client: Any, body: bytes):
    """A peer that keeps something with a connection cannot take it from one tenant to another."""
    with raw_peer(answer(body)) as peer:
        async with client() as ask:
            for tenant in (ONE, TWO, ONE, TWO):
                await ask(peer.by_address, tenant)
    assert [asked.connection for asked in peer.asked] == [0, 1, 0, 1]


async def test_a_probe_has_a_connection_of_its_own():
    """A health probe waits for no question."""
    with raw_peer(answer(FINE)) as peer:
        client = A2ADownstream()
        await ask_agent(client, peer.by_address)
        assert await client.alive(peer.by_address)
        await client.close()
    assert [asked.connection for asked in peer.asked] == [0, 1]


async def test_a_name_is_looked_up_though_all_common_threads_are_busy():
    """Whatever holds the loop's threads, an agent with a host name can be asked."""
    go = threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    busy = loop.run_in_executor(None, go.wait)
    with raw_peer(answer(FINE)) as peer:
        client = A2ADownstream()
        assert await ask_agent(client, peer.by_name) == ({"text": "fine"},)
        await client.close()
    assert not busy.done()
    go.set()
    await busy


def dripping(told: bytes, stop: threading.Event):
    """A byte at a time, never ending: each read succeeds."""

    def send(_asked: Any, connection: Any) -> None:
        connection.sendall(told)
        while not stop.wait(0.02):
            connection.sendall(b"x")

    return send


@pytest.mark.parametrize(
    "told",
    [
        b"HTTP/1.1 200 O",
        b"HTTP/1.1 200 OK\r\nX-Slow: ",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",
    ],
    ids=["status line", "headers", "body", "chunk"],
)
async def test_one_deadline_ends_an_answer_that_drips(told: bytes):
    """However often a byte comes, the whole must have come in time; for threads likewise."""
    stop = threading.Event()
    with raw_peer(dripping(told, stop)) as peer:
        client = Outgoing()
        with pytest.raises(PeerFailed, match=r"no whole answer came in 0\.3 s") as failed:
            await client.exchange("GET", peer.by_address, timeout_s=0.3, most_bytes=10**6)
        assert (failed.value.asked, failed.value.late) == (True, True)
        await client.close()
        lanes = BlockingLanes()
        called = await asyncio.to_thread(
            lambda: acts_at(lanes, peer.by_address, timeout_s=0.3).do(
                ACT, {}, "op:0:do", lambda _s: None, tenant=ONE
            )
        )
        assert (called.ok, called.reason, called.effect.value) == (False, "timed out", "unknown")
        await asyncio.to_thread(lanes.close)
        stop.set()


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "told",
    [
        OK + b"X: " + b"y" * 20_000 + b"\r\n\r\n",
        OK + b"".join(b"X-%d: y\r\n" % n for n in range(100)) + b"\r\n",
        OK + b"x" * 2_000_000,
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 200 " + b"y" * 20_000 + b"\r\n\r\n",
        b"\x00\xff\x00\xff" * 1000,
        OK + b"Content-Length: -5\r\n\r\n",
        OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        OK + b"Content-Length: 500\r\n\r\nhello",
        b"",
    ],
    ids=[
        "a long header",
        "many headers",
        "a header without end",
        "status",
        "a long reason",
        "no HTTP",
        "a negative length",
        "two lengths",
        "chunk",
        "cut off",
        "nothing",
    ],
)
async def test_an_answer_that_is_no_http_is_the_peers_fault(told: bytes):
    """It is told as such, without a byte of it; nothing crashes."""
    with raw_peer(raw(told, close=True)) as peer:
        client = Outgoing()
        with pytest.raises(PeerFailed, match="broke") as failed:
            await client.exchange("POST", peer.by_address, timeout_s=5, most_bytes=10**6, body=b"x")
        await client.close()
    assert "yyy" not in str(failed.value)
    assert failed.value.asked


async def test_a_reply_is_bounded_before_and_while_it_is_read():
    """By the length that it declares, and by what comes; a status alone can still be taken."""
    chunked = raw(OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"3e8\r\n" + b"x" * 1000 + b"\r\n")
    for script in (answer(b"x" * 101), chunked):
        with raw_peer(script) as peer:
            client = Outgoing()
            with pytest.raises(PeerFailed, match="exceeds 100 bytes"):
                await client.exchange("GET", peer.by_address, timeout_s=5, most_bytes=100)
            cut = await client.exchange(
                "GET", peer.by_address, timeout_s=5, most_bytes=100, whole=False
            )
            assert (cut.status, len(cut.body)) == (200, 100)
            await client.close()


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "told",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000,
        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 100_000,
        OK + b"Content-Length: 100000\r\n\r\n" + b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000,
        CHUNKED + b"1\r\n \r\n" * 1_000_000,
        CHUNKED + b"a\r\n0123456789\r\n" * 300_000,
        CHUNKED + b"".join(b"1;%s\r\n \r\n" % (b"x" * 500) for _ in range(5_000)),
    ],
    ids=["interim", "hints", "answers after it", "chunks", "larger chunks", "chunk extensions"],
)
async def test_what_surrounds_a_body_is_bounded(told: bytes):
    """Much around little content is the peer's fault at once; it costs the loop no 50 ms at a time.

    Only what follows a whole answer spares that answer; the connection does not serve again. The
    garbage collector's pauses, which are no answer's doing, do not come each time.
    """
    with raw_peer(raw(told)) as peer:
        client = Outgoing()
        stalls = []

        async def watch() -> None:
            while True:
                began = time.thread_time()
                await asyncio.sleep(0)
                stalls[-1] = max(stalls[-1], time.thread_time() - began)

        for number in range(4):
            stalls.append(0.0)
            watching = asyncio.create_task(watch())
            try:
                reply = await client.exchange(
                    "GET", peer.by_address, timeout_s=20, most_bytes=4_194_304
                )
                assert (len(reply.body), peer.connections) == (100_000, number + 1)
            except PeerFailed as error:
                assert "framing" in str(error)
            finally:
                watching.cancel()
        assert min(stalls) < 0.05
        await client.close()


async def test_a_body_in_chunks_of_the_usual_size_arrives_whole():
    """A large answer written in small pieces, behind an interim one and a large head."""
    piece = b"40\r\n" + b"x" * 64 + b"\r\n"
    head = b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"X-Large: " + b"y" * 8_000 + b"\r\n"
    script = raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + piece * 30_000 + b"0\r\n\r\n")
    with raw_peer(script) as peer:
        client = Outgoing()
        for _ in range(2):
            reply = await client.exchange(
                "GET", peer.by_address, timeout_s=20, most_bytes=4_194_304
            )
            assert len(reply.body) == 64 * 30_000
        await client.close()
    assert peer.connections == 1


async def test_a_compressed_reply_is_not_unpacked():
    """A kilobyte that becomes a gigabyte stays a kilobyte, and is refused."""
    packed = gzip.compress(b"[" + b" " * 10_000_000 + b"]")
    with raw_peer(answer(packed, "Content-Encoding: gzip")) as peer:
        client = Outgoing()
        with pytest.raises(PeerFailed, match="compressed"):
            await client.exchange("GET", peer.by_address, timeout_s=5, most_bytes=10**9)
        await client.close()
    assert peer.asked[0].header("Accept-Encoding") == "identity"


async def test_a_request_is_bounded_too():
    """What is too large is not begun."""
    with raw_peer(answer(b"")) as peer:
        client = Outgoing()
        with pytest.raises(PeerFailed, match="the request exceeds") as failed:
            await client.exchange(
                "POST", peer.by_address, timeout_s=5, most_bytes=1, body=b"x" * (17 * 2**20)
            )
        await client.close()
    assert (failed.value.asked, peer.asked) == (False, [])


# -- what agents and actions say, and whose fault it is ---------------------------------------


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (TASK % '{"text":"café"}'.encode("latin-1"), "not in UTF-8"),
        (FINE.decode().encode("utf-16"), "not in UTF-8|not JSON"),
        (b'{"jsonrpc":"2.0","id":1,"result":NaN}', "not JSON"),
        (
            TASK % b'{"text":"x\\ud800y"}',
            r"artifacts\[0\].parts\[0\].text holds half of a surrogate",
        ),
        (TASK % b'{"text":"a\\u0000"}', r"parts\[0\].text holds a NUL"),
        (
            TASK % (b'{"data":{"anna":1' + b"0" * 308 + b"}}"),
            r"data.\* is a number of more than 308",
        ),
        (TASK % b'{"data":[1e400]}', r"data\[0\] is a number outside a double's range"),
        (
            TASK % (b'{"data":' + b'{"a":' * 40 + b"1" + b"}" * 41),
            r"data.\*.* is nested deeper than 32",
        ),
        (
            TASK % (b'{"data":' + b"[" * 45 + b"]" * 45 + b"}"),
            r"data\[0\].* is nested deeper than 32",
        ),
        (TASK % b'{"data":1,"metadata":{"a":{"b":1,"b":2}}}', r"metadata.\*.\* stands twice"),
        (TASK % b'{"data":1,"metadata":[]}', r"parts\[0\] is no A2A part"),
        (TASK % b'{"metadata":{}}', r"parts\[0\] is no A2A part"),
        (TASK % b'{"raw":5}', r"parts\[0\] is no A2A part"),
        (TASK % b'{"raw":"%%%"}', r"parts\[0\] is no A2A part"),
        (TASK % b'{"raw":"YWJj YWJj"}', r"parts\[0\] is no A2A part"),
        (TASK % b'{"text":"x","data":1}', r"parts\[0\] is no A2A part"),
        (TASK % (b'{"data":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), "JSON values"),
        (TASK % (b'{"data":' + b"[" * 100 + b"]" * 100 + b"}"), "nested 10[0-9] deep"),
        (TASK % (b'{"data":[' + b"1," * 6000 + b"1]}"), "60[0-9]+ JSON values, the limit is 5000"),
        (FINE[:-3], "not JSON"),
        (FINE + b"x", "not JSON"),
        (b"", "not JSON"),
        (b"<html>sorry</html>", "not JSON"),
        (b"[]", "not a JSON-RPC object"),
        (b'{"jsonrpc":"2.0","id":"m","error":false}', "JSON-RPC error"),
        (b'{"jsonrpc":"2.0","id":"m","error":null}', "neither result nor error"),
        (
            b'{"jsonrpc":"2.0","id":"m","error":{"code":-32001},"result":{}}',
            "JSON-RPC error -32001",
        ),
    ],
)
async def test_an_agents_unreadable_answer_is_the_agents_failure(body: bytes, why: str):
    """Whatever an agent writes into a body is told as its failure, and quoted nowhere."""
    with raw_peer(answer(body, "Content-Type: application/json")) as peer:
        client = A2ADownstream()
        with pytest.raises(AgentFailed, match=why) as failed:
            await ask_agent(client, peer.by_address)
        await client.close()
    assert "caf" not in failed.value.message


@pytest.mark.parametrize(
    "declared",
    ["application/json", "application/json; charset=utf-8", "Application/A2A+JSON", ""],
)
async def test_an_error_of_null_beside_a_result_is_none(declared: str):
    """Some libraries write every member; null says that there was no error."""
    body = b'{"error":null,' + FINE[1:]
    headers = [f"Content-Type: {declared}"] if declared else []
    with raw_peer(answer(body, *headers)) as peer:
        client = A2ADownstream()
        assert await ask_agent(client, peer.by_address) == ({"text": "fine"},)
        await client.close()


@pytest.mark.parametrize(
    "declared", ["text/html", "text/event-stream", "application/jsonp", "\xff\xfe", "json"]
)
async def test_an_agent_that_declares_another_format_has_failed(declared: str):
    """What is not sent as JSON is not taken for A2A, even if it reads like it."""
    with raw_peer(answer(FINE, f"Content-Type: {declared}")) as peer:
        client = A2ADownstream()
        with pytest.raises(AgentFailed, match="Content-Type"):
            await ask_agent(client, peer.by_address)
        await client.close()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"a":"café"}'.encode("latin-1"), "reply is not in utf-8"),
        (b'{"result_id":"x\\ud800y"}', "reply cannot be kept (half a surrogate pair)"),
        (b'{"result_id":1' + b"0" * 308 + b"}", "reply cannot be kept (number too long)"),
        (b'{"a":[1e400]}', "reply cannot be kept (number out of range)"),
        (b'{"a":"\\u0000"}', "reply cannot be kept (nul character)"),
        (b'{"a":1,"a":2}', "reply cannot be kept (key twice)"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "reply cannot be kept (nested too deep)"),
        (b'{"a":Infinity}', "reply is not json"),
        (b"[" * 60_000, "reply cannot be kept (nested too deep)"),
        (b'{"a":1', "reply is not json"),
        (b"[1]", "reply is not a json object"),
    ],
)
async def test_an_actions_unreadable_answer_is_told_as_such(body: bytes, reason: str):
    """And its effect may have happened: a 2xx came."""
    with raw_peer(answer(body)) as peer:
        async with actions() as do:
            called: Any = await do(peer.by_address, ONE)
    assert (called.ok, called.reason, called.effect.value) == (False, reason, "unknown")


async def test_a_sinks_unreadable_answer_is_an_empty_one():
    """The status counts; what cannot be read says nothing."""
    for body in ('{"a":"café"}'.encode("latin-1"), b"[" * 100_000, b'{"a":NaN}', b"\xff"):
        with raw_peer(answer(body)) as peer:
            async with siem() as post:
                told: Any = await post(peer.by_address, ONE)
        assert (told.status, told.json()) == (200, {})


def test_closing_ends_a_call_under_way():
    """A process that stops does not wait for a peer that never answers; the call has failed."""
    arrived, told = threading.Event(), []

    def hold(_asked: Any, _connection: Any) -> None:
        arrived.set()

    with raw_peer(hold) as peer:
        lanes = BlockingLanes()
        acts = acts_at(lanes, peer.by_address, timeout_s=60.0)
        thread = threading.Thread(
            target=lambda: told.append(acts.do(ACT, {}, "k:do", lambda _s: None, tenant=ONE))
        )
        thread.start()
        assert arrived.wait(10)
        lanes.close()
        thread.join(10)
        assert [(one.ok, one.reason, one.effect.value) for one in told] == [
            (False, "connection lost", "unknown")
        ]
        after = acts.do(ACT, {}, "k:do", lambda _s: None, tenant=ONE)
        assert (after.ok, after.reason, after.effect.value) == (False, "unreachable", "none")
        lanes.close()  # twice is harmless
