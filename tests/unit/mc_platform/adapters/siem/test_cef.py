"""CEF over syslog: framing, escaping, TLS, and what counts as taken."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
import socket
import threading
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.loopback import certificate

from mc_contract.canonical import canonical_json
from mc_platform.adapters.siem import cef as siem_cef
from mc_platform.adapters.siem.cef import CefEncoder, CefSiem
from mc_platform.deliver import Shipment, SinkRefused
from mc_platform.model.event import Kind


def shipment(index=3, kind="request.refused", reason="a=b|c\\d\nnext", principal="agent@x"):
    leaf = {
        "v": 1,
        "region": "local-1",
        "id": f"event-{index}",
        "kind": kind,
        "tenant": "TENANT_001",
        "occurred_at": "2026-01-02T03:04:05.678901+00:00",
        "detail": {"subject": "task-1", "principal": principal, "reason": reason},
    }
    return Shipment(index, dt.datetime.now(dt.UTC), leaf, canonical_json(leaf))


def read_cef(message):
    """Header fields and extension of a CEF message, by its escaping rules."""
    parts = re.split(r"(?<!\\)(?:\\\\)*\|", message, maxsplit=7)
    assert len(parts) == 8, message
    fields, extension = {}, parts[7]
    keys = list(re.finditer(r"(?:^| )([A-Za-z0-9]+)=", extension))
    for one, following in zip(keys, [*keys[1:], None], strict=True):
        raw = extension[one.end() : following.start() if following else len(extension)]
        plain = re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), raw)
        fields[one[1]] = plain
    return parts[:7], fields


def test_an_event_in_cef():
    """Header, the common extension keys, and the leaf whole."""
    sent = shipment()
    header, fields = read_cef(CefEncoder(version="1.2.3").message(sent))
    assert header == [
        "CEF:0",
        "MC Platform",
        "agent-workbench",
        "1.2.3",
        "request.refused",
        "policy refused a request",
        "6",
    ]
    assert fields["externalId"] == "event-3"
    assert (fields["cn1Label"], fields["cn1"]) == ("sequence", "3")
    assert (fields["cs1Label"], fields["cs1"]) == ("tenant", "TENANT_001")
    assert fields["rt"] == "1767323045678"
    assert fields["outcome"] == "failure"
    assert fields["reason"] == "a=b|c\\d\nnext"
    assert json.loads(fields["mcLeaf"]) == sent.leaf


@given(st.text(max_size=60), st.text(max_size=20))
def test_no_text_breaks_out_of_its_field(reason, principal):
    """Whatever a reason holds (`=`, `|`, newlines), no field is forged and no line is split."""
    sent = shipment(reason=reason or "-", principal=principal or "-")
    message = CefEncoder(version="1").message(sent)
    assert "\n" not in message
    assert "\r" not in message
    _, fields = read_cef(message)
    assert fields["reason"] == (reason or "-")
    assert fields["act"] == "request.refused"


@pytest.mark.parametrize("kind", [*(kind.value for kind in Kind), "some.kind of tomorrow"])
def test_every_kind_is_a_frame_of_its_length(kind):
    """RFC 5425: the length in octets, a space, an RFC 5424 message."""
    frame = CefEncoder(version="1").frame(shipment(kind=kind, reason="größer"))
    length, _, message = frame.partition(b" ")
    assert int(length) == len(message)
    pattern = r"<1(0[4-9]|1[01])>1 \S+ local-1 agent-workbench - [\x21-\x7e]{1,32} - CEF:0\|"
    assert re.match(pattern, message.decode())


# -- over the wire --------------------------------------------------------------------------


class Syslog:
    """A syslog receiver that keeps messages by their frames; it may close as soon as connected."""

    def __init__(self, *, closes=False):
        self.closes, self.messages, self.connections, self._writers = closes, [], 0, []

    async def serve(self, reader, writer):
        self.connections += 1
        self._writers.append(writer)
        try:
            while not self.closes:
                length = await reader.readuntil(b" ")
                self.messages.append((await reader.readexactly(int(length))).decode())
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()

    def hang_up(self):
        for writer in self._writers:
            writer.transport.abort()

    @asynccontextmanager
    async def serving(self, context=None):
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, ssl=context)
        try:
            port = server.sockets[0].getsockname()[1]
            yield f"syslog+{'tls' if context else 'tcp'}://127.0.0.1:{port}"
        finally:
            self.hang_up()
            server.close()


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def test_batches_travel_over_tls_on_one_connection(tmp_path):
    """Two batches, in order, each message whole; the receiver's certificate is verified."""
    context, ca = certificate(tmp_path)
    syslog = Syslog()
    async with syslog.serving(context) as url:
        sink = CefSiem(url=url, version="1", ca_file=str(ca))
        assert await sink.take([shipment(i) for i in range(400)]) == ()
        assert await sink.take([shipment(i) for i in range(400, 500)]) == ()
        await until(lambda: len(syslog.messages) == 500)
        await sink.close()
    assert syslog.connections == 1
    ids = [re.search(r"externalId=(\S+)", message)[1] for message in syslog.messages]
    assert ids == [f"event-{i}" for i in range(500)]


