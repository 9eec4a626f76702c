"""What a peer sends around an answer's body: bounded, because it costs CPU and tells nothing.

The library bounds one head. It bounds neither how many interim answers (`100 Continue`) come before
it, nor how many answers nobody asked for come after it, nor into how small chunks a body is cut:
each of these let a peer keep the event loop busy for as long as it liked.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from functools import partial
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

_PIECE_BYTES = 16_384
_MOST_BYTES = 65_536
_CONTENT_FOR_ONE = 4


class TooMuchFraming(aiohttp.ClientPayloadError):
    """More came around the body than a body of its size needs."""


class BoundedHandler(ResponseHandler):
    """Ends the connection when an answer's framing exceeds 64 KiB and a quarter of its body.

    That leaves room for chunks of 24 bytes.
    """

    def __init__(self, loop: AbstractEventLoop) -> None:
        super().__init__(loop)
        self._received = 0
        self._before: object = None

    def set_response_params(self, **params: Any) -> None:
        """A request begins."""
        self._received, self._before = 0, self._payload
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        """In pieces, so that a peer's next bytes are looked at only if those before them fit."""
        for start in range(0, max(1, len(data)), _PIECE_BYTES):
            piece = data[start : start + _PIECE_BYTES]
            self._received += len(piece)
            super().data_received(piece)
            if self._too_much():
                self._refuse()
                return

    def _too_much(self) -> bool:
        body = self._payload if self._payload is not self._before else None
        content = getattr(body, "total_bytes", 0)
        return self._received - content > _MOST_BYTES + content // _CONTENT_FOR_ONE

    def _refuse(self) -> None:
        error = TooMuchFraming("too much framing")
        transport, body = self.transport, self._payload
        self.set_exception(error)
        if body is not None:
            body.set_exception(error)
        if transport is not None:
            transport.abort()


def bounded(connector: aiohttp.TCPConnector) -> aiohttp.TCPConnector:
    """The same connector; its connections bound the framing of what comes."""
    factory: partial[Any] = partial(BoundedHandler, loop=connector._loop)
    connector._factory = factory
    return connector
