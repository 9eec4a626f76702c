"""One question to an agent over a connection that is kept: our client beside aiohttp's, on the same bytes.

Both run on uvloop in this process, 16 questions at once, against a peer in a process of its own that
answers every request with the same bytes. The figures are this process's CPU: the client's, and the
sockets'.

    python benchmarks/asking.py
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import aiohttp
import uvloop
from _table import Row, add_option, finish

from mc_platform.adapters.http import Outgoing

_AT_ONCE = 16
_HEADERS = {"A2A-Version": "1.0", "Content-Type": "application/json"}
_QUESTION = b'{"jsonrpc":"2.0","id":"m","method":"SendMessage","params":{"message":%s}}' % (
    b" " * 800
)
_REPLY = b'{"jsonrpc":"2.0","id":"m","result":{"task":%s}}' % (b" " * 600)
_ANSWER = (
    b"HTTP/1.1 200 OK\r\ndate: Tue, 01 Dec 2026 00:00:00 GMT\r\nserver: uvicorn\r\n"
    b"content-length: %d\r\ncontent-type: application/json\r\n\r\n%s" % (len(_REPLY), _REPLY)
)
_Ask = Callable[[], Awaitable[bytes]]


class _Peer(asyncio.Protocol):
    """Answers as soon as a question's last bytes have come."""

    def __init__(self) -> None:
        self._asked = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._asked += data
        if self._asked.endswith(_QUESTION):
            self._asked = b""
            self._transport.write(_ANSWER)


def _serve(told: Connection) -> None:
    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(_Peer, "127.0.0.1", 0)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    with suppress(KeyboardInterrupt):
        uvloop.run(serve())


async def _cpu_us(ask: _Ask, questions: int) -> float:
    """CPU microseconds of one question."""

    async def some() -> None:
        for _ in range(questions // _AT_ONCE):
            if await ask() != _REPLY:
                raise RuntimeError("an answer is not what was sent")

    began = time.process_time()
    await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
    return (time.process_time() - began) / (questions // _AT_ONCE * _AT_ONCE) * 1e6


async def _measure(url: str, rounds: int, questions: int) -> Row:
    client = Outgoing(headers=_HEADERS)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        headers=_HEADERS,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )

    async def ours() -> bytes:
        reply = await client.exchange(
            "POST", url, body=_QUESTION, timeout_s=30.0, most_bytes=1_048_576
        )
        return reply.body

    async def theirs() -> bytes:
        async with session.post(url, data=_QUESTION, allow_redirects=False) as answer:
            return await answer.read()

    sides: tuple[_Ask, _Ask] = (ours, theirs)
    figures: tuple[list[float], list[float]] = ([], [])
    async with session:
        for ask in sides:
            await _cpu_us(ask, questions // 4)
        for _ in range(rounds):
            for ask, values in zip(sides, figures, strict=True):
                values.append(await _cpu_us(ask, questions))
    await client.close()
    return Row(
        what="one question to an agent over HTTP",
        beside="aiohttp's client",
        values=tuple(a / b for a, b in zip(*figures, strict=True)),
        cpu_us=tuple(figures[0]),
        peer_cpu_us=tuple(figures[1]),
        per="question",
    )


def main() -> int:
    """Measure, print."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--questions", type=int, default=4000, help="of one side in a round")
    add_option(options)
    given: argparse.Namespace = options.parse_args()
    rows: Path | None = given.rows
    here, there = multiprocessing.Pipe()
    peer = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    peer.start()
    try:
        url = f"http://127.0.0.1:{here.recv()}/a2a"
        row = uvloop.run(_measure(url, given.rounds, given.questions))
    finally:
        peer.terminate()
    return finish([row], rows)


if __name__ == "__main__":
    sys.exit(main())