async def test_a_receiver_nobody_vouches_for_gets_nothing(tmp_path):
    """Without a CA that we trust there is no connection, and no fallback to clear text."""
    context, _ = certificate(tmp_path)
    syslog = Syslog()
    async with syslog.serving(context) as url:
        sink = CefSiem(url=url, version="1")
        with pytest.raises(SinkRefused, match="certificate refused"):
            await sink.take([shipment()])
        await sink.close()
    assert syslog.messages == []


async def test_a_clear_receiver_does_not_answer_tls():
    """`syslog+tls` to a server without TLS is refused, not downgraded."""
    syslog = Syslog()
    async with syslog.serving() as url:
        sink = CefSiem(url=url.replace("+tcp", "+tls"), version="1")
        syslog.closes = True
        with pytest.raises(SinkRefused):
            await sink.take([shipment()])
        await sink.close()


async def test_a_receiver_that_hung_up_between_batches_is_connected_anew():
    """What is sent next goes over a new connection; nothing was lost by the old one's end."""
    syslog = Syslog()
    async with syslog.serving() as url:
        sink = CefSiem(url=url, version="1")
        await sink.take([shipment(1)])
        await until(lambda: syslog.messages)
        syslog.hang_up()
        await until(lambda: siem_cef._closed_by_peer(sink._socket))
        await sink.take([shipment(2)])
        await until(lambda: len(syslog.messages) == 2)
        await sink.close()
    assert syslog.connections == 2


async def test_a_receiver_that_is_gone_is_a_refusal(dead_port):
    """Nobody listens: refused, to be sent again."""
    sink = CefSiem(url=f"syslog+tcp://127.0.0.1:{dead_port}", version="1")
    with pytest.raises(SinkRefused, match="syslog: ConnectionRefusedError"):
        await sink.take([shipment()])


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="asks Linux for its send queue")
async def test_bytes_that_the_peer_has_not_acknowledged_are_not_taken(monkeypatch):
    """A peer whose window is full keeps our bytes in our queue: that is not delivered."""
    monkeypatch.setattr(siem_cef, "_ACKNOWLEDGED_S", 0.5)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        sink = CefSiem(url=f"syslog+tcp://127.0.0.1:{port}", version="1")
        with pytest.raises(SinkRefused, match="TimeoutError"):
            await sink.take([shipment(i, reason="x" * 1000) for i in range(500)])
        await sink.close()


class SlowListener:
    """Accepts by hand, so that a TLS handshake begins and gets no answer until it is told to."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]

    async def accept(self):
        async with asyncio.timeout(60):
            connection, _ = await asyncio.get_running_loop().sock_accept(self._listener)
        connection.setblocking(False)
        return connection

    def close(self):
        self._listener.close()


async def rest_of(connection):
    """All that a connection still brings, until the other side has closed it."""
    loop, got = asyncio.get_running_loop(), b""
    async with asyncio.timeout(60):
        try:
            while piece := await loop.sock_recv(connection, 65_536):
                got += piece
        except ConnectionError:
            pass
    connection.close()
    return got


async def cancelled(task):
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_take_cancelled_amid_the_handshake_closes_what_it_opened(tmp_path):
    """Its thread is woken and hangs up at once; the next take has a connection of its own."""
    context, ca = certificate(tmp_path)
    slow = SlowListener()
    sink = CefSiem(url=f"syslog+tls://127.0.0.1:{slow.port}", version="1", ca_file=str(ca))
    first = asyncio.create_task(sink.take([shipment(1)]))
    connection = await slow.accept()
    await until(lambda: sink._socket is not None)
    await cancelled(first)
    await rest_of(connection)  # ends only when the thread has closed
    slow.close()
    await until(lambda: sink._socket is None)
    syslog = Syslog()
    async with syslog.serving(context) as url:
        sink._address = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
        await sink.take([shipment(2)])
        await until(lambda: syslog.messages)
        await sink.close()
    assert [re.search(r"externalId=(\S+)", m)[1] for m in syslog.messages] == ["event-2"]


async def test_a_take_cancelled_amid_connecting_sends_nothing(monkeypatch):
    """Its thread comes to a connection late: it closes that one, and the next take waits for it."""
    connecting, go_on, opened = threading.Event(), threading.Event(), []
    really = socket.create_connection

    def slowly(*arguments, **named):
        connection = really(*arguments, **named)
        opened.append(connection)
        if len(opened) == 1:
            connecting.set()
            assert go_on.wait(10)
        return connection

    monkeypatch.setattr(siem_cef.socket, "create_connection", slowly)
    syslog = Syslog()
    async with syslog.serving() as url:
        sink = CefSiem(url=url, version="1")
        first = asyncio.create_task(sink.take([shipment(1)]))
        await asyncio.to_thread(connecting.wait, 10)
        await cancelled(first)
        second = asyncio.create_task(sink.take([shipment(2)]))
        await asyncio.sleep(0)
        go_on.set()
        await second
        await until(lambda: syslog.messages)
        assert opened[0].fileno() == -1
        assert sink._socket is opened[1]
        await sink.close()
        assert opened[1].fileno() == -1
    assert [re.search(r"externalId=(\S+)", m)[1] for m in syslog.messages] == ["event-2"]
