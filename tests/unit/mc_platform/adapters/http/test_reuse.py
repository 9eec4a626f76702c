"""When a connection is used again, when a request is sent again, and when neither is.

Real sockets on loopback.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.loopback import certificate
from tests.raw_peer import Asked, answer, raw_peer

from mc_platform.adapters.http import BlockingLanes, Outgoing
from mc_platform.adapters.http import names as names_module
from mc_platform.adapters.http.names import Names
from mc_platform.errors import PeerFailed

FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"


def once_then(told: bytes, asked: list[Asked] | None = None):
    """The first request of a connection is answered; at the second it says this, and closes."""
    seen: set[int] = set()

    def send(request: Asked, connection: socket.socket) -> None:
        if request.connection not in seen:
            seen.add(request.connection)
            connection.sendall(FINE)
            return
        connection.sendall(told)
        connection.shutdown(socket.SHUT_RDWR)

    return send


async def exchange(client: Outgoing, url: str, method: str = "POST", **more: Any):
    how = {"timeout_s": 10, "most_bytes": 1000, "body": b"x" if method != "GET" else None, **more}
    return await client.exchange(method, url, **how)


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_may_have_been_acted_on_is_not_sent_again(method: str):
    """A connection that was kept, and ends without a byte of an answer, may have brought it."""
    with raw_peer(once_then(b"")) as peer:
        client = Outgoing()
        await exchange(client, peer.by_address, method)
        with pytest.raises(PeerFailed, match="broke") as failed:
            await exchange(client, peer.by_address, method)
        await client.close()
    assert failed.value.asked
    assert [asked.connection for asked in peer.asked] == [0, 0]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_an_idempotent_request_is_sent_again_once(method: str):
    """On a new connection, for the one that was kept was stale."""
    with raw_peer(once_then(b"")) as peer:
        client = Outgoing()
        await exchange(client, peer.by_address, method)
        assert (await exchange(client, peer.by_address, method)).body == b"fine"
        await client.close()
    assert [asked.connection for asked in peer.asked] == [0, 0, 1]
    assert peer.asked[1].body == peer.asked[2].body


@pytest.mark.parametrize("told", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_peer_that_began_to_answer_is_not_asked_again(told: bytes):
    """Its connection was not stale: it has read the request."""
    with raw_peer(once_then(told)) as peer:
        client = Outgoing()
        await exchange(client, peer.by_address, "GET")
        with pytest.raises(PeerFailed, match="broke"):
            await exchange(client, peer.by_address, "GET")
        await client.close()
    assert len(peer.asked) == 2


async def test_a_new_connection_that_breaks_is_the_peers_failure():
    """Only a connection that was kept can be stale."""

    def close(_asked: Asked, connection: socket.socket) -> None:
        connection.shutdown(socket.SHUT_RDWR)

    with raw_peer(close) as peer:
        client = Outgoing()
        with pytest.raises(PeerFailed, match="broke"):
            await exchange(client, peer.by_address, "GET")
        await client.close()
    assert len(peer.asked) == 1


@pytest.mark.parametrize("lingers", [True, False], ids=["closed", "reset"])
async def test_a_peer_that_closes_at_once_is_not_waited_for(lingers: bool):
    """Whenever the close is read: before the request is written, or after."""
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)

    async def close_each() -> None:
        while True:
            connection, _ = await loop.sock_accept(listener)
            if not lingers:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

    closing = asyncio.create_task(close_each())
    client = Outgoing()
    for _ in range(50):
        with pytest.raises(PeerFailed) as failed:
            await exchange(client, f"http://127.0.0.1:{listener.getsockname()[1]}/")
        assert not failed.value.late
    closing.cancel()
    await client.close()
    listener.close()


async def test_a_connection_that_is_gone_before_it_is_used_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
):
    """No request is written to it, and nobody is told that one may have been."""
    loop = asyncio.get_running_loop()
    connect = loop.create_connection

    async def gone(*args: Any, **how: Any) -> Any:
        transport, connection = await connect(*args, **how)
        transport.abort()
        await asyncio.sleep(0)
        return transport, connection

    monkeypatch.setattr(loop, "create_connection", gone)
    with raw_peer(answer(b"fine")) as peer:
        client = Outgoing()
        with pytest.raises(PeerFailed, match="not reachable") as failed:
            await exchange(client, peer.by_address)
        await client.close()
    assert (failed.value.asked, failed.value.late, peer.asked) == (False, False, [])


async def test_a_connection_that_its_peer_closed_is_not_used():
    """The close is read before the next request is written: a POST does not meet it."""
    closed = threading.Event()

    def send(_asked: Asked, connection: socket.socket) -> None:
        connection.sendall(FINE)
        connection.shutdown(socket.SHUT_RDWR)
        closed.set()

    with raw_peer(send) as peer:
        client = Outgoing()
        for _ in range(3):
            await exchange(client, peer.by_address)
            await asyncio.to_thread(closed.wait, 10)
            closed.clear()
            while any(connection.usable for connection in client._open):
                await asyncio.sleep(0)
        await client.close()
    assert [asked.connection for asked in peer.asked] == [0, 1, 2]


async def test_a_cancelled_call_ends_its_connection_and_no_other():
    """The peer may stop working for it; who asks next has a new connection."""
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()
    gone = threading.Event()

    def hold(asked: Asked, connection: socket.socket) -> None:
        if asked.connection:
            connection.sendall(FINE)
            return
        loop.call_soon_threadsafe(arrived.set)
        assert connection.recv(1) == b""
        gone.set()

    with raw_peer(hold) as peer:
        client = Outgoing()
        call = asyncio.create_task(exchange(client, peer.by_address))
        await arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert (await exchange(client, peer.by_address)).body == b"fine"
        assert await asyncio.to_thread(gone.wait, 10)
        await client.close()


async def test_as_many_connections_as_calls_at_once_and_no_more():
    """Each is used again; those that nobody needs any more are closed when they are old."""
    with raw_peer(answer(b"fine")) as peer:
        client = Outgoing()
        for _ in range(5):
            await asyncio.gather(*(exchange(client, peer.by_address) for _ in range(4)))
        assert peer.connections == 4
        for kept in client._idle.values():
            for connection in kept:
                connection.idle_since_s -= 31
        client._swept()
        assert client._idle == {}
        await exchange(client, peer.by_address)
        await client.close()
    assert peer.connections == 5


async def test_who_closes_ends_calls_under_way_and_later_ones():
    """They fail as a peer's failure does, and nothing is asked after it."""
    arrived = asyncio.Event()
    loop = asyncio.get_running_loop()
    with raw_peer(lambda *_: loop.call_soon_threadsafe(arrived.set)) as peer:
        client = Outgoing()
        call = asyncio.create_task(exchange(client, peer.by_address))
        await arrived.wait()
        await client.close()
        with pytest.raises(PeerFailed, match="broke"):
            await call
        with pytest.raises(PeerFailed, match="not reachable"):
            await exchange(client, peer.by_address)
    assert len(peer.asked) == 1


