"""What is made of the bytes that a peer sends: as aiohttp reads them, or nothing.

aiohttp was the client here before, and answers as the second opinion. No sockets: the test is the
event loop, and hands over the bytes.
"""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from aiohttp.client_proto import ResponseHandler
from hypothesis import given
from hypothesis import strategies as st

from mc_platform.adapters.http.connection import Connection, Origin

OK = b"HTTP/1.1 200 OK\r\n"
MOST_BYTES = 1_000
REFUSED, WAITING = "refused", "waiting"


@dataclass
class Wire:
    """A transport that goes nowhere."""

    sent: list[bytes] = field(default_factory=list)
    closing: bool = False
    unsent: int = 0

    def writelines(self, pieces: list[bytes]) -> None:
        self.sent += pieces

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def close(self) -> None:
        self.closing = True

    abort = close

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_extra_info(self, _name: str) -> None: ...


@dataclass
class Peer:
    """A connection, and what its owner is told of it."""

    loop: asyncio.AbstractEventLoop
    wire: Wire = field(default_factory=Wire)
    freed: int = 0
    gone: bool = False

    def __post_init__(self) -> None:
        self.connection = Connection(self, Origin(False, "peer", 80), self.loop)
        self.connection.connection_made(self.wire)  # type: ignore[arg-type]

    def opened(self, _connection: Connection) -> None: ...

    def free(self, _connection: Connection) -> None:
        self.freed += 1

    def lost(self, _connection: Connection) -> None:
        self.gone = True

    def ask(self, *, whole: bool = True) -> asyncio.Future[Any]:
        return self.connection.ask(
            [b"GET / HTTP/1.1\r\n", b"\r\n"],
            deadline_s=self.loop.time() + 60,
            most_bytes=MOST_BYTES,
            whole=whole,
        )

    def send(self, *pieces: bytes, close: bool = False) -> None:
        """What a loop does: nothing more is read of a connection that is closing."""
        for piece in pieces:
            if piece and not self.wire.closing:
                self.connection.data_received(piece)
        if close:
            self.connection.connection_lost(None)


def ours(loop: asyncio.AbstractEventLoop, pieces: list[bytes], *, close: bool = False) -> Any:
    """Status and body; or that it is refused, or still awaited. And whether it would serve again."""
    peer = Peer(loop)
    answer = peer.ask()
    peer.send(*pieces, close=close)
    again = peer.freed == 1 and not peer.wire.closing and not peer.gone
    if not answer.done():
        peer.connection.end()
        answer.exception()
        return WAITING, False
    if answer.exception():
        return REFUSED, again
    return (answer.result().status, answer.result().body), again


def aiohttps(loop: asyncio.AbstractEventLoop, raw: bytes, *, close: bool = False) -> Any:
    """What aiohttp says, set up as it was."""
    handler = ResponseHandler(loop)
    handler.connection_made(Wire())  # type: ignore[arg-type]
    handler.set_response_params(
        read_until_eof=True,
        auto_decompress=False,
        max_line_size=8_190,
        max_field_size=8_190,
        max_headers=64,
    )
    for at in range(len(raw)):  # what follows an answer must not count against it
        handler.data_received(raw[at : at + 1])
        for message, payload in [one for one, _ in handler._buffer]:
            if message.code >= 200 and payload.is_eof() and not payload.exception():
                return message.code, payload.read_nowait()
    read = [message for message, _ in handler._buffer]
    if close:
        handler.connection_lost(None)
    for message, payload in read:
        if message.code >= 200:
            if payload.exception():
                return REFUSED
            return (message.code, payload.read_nowait()) if payload.is_eof() else WAITING
    if handler.exception():
        return REFUSED
    return WAITING


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


# -- answers as servers write them --------------------------------------------------------------


@dataclass(frozen=True)
class Written:
    """An answer, what it means, and whether it ends with the connection."""

    raw: bytes
    status: int
    body: bytes
    close: bool


