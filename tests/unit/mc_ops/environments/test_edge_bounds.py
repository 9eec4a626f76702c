"""What slow and greedy clients may take of the edge: real sockets, short limits."""

from __future__ import annotations

import asyncio
import json
import logging
import resource
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import aiohttp
import pytest
from aiohttp import web

from mc_ops.environments import Colour
from mc_ops.environments.local.edge import Edge, make_server
from mc_ops.environments.local.edge_bounds import Bounds, allow_handles, read_bounds
from mc_ops.environments.local.edge_control import Route
from mc_ops.environments.local.layout import Layout
from mc_ops.errors import UnusableInput

WITHIN_S = 20.0  # far above each limit: how long a test waits before it calls a client held
HEAD = b"GET /x HTTP/1.1\r\nHost: x\r\n"


@asynccontextmanager
async def edge(layout: Layout, **limits: float) -> AsyncIterator[int]:
    """An edge in this process over a replica that answers with as many bytes as its path says."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/ticks":
            ticks = web.StreamResponse()
            await ticks.prepare(request)
            for _ in range(15):
                await ticks.write(b"data: x\n\n")
                await asyncio.sleep(0.2)
            return ticks
        if request.headers.get("Expect") and request.transport:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await request.read()
        size = int(request.path.strip("/x") or 0)
        return web.Response(body=b"x" * size)

    replica = web.ServerRunner(web.Server(answer))
    await replica.setup()
    await web.TCPSite(replica, "127.0.0.1", layout.port_of("blue-1")).start()
    short = {"head_timeout_s": 1.0, "body_timeout_s": 1.0, "write_timeout_s": 1.0}
    bounds = Bounds(**{**short, **limits})  # type: ignore[arg-type]
    one = Edge(
        Route(Colour.blue, {Colour.blue: (layout.url_of("blue-1"),)}),
        layout.home / "edge.json",
        bounds=bounds,
    )
    await one.open()
    runner = web.ServerRunner(make_server(one), shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", layout.edge_port).start()
    try:
        yield layout.edge_port
    finally:
        await runner.cleanup()
        await one.close()
        await replica.cleanup()


async def connect(port: int) -> socket.socket:
    """A connection whose answer can be read also when it was reset while more was being sent."""
    one = socket.socket()
    one.setblocking(False)
    await asyncio.get_running_loop().sock_connect(one, ("127.0.0.1", port))
    return one


async def to_end(one: socket.socket) -> bytes:
    """What comes until the connection ends."""
    answer = b""
    async with asyncio.timeout(WITHIN_S):
        with suppress(ConnectionError):
            while got := await asyncio.get_running_loop().sock_recv(one, 65_536):
                answer += got
    return answer


def refusal(answer: bytes) -> tuple[int, str, bytes]:
    """Status, code and head of the last answer, in JSON."""
    head, _, body = answer[answer.rindex(b"HTTP/1.") :].partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(body)["error"]["code"], head.lower()


async def drip(port: int, begin: bytes, piece: bytes) -> bytes:
    """Send a piece every tenth of a second until the edge has had enough."""
    with await connect(port) as one:

        async def send() -> None:
            with suppress(ConnectionError):
                await asyncio.get_running_loop().sock_sendall(one, begin)
                while piece:
                    await asyncio.sleep(0.1)
                    await asyncio.get_running_loop().sock_sendall(one, piece)

        dripping = asyncio.create_task(send())
        try:
            return await to_end(one)
        finally:
            dripping.cancel()
            await asyncio.wait([dripping])


async def honest(port: int) -> int:
    """What an honest client gets meanwhile."""
    async with (
        aiohttp.ClientSession() as session,
        asyncio.timeout(WITHIN_S),
        session.get(f"http://127.0.0.1:{port}/10") as answer,
    ):
        assert len(await answer.read()) == 10
        return answer.status


@pytest.mark.parametrize(
    ("begin", "piece", "told"),
    [
        (b"", b"", None),
        (b"GET /x HT", b"", 408),
        (b"GET /", b"a", 408),
        (b"\r\n", b"\r\n", 408),
        (HEAD + b"X-", b"a", 408),
        (HEAD, b"A: b\r\n", 408),
        (HEAD + b"\r\n", b"", None),
        (HEAD + b"\r\n" + HEAD, b"A: b\r\n", 408),
    ],
    ids=repr,
)
async def test_a_head_has_one_deadline_however_it_drips(
    layout: Layout, begin: bytes, piece: bytes, told: int | None
) -> None:
    """Nothing, half a line, dripped lines and names: 408, or closed where nothing was asked."""
    async with edge(layout) as port:
        held = asyncio.create_task(drip(port, begin, piece))
        assert await honest(port) == 200
        answer = await held
    if told:
        assert refusal(answer)[:2] == (told, "request-timeout")
    else:
        assert b"error" not in answer


@pytest.mark.parametrize("announced", [20, 900_000, None])
async def test_a_body_has_one_deadline_however_it_drips(
    layout: Layout, announced: int | None
) -> None:
    """A byte every tenth of a second never ends the silence, and yet it ends."""
    length = f"Content-Length: {announced}" if announced else "Transfer-Encoding: chunked"
    begin = b"POST /a2a HTTP/1.1\r\nHost: x\r\n" + length.encode() + b"\r\n\r\n"
    if announced == 900_000:
        begin += b"x" * 70_000  # so much that the replica is asked already
    async with edge(layout) as port:
        held = asyncio.create_task(drip(port, begin, b"x" if announced else b"1\r\nx\r\n"))
        assert await honest(port) == 200
        answer = await held
    assert refusal(answer)[:2] == (408, "request-timeout")


@pytest.mark.parametrize("size", [200_000, 50_000_000])
@pytest.mark.parametrize("reads", [0, 1])
async def test_an_answer_that_nobody_reads_is_given_up(
    layout: Layout, size: int, reads: int
) -> None:
    """Short answers and long ones, asked for again and again by one who takes next to nothing."""
    async with edge(layout) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        ask = f"GET /{size} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        async with asyncio.timeout(60):
            while not writer.transport.is_closing():
                writer.write(ask)  # a reset is seen by writing
                await asyncio.sleep(0.1)
                if reads:
                    writer.get_extra_info("socket")
                    await asyncio.wait([asyncio.ensure_future(_read_one(reader))], timeout=0.05)
        assert await honest(port) == 200


async def _read_one(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        await reader.read(1)


async def test_long_streams_go_on(layout: Layout) -> None:
    """Each limit is a second, and events come for three; a long answer is read whole."""
    async with edge(layout) as port, aiohttp.ClientSession() as session, asyncio.timeout(60):
        async with session.get(f"http://127.0.0.1:{port}/ticks") as ticks:
            assert (await ticks.read()).count(b"data: ") == 15
        async with session.get(f"http://127.0.0.1:{port}/50000000") as long:
            assert len(await long.read()) == 50_000_000


@pytest.mark.parametrize(
    "begun", [b"", HEAD, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n"]
)
async def test_an_address_has_so_many_connections_and_who_asks_is_served(
    layout: Layout, begun: bytes
) -> None:
    """Of those that keep the edge waiting the oldest end, with 429; one that is answered stays."""
    limits = {"head_timeout_s": 60.0, "body_timeout_s": 60.0, "connections_per_peer": 20}
    async with edge(layout, **limits) as port, AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        ticks = await stack.enter_async_context(session.get(f"http://127.0.0.1:{port}/ticks"))
        clients = []
        for _ in range(60):
            client = stack.enter_context(await connect(port))
            await asyncio.get_running_loop().sock_sendall(client, begun)
            clients.append(client)
        status, code, head = refusal(await to_end(clients[0]))
        assert (status, code) == (429, "rate-limited")
        assert b"retry-after: 1" in head
        for client in clients[1:40]:
            assert refusal(await to_end(client))[0] == 429
        assert await honest(port) == 200
        assert (await ticks.read()).count(b"data: ") == 15


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (HEAD + b"X: " + b"sesame" * 3000 + b"\r\n\r\n", 431, "head-too-large"),
        (HEAD + b"X: sesame\r\n" * 500 + b"\r\n", 431, "head-too-large"),
        (b"GET /" + b"sesame" * 3000 + b" HTTP/1.1\r\n\r\n", 431, "head-too-large"),
        (HEAD + b"sesame\r\n\r\n", 400, "bad-request"),
        (b"\x16\x03\x01sesame\r\n\r\n", 400, "bad-request"),
        (HEAD + b"Content-Length: sesame\r\n\r\n", 400, "bad-request"),
        (HEAD + b"X: " + b"s" * 5000 + b"\r\nY: " + b"sesame" * 1000, 408, "request-timeout"),
    ],
)
async def test_refusals_are_json_and_quote_nothing(
    layout: Layout,
    caplog: pytest.LogCaptureFixture,
    sent: bytes,
    status: int,
    code: str,
) -> None:
    """Neither the answer nor the log has a word of the request."""
    caplog.set_level(logging.WARNING)
    async with edge(layout) as port:
        answer = await drip(port, sent, b"")
    assert refusal(answer)[:2] == (status, code)
    assert b"content-type: application/json" in refusal(answer)[2]
    assert b"sesame" not in answer
    assert "sesame" not in caplog.text


def test_limits_come_from_the_environment() -> None:
    """Those of the replica, by the same names; every value that is none is told by its name."""
    env = {"MC_HEAD_TIMEOUT_S": "3", "MC_CONNECTIONS_PER_PEER": "7"}
    found = read_bounds(env)
    assert (found.head_timeout_s, found.connections_per_peer) == (3.0, 7)
    assert found.body_timeout_s == Bounds().body_timeout_s
    assert found.replica_keepalive_s <= 1.0  # before the replica closes it
    wrong = {"MC_HEAD_TIMEOUT_S": "nan", "MC_BODY_TIMEOUT_S": "-1", "MC_CONNECTIONS": "1.5"}
    with pytest.raises(UnusableInput) as error:
        read_bounds(wrong)
    assert all(name in error.value.message for name in wrong)


def test_allow_handles_on_a_system_that_refuses_more(monkeypatch):
    """An edge that may not have more handles serves with those that it has."""

    def refuse(_kind: int, _limits: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (256, 1024))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    allow_handles()