# -- what is sent -------------------------------------------------------------------------------


async def test_a_request_is_sent_as_it_was_meant():
    """Its target quoted, its host with a port, and each header once."""
    with raw_peer(answer(b"fine")) as peer:
        client = Outgoing(headers={"X-Of-All": "1", "Accept": "a/b"})
        url = peer.by_address + "/a%2Fb/ä c?x=1"
        await client.exchange(
            "POST",
            url,
            timeout_s=10,
            most_bytes=1000,
            body=b"12345",
            headers={"x-of-all": "2"},
            params={"tenant": "a&b"},
        )
        await client.close()
    sent = peer.asked[0]
    assert sent.body == b"12345"
    assert list(sent.head) == [
        "POST /a%2Fb/%C3%A4%20c?x=1&tenant=a%26b HTTP/1.1",
        f"Host: 127.0.0.1:{peer.port}",
        "Accept: a/b",
        "Accept-Encoding: identity",
        "User-Agent: agent-workbench",
        "x-of-all: 2",
        "Content-Length: 5",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [("X", "a\r\nY: b"), ("X", "a\nb"), ("X", "a\0"), ("X: a\r\nY", "b"), ("", "")],
)
async def test_a_header_is_one_line(name: str, value: str):
    """What would be two is not sent."""
    with raw_peer(answer(b"fine")) as peer:
        client = Outgoing()
        with pytest.raises(PeerFailed, match="not reachable") as failed:
            await exchange(client, peer.by_address, headers={name: value})
        await client.close()
    assert (failed.value.asked, peer.asked) == (False, [])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/path",
        "ftp://h/",
        "http://",
        "http://[::1",
        "http://h:0/",
        "http://u:geheim@127.0.0.1:9/",
    ],
)
async def test_a_url_that_leads_nowhere_is_not_asked(url: str):
    """It is told as what cannot be reached."""
    client = Outgoing()
    with pytest.raises(PeerFailed, match="not reachable: ValueError") as failed:
        await exchange(client, url)
    assert not failed.value.asked
    assert "geheim" not in str(failed.value)
    await client.close()


# -- names --------------------------------------------------------------------------------------