@st.composite
def answers(draw: st.DrawFn) -> Written:
    interim = b"".join(
        draw(
            st.lists(
                st.sampled_from(
                    [
                        b"HTTP/1.1 100 Continue\r\n\r\n",
                        b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
                    ]
                ),
                max_size=2,
            )
        )
    )
    status = draw(st.sampled_from([200, 201, 204, 304, 307, 404, 500, 599]))
    version = draw(st.sampled_from([b"1.1", b"1.0"]))
    body = draw(st.binary(max_size=60))
    head = b"HTTP/%s %d %s\r\n" % (version, status, draw(st.sampled_from([b"OK", b"", b"a b"])))
    for name, value in draw(
        st.lists(
            st.sampled_from(
                [
                    (b"Server", b"x y"),
                    (b"Content-Type", b"application/json"),
                    (b"X-Empty", b""),
                    (b"Connection", b"close"),
                    (b"Connection", b"keep-alive"),
                    (b"x-t", b"\t\xc3\xa9 \t"),
                ]
            ),
            max_size=4,
        )
    ):
        head += name + b":" + draw(st.sampled_from([b"", b" ", b"\t"])) + value + b"\r\n"
    if status in (204, 304):
        return Written(interim + head + b"\r\n", status, b"", False)
    how = draw(st.sampled_from(["length", "chunks", "close"] if version == b"1.1" else ["length"]))
    if how == "length":
        told = draw(st.sampled_from([b"Content-Length", b"content-length"]))
        raw = head + told + b": %d\r\n\r\n" % len(body) + body
    elif how == "close":
        raw = head + b"\r\n" + body
    else:
        raw = head + b"Transfer-Encoding: chunked\r\n\r\n" + _chunked(draw, body)
    return Written(interim + raw, status, body, how == "close")


def _chunked(draw: st.DrawFn, body: bytes) -> bytes:
    raw, rest = b"", body
    while rest:
        size = draw(st.integers(1, len(rest)))
        form = draw(st.sampled_from([b"%x", b"%X", b"0%x", b"%x;a=b", b"%x "]))
        raw += form % size + b"\r\n" + rest[:size] + b"\r\n"
        rest = rest[size:]
    trailer = draw(st.sampled_from([b"", b"X-Sum: 1\r\n", b"Content-Type: a\r\nA: b\r\n"]))
    return raw + b"0\r\n" + trailer + b"\r\n"


@given(answers())
def test_an_answer_is_read_wherever_it_is_cut(loop, written: Written):
    """As it was meant, and as aiohttp reads it; whole, at each byte, and at several places."""
    meant = (written.status, written.body)
    assert aiohttps(loop, written.raw, close=written.close) == meant
    told, again = ours(loop, [written.raw], close=written.close)
    assert told == meant
    for at in range(1, len(written.raw)):
        cut = [written.raw[:at], written.raw[at:]]
        assert ours(loop, cut, close=written.close) == (meant, again)
    each = [written.raw[at : at + 1] for at in range(len(written.raw))]
    assert ours(loop, each, close=written.close) == (meant, again)


@given(answers(), st.integers(0, 400))
def test_an_answer_that_ends_early_is_none(loop, written: Written, at: int):
    """Unless it is one that ends with the connection, and its head has come."""
    early = written.raw[: min(at, len(written.raw) - 1)]
    told, again = ours(loop, [early], close=True)
    assert not again
    if not written.close:
        assert told == REFUSED
    elif told != REFUSED:
        assert told == aiohttps(loop, early, close=True)


HOSTILE = [
    b"\r\n",
    b"\n",
    b"\0",
    b" ",
    b":",
    b"Content-Length: 3\r\n",
    b"Content-Length: 0\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip, chunked\r\n",
    b"Transfer-Encoding: identity\r\n",
    b"Upgrade: x\r\nConnection: upgrade\r\n",
    b" folded\r\n",
    b"0\r\n\r\n",
    b"ffffffffffffffffff\r\n",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    b"\xff",
]


@st.composite
def mangled(draw: st.DrawFn) -> bytes:
    raw = draw(answers()).raw
    for _ in range(draw(st.integers(1, 3))):
        at, end = sorted(draw(st.tuples(*[st.integers(0, len(raw))] * 2)))
        put_in = draw(st.sampled_from(HOSTILE) | st.binary(max_size=3))
        raw = raw[:at] + put_in + raw[draw(st.sampled_from([at, end, at + 1])) :]
    return raw


@given(mangled(), st.booleans(), st.lists(st.integers(0, 300), max_size=4))
def test_no_bytes_are_read_as_another_answer_than_aiohttps(
    loop, raw: bytes, close: bool, cuts: list[int]
):
    """What is taken at all is what aiohttp takes, and says the same however it is cut."""
    told, again = ours(loop, [raw], close=close)
    if told not in (REFUSED, WAITING):
        assert told == aiohttps(loop, raw, close=close)
    places = [0, *sorted(cuts), len(raw)]
    pieces = [raw[a:b] for a, b in pairwise(places)]
    assert ours(loop, pieces, close=close) == (told, again)


# -- what a connection is used for afterwards ---------------------------------------------------


