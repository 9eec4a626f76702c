"""A TCP proxy that delays every byte by a fixed time, each way: a database that is not next door.

    python benchmarks/_slow_proxy.py PORT DELAY_MS

Listens at a port of the system's choice, which it prints, and forwards to 127.0.0.1:PORT. Bytes are
delayed, not slowed: what is sent in one go arrives in one go, however much is under way.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(OSError):
        while chunk := await reader.read(262_144):
            loop.call_later(delay_s, writer.write, chunk)
    loop.call_later(delay_s, writer.close)


async def _serve(port: int, delay_s: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(
            _pump(reader, upstream_writer, delay_s), _pump(upstream_reader, writer, delay_s)
        )

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]) / 1000))