async def test_a_name_is_looked_up_once_for_all_who_wait(monkeypatch: pytest.MonkeyPatch):
    """A slow look-up takes one thread; and who gives up takes it from nobody."""
    go, looked_up = threading.Event(), []

    def slow(host: str, port: int, **_how: Any):
        looked_up.append(host)
        go.wait(10)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"10.0.0.{n}", port)) for n in (1, 2)]

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    names = Names()
    waiting = [asyncio.create_task(names.addresses("agent", 80)) for _ in range(5)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    go.set()
    found = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert looked_up == ["agent"]
    first = [addresses[0][4][0] for addresses in found[1:]]  # type: ignore[index]
    assert sorted(set(first)) == ["10.0.0.1", "10.0.0.2"]


async def test_a_name_without_an_address_is_not_reachable(monkeypatch: pytest.MonkeyPatch):
    """And is looked up anew the next time."""
    looked_up = []

    def none(host: str, *_at: Any, **_how: Any):
        looked_up.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "no")

    monkeypatch.setattr(socket, "getaddrinfo", none)
    client = Outgoing()
    for _ in range(2):
        with pytest.raises(PeerFailed, match="not reachable: gaierror") as failed:
            await exchange(client, "http://agent.invalid/")
        assert not failed.value.asked
    await client.close()
    assert len(looked_up) == 2


async def test_an_address_waits_for_no_look_up(monkeypatch: pytest.MonkeyPatch):
    """However many names take every thread, as their servers do not answer."""
    go = threading.Event()
    with ThreadPoolExecutor(1) as threads, raw_peer(answer(b"fine")) as peer:
        monkeypatch.setattr(names_module, "look_ups", lambda: threads)
        threads.submit(go.wait, 10)
        client = Outgoing()
        try:
            assert (await exchange(client, peer.by_address, timeout_s=5)).body == b"fine"
        finally:
            go.set()
            await client.close()


# -- what is left of an exchange ------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [b"junk\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n", b"HTTP/1.1 2", b"late"],
)
@pytest.mark.parametrize("blocking", [False, True])
async def test_nothing_of_an_exchange_that_failed_waits_for_the_garbage_collector(
    told: bytes, blocking: bool
):
    """Its request may have megabytes, and peers that fail do so often."""
    gone = []

    class Body(bytes):
        def __del__(self) -> None:
            gone.append(len(self))

    def send(_asked: Asked, connection: socket.socket) -> None:
        if told != b"late":
            connection.sendall(told)
            connection.shutdown(socket.SHUT_RDWR)

    async def fail(url: str) -> None:
        how = {"timeout_s": 0.2 if told == b"late" else 10, "most_bytes": 1000, "body": Body(b"x")}
        if blocking:
            with pytest.raises(PeerFailed):
                await asyncio.to_thread(lanes.exchange, "t", "POST", url, headers={}, **how)
        else:
            with pytest.raises(PeerFailed):
                await client.exchange("POST", url, **how)

    client, lanes = Outgoing(), BlockingLanes()
    with raw_peer(send) as peer:
        gc.disable()
        try:
            for _ in range(5):
                await fail(peer.by_address)
            while client._open:
                await asyncio.sleep(0)
        finally:
            gc.enable()
        assert len(gone) >= 4  # a thread, or the loop, may hold its last one until the next
        await client.close()
        await asyncio.to_thread(lanes.close)


# -- TLS ----------------------------------------------------------------------------------------


@asynccontextmanager
async def https(context: ssl.SSLContext) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A peer that answers each request, and the heads of those that came."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(FINE)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/", heads


async def test_a_certificate_that_no_ca_of_the_system_signed_is_refused(tmp_path: Path):
    """Nothing is sent to whoever shows it."""
    context, _ = certificate(tmp_path)
    async with https(context) as (url, heads):
        client = Outgoing()
        with pytest.raises(PeerFailed, match="not reachable: SSLCertVerificationError") as failed:
            await exchange(client, url, "GET")
        await client.close()
    assert (failed.value.asked, heads) == (False, [])


async def test_a_trusted_peers_connection_serves_again(tmp_path: Path):
    """By the CA that was named for it."""
    context, ca = certificate(tmp_path)
    async with https(context) as (url, heads):
        client = Outgoing(tls=ssl.create_default_context(cafile=str(ca)))
        for _ in range(3):
            assert (await exchange(client, url, "GET")).body == b"fine"
        assert len(client._open) == 1
        await client.close()
    assert len(heads) == 3


async def test_a_peer_that_takes_no_leave_keeps_no_connection(tmp_path: Path):
    """It says that the connection ends and neither ends it nor reads that we do: TLS would wait."""
    context, ca = certificate(tmp_path)
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined] # a socket's
        writer.write(FINE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await done.wait()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        client = Outgoing(tls=ssl.create_default_context(cafile=str(ca)))
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        for _ in range(3):
            assert (await exchange(client, url, "GET")).body == b"fine"
        for _ in range(10):
            await asyncio.sleep(0)
        assert not client._open
        done.set()
        await client.close()