@given(answers(), st.sampled_from([b"H", b"\0", b"junk", OK + b"\r\n", b"HTTP/1.1 100 Go\r\n\r\n"]))
def test_bytes_that_nobody_asked_for_are_no_answer_to_the_next(loop, written: Written, junk: bytes):
    """Behind a whole answer they spare it, and end the connection; with it, or later."""
    if written.close:
        return
    meant = (written.status, written.body)
    assert ours(loop, [written.raw + junk]) == (meant, False)
    assert ours(loop, [written.raw, junk]) == (meant, False)


@given(answers(), answers())
def test_nothing_of_one_answer_is_in_the_next(loop, one: Written, two: Written):
    """Neither headers nor trailers, nor a byte of its body."""
    peer = Peer(loop)
    first = peer.ask()
    peer.send(one.raw, close=one.close)
    assert first.result().body == one.body
    if not peer.freed:
        return
    second = peer.ask()
    peer.send(two.raw, close=two.close)
    alone = Peer(loop)
    same = alone.ask()
    alone.send(two.raw, close=two.close)
    assert second.result() == same.result()


@pytest.mark.parametrize(
    ("head", "again"),
    [
        (OK, True),
        (OK + b"Connection: close\r\n", False),
        (b"HTTP/1.0 200 OK\r\n", False),
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_a_connection_serves_again_if_its_peer_says_so(loop, head: bytes, again: bool):
    """By the version's rule, or the header."""
    assert ours(loop, [head + b"Content-Length: 2\r\n\r\nhi"]) == ((200, b"hi"), again)


def test_a_connection_does_not_serve_again_before_its_request_is_sent(loop):
    """What is left of a request would be read as the beginning of the next one."""
    peer = Peer(loop)
    peer.wire.unsent = 1
    answer = peer.ask()
    peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n")
    assert answer.result().status == 413
    assert (peer.freed, peer.wire.closing) == (0, True)


@pytest.mark.parametrize(
    ("status", "size", "again"),
    [(200, 100_000, True), (413, 100_000, False), (307, 100_000, False), (413, 1_000, True)],
)
def test_a_large_request_that_was_refused_is_the_connections_last(
    loop, status: int, size: int, again: bool
):
    """It may stand unread in buffers that nobody can ask, of TLS and of the system."""
    peer = Peer(loop)
    answer = peer.connection.ask(
        [b"POST / HTTP/1.1\r\n\r\n", bytes(size)],
        deadline_s=loop.time() + 60,
        most_bytes=MOST_BYTES,
        whole=True,
    )
    peer.send(b"HTTP/1.1 %d Told\r\nContent-Length: 0\r\n\r\n" % status)
    assert answer.result().status == status
    assert (peer.freed == 1, peer.wire.closing) == (again, not again)


def test_a_body_that_drips_takes_no_more_memory_than_one_that_flows(loop):
    """Each two bytes were a value of their own, of forty: a large answer twenty times itself."""
    body = bytes(range(256)) * 400
    peer = Peer(loop)
    answer = peer.connection.ask(
        [b"GET / HTTP/1.1\r\n\r\n"], deadline_s=loop.time() + 60, most_bytes=len(body), whole=True
    )
    peer.send(OK + b"Content-Length: %d\r\n\r\n" % len(body))
    tracemalloc.start()
    try:
        for at in range(0, len(body) - 2, 2):
            peer.send(body[at : at + 2])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 3 * len(body)
    peer.send(body[-2:])
    assert answer.result().body == body


def test_bytes_on_an_idle_connection_end_it(loop):
    """They were to be taken for the next request's answer."""
    peer = Peer(loop)
    peer.send(OK + b"Content-Length: 0\r\n\r\n")
    assert peer.wire.closing


def test_who_gives_up_ends_only_what_is_still_theirs(loop):
    """An answer that came is the owner's connection again, which may serve somebody else."""
    peer = Peer(loop)
    first = peer.ask()
    peer.send(OK + b"Content-Length: 0\r\n\r\n")
    second = peer.ask()
    peer.connection.give_up(first)
    assert not peer.wire.closing
    second.cancel()
    peer.connection.give_up(second)
    assert peer.wire.closing


def test_a_header_that_stands_twice_counts_once_if_it_says_the_same(loop):
    """Otherwise both are read, and what is no single value is not taken for one."""
    peer = Peer(loop)
    answer = peer.ask()
    peer.send(OK + b"A: 1\r\na: 1\r\nB: 1\r\nb: 2\r\nContent-Length: 0\r\n\r\n")
    assert answer.result().headers == {"a": "1", "b": "1, 2", "content-length": "0"}
