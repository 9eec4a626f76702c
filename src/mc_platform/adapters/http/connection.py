"""One connection of HTTP/1.1, on which one exchange happens at a time.

llhttp reads the answer (`httptools`). What it does not bound is bounded here: lines and their
number, the body, and all that surrounds the body (interim answers before it, answers nobody asked for
behind it, chunk sizes within it), each of which costs CPU and tells nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple, Protocol, cast

from httptools import HttpParserError, HttpResponseParser

from mc_platform.model.reply import Reply

_MAX_LINE_BYTES, _MAX_HEADERS = 8_190, 64
_PIECE_BYTES = _MAX_LINE_BYTES
_MAX_FRAMING_BYTES = 65_536
_CONTENT_FOR_ONE = (
    4  # bytes of content that allow one more of framing: chunks of 24 bytes are taken
)
_INTERIM, _SWITCHING, _FINAL, _NOT_DONE = 100, 101, 200, 300
_LARGE_BYTES = 65_536  # of a request
_MOST_PIECES = 256  # of a body, each a value of its own: of two bytes it takes twenty times as many
_MOST_DIGITS = 18  # of a length
_PLAIN = ("", "identity")


class NotTaken(Exception):
    """An answer came that is not taken; its text says why, and quotes nothing of it."""


class NotHttp(Exception):
    """What came is no answer in HTTP/1.1, or its lines are too long or too many."""


class Closed(ConnectionError):
    """The connection ended before the answer did."""


class Origin(NamedTuple):
    """Where a connection leads."""

    tls: bool
    host: str
    port: int


class Owner(Protocol):
    """Whose connection it is."""

    def opened(self, connection: Connection) -> None:
        """It is connected."""

    def free(self, connection: Connection) -> None:
        """Its answer has come whole, and it can serve again."""

    def lost(self, connection: Connection) -> None:
        """It is no more."""


class Sink(Protocol):
    """Takes an answer as it comes, where it is not kept until it is whole."""

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """Its head has come; the status is not an interim one."""

    def piece(self, piece: bytes) -> None:
        """So much more of its body has come."""


class Connection(asyncio.Protocol):
    """A connection to one origin.

    Attributes:
        origin: The origin.
        idle_since_s: When it was last free, by the loop's clock.
        heard: Whether anything came since the last request.
    """

    __slots__ = (
        "_complete",
        "_content",
        "_deadline",
        "_gathered",
        "_head_done",
        "_headers",
        "_is_large",
        "_keep",
        "_line_began",
        "_lines",
        "_loop",
        "_most_bytes",
        "_not_taken",
        "_owner",
        "_parser",
        "_pieces",
        "_received",
        "_sink",
        "_status",
        "_transport",
        "_waiter",
        "_whole",
        "idle_since_s",
        "origin",
    )

    def __init__(self, owner: Owner, origin: Origin, loop: asyncio.AbstractEventLoop) -> None:
        self._owner = owner
        self._loop = loop
        self.origin = origin
        self.idle_since_s = 0.0
        self._not_taken: Exception | None = None
        self._waiter: asyncio.Future[Reply] | None = None
        self._sink: Sink | None = None
        self._parser: HttpResponseParser | None = HttpResponseParser(self)
        # As servers in use write: a line may end with LF alone, a chunk's size in spaces
        self._parser.set_dangerous_leniencies(
            lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._received = 0
        self._begin_answer()

    @property
    def heard(self) -> bool:
        return self._received > 0

    @property
    def usable(self) -> bool:
        """Whether it is still connected."""
        return not self._transport.is_closing()

    def ask(
        self,
        request: list[bytes],
        *,
        deadline_s: float,
        most_bytes: int,
        whole: bool,
        sink: Sink | None = None,
    ) -> asyncio.Future[Reply]:
        """Send a request; the future has its reply.

        Args:
            request: Head and body.
            deadline_s: When the reply must have come, by the loop's clock.
            most_bytes: Of the reply's body.
            whole: Take no reply that is larger or compressed; otherwise its body is cut.
            sink: Takes the reply as it comes; the future's has no body then.

        Raises (the future):
            TimeoutError: the deadline passed.
            NotTaken, NotHttp: what came cannot be taken.
            OSError: the connection broke.
        """
        self._waiter = waiter = self._loop.create_future()
        self._deadline = self._loop.call_at(deadline_s, self.end, TimeoutError)
        self._most_bytes = most_bytes
        self._whole = whole
        self._sink = sink
        self._is_large = sum(map(len, request)) > _LARGE_BYTES
        self._received = self._content = 0
        self._keep = self._complete = False
        self._not_taken = None
        self._begin_answer()
        self._transport.writelines(request)
        return waiter

    def give_up(self, waiter: asyncio.Future[Reply]) -> None:
        """Nobody waits for the reply any more."""
        if self._waiter is waiter:
            self.end(Closed)

    def end(self, why: BaseException | type[BaseException] = Closed) -> None:
        """Break the connection; an exchange under way fails with the reason."""
        waiter, self._waiter = self._waiter, None
        self._sink = None
        self._pieces.clear()
        self._gathered = bytearray()
        self._not_taken = None  # whose traceback holds this in turn
        if waiter is not None:
            self._deadline.cancel()
            if not waiter.done():
                waiter.set_exception(why)
        self._transport.abort()

    # -- what the event loop tells --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._owner.opened(self)

    def data_received(self, data: bytes) -> None:
        """Read in pieces, so that a peer's next bytes are looked at only if those before them fit."""
        if len(data) <= _PIECE_BYTES:
            self._read(data, last=True)
            return
        view = memoryview(data)
        for start in range(0, len(data), _PIECE_BYTES):
            end = start + _PIECE_BYTES
            if not self._read(view[start:end], last=end >= len(data)):
                return

    def connection_lost(self, exc: Exception | None) -> None:
        self._parser = None  # which holds this in turn
        self._owner.lost(self)
        if self._waiter is None:
            return
        unsized = self._head_done and self._headers.keys().isdisjoint(
            ("content-length", "transfer-encoding")
        )
        if exc is None and unsized:
            self._finish(keep=False)
        else:
            self.end(exc or Closed)

    # -- what the parser tells ------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            raise NotHttp  # nobody asked for another one

    def on_header(self, name: bytes, value: bytes) -> None:
        self._lines += 1
        self._line_began = self._received
        if self._lines > _MAX_HEADERS or len(name) + len(value) > _MAX_LINE_BYTES:
            raise NotHttp
        if self._head_done:
            return  # behind the last chunk
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1").rstrip(" \t")
        if self._headers.setdefault(key, text) != text:
            self._headers[key] += f", {text}"

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        self._status = self._parser.get_status_code()
        self._head_done = True
        if self._status < _INTERIM or self._status == _SWITCHING:
            raise NotHttp
        if self._headers.get("transfer-encoding", "chunked").lower() != "chunked":
            raise NotHttp
        if not self._whole or self._status < _FINAL:
            return
        if self._headers.get("content-encoding", "identity").strip().lower() not in _PLAIN:
            self._refuse("the answer is compressed, which was not asked for")
        length = self._headers.get("content-length", "0")
        if len(length) > _MOST_DIGITS or int(length) > self._most_bytes:
            self._refuse(f"the answer exceeds {self._most_bytes} bytes")
        if self._sink is not None:
            self._sink.head(self._status, self._headers)

    def on_body(self, piece: bytes) -> None:
        self._content += len(piece)
        if self._sink is not None and self._content <= self._most_bytes:
            self._sink.piece(piece)
            return
        self._pieces.append(piece)
        if len(self._pieces) == _MOST_PIECES:
            self._gathered += b"".join(self._pieces)
            self._pieces.clear()
        if self._content <= self._most_bytes:
            return
        if self._whole:
            self._refuse(f"the answer exceeds {self._most_bytes} bytes")
        self._complete = True
        raise NotHttp  # ends the parser: the rest is not read

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if self._status < _FINAL:
            self._begin_answer()
            return
        self._complete = True
        self._keep = self._parser.should_keep_alive()

    # -- how an answer ends ---------------------------------------------------------------------

    def _begin_answer(self) -> None:
        self._headers: dict[str, str] = {}
        self._pieces: list[bytes] = []
        self._gathered = bytearray()
        self._status = self._lines = 0
        self._line_began = self._received
        self._head_done = False

    def _read(self, piece: bytes | memoryview, *, last: bool) -> bool:
        """Whether more is to be read."""
        if self._waiter is None or self._parser is None:
            self._transport.abort()  # nobody asked
            return False
        self._received += len(piece)
        try:
            self._parser.feed_data(piece)
        except HttpParserError:
            if not self._complete:
                self.end(self._not_taken or NotHttp)
                return False
            self._keep = False
        if self._complete:
            self._finish(keep=self._keep and last)
            return False
        framing = self._received - self._content
        if framing > _MAX_FRAMING_BYTES + self._content // _CONTENT_FOR_ONE:
            self.end(NotTaken("the answer has more framing than its content needs"))
            return False
        if not self._head_done and self._received - self._line_began > _PIECE_BYTES:
            self.end(NotHttp)
            return False
        return True

    def _refuse(self, why: str) -> None:
        self._not_taken = NotTaken(why)
        raise self._not_taken

    def _finish(self, *, keep: bool) -> None:
        waiter, self._waiter = self._waiter, None
        self._sink = None
        pieces = self._pieces
        self._deadline.cancel()
        assert waiter is not None
        if not waiter.done():
            whole = len(pieces) == 1 and not self._gathered
            body = pieces[0] if whole else b"".join((self._gathered, *pieces))
            waiter.set_result(Reply(self._status, self._headers, body[: self._most_bytes]))
        # TLS does not tell how much of a request still waits below it. Who refuses a large one may not
        # have read it, and the next would wait behind the rest, or be taken for a part of it
        unread = self._is_large and self._status >= _NOT_DONE
        self._begin_answer()  # an idle connection holds nothing of the last one
        if keep and not unread and not self._transport.get_write_buffer_size():
            self._owner.free(self)
        else:
            # At once: TLS would wait for the peer's part of the farewell, half a minute for each
            # answer of one that says none. What of the request is not sent yet nobody reads.
            self._transport.abort()
