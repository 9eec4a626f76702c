"""The link between two regions on one machine: `python -m mc_ops.environments.local.link`.

Whatever goes from one region to the other (replication, requests that are passed on) goes through this
process, so that a drill can cut it: stopped, it carries nothing and says nothing, as a network that drops packets;
killed, it loses what was on its way. `MC_LINKS` has the ways: `PORT:TARGET`, by commas, all on the loopback.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from functools import partial

import structlog

from mc_contract import log_lines

_HOST = "127.0.0.1"
_AT_ONCE_BYTES = 65_536
# A stream that has ended on one side is referred to by nothing else, and would be collected while the other carries
_leading: set[asyncio.Task[None] | None] = set()


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """All that comes, to its end; then the other side is told that it has ended."""
    try:
        while data := await reader.read(_AT_ONCE_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()  # broken on one side is broken on both


async def _lead(target: int, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
    task = asyncio.current_task()
    _leading.add(task)
    try:
        await _lead_on(target, here, back)
    finally:
        _leading.discard(task)


async def _lead_on(target: int, here: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
    try:
        there, on = await asyncio.open_connection(_HOST, target)
    except OSError:
        back.transport.abort()
        return
    try:
        await asyncio.gather(_carry(here, on), _carry(there, back))
    finally:
        for writer in (on, back):
            with suppress(OSError):
                writer.close()


async def _serve(ways: dict[int, int]) -> None:
    servers = [
        await asyncio.start_server(partial(_lead, target), _HOST, port)
        for port, target in ways.items()
    ]
    structlog.get_logger().info("link_carries", ways=ways)
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    pairs = (way.split(":") for way in os.environ["MC_LINKS"].split(","))
    with suppress(KeyboardInterrupt):
        log_lines.configure()
        asyncio.run(_serve({int(port): int(target) for port, target in pairs}))
