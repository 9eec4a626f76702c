"""The proxy in front of a benchmark's database: every byte, in order, later by the same time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path

PROXY = Path(__file__).parents[3] / "benchmarks" / "_slow_proxy.py"


async def test_bytes_arrive_whole_and_later_by_the_delay_each_way():
    """A byte that is echoed takes two delays; a megabyte comes back as it was, and the end passes."""

    async def echo(reader, writer):
        while piece := await reader.read(65_536):
            writer.write(piece)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    argv = [sys.executable, str(PROXY), str(port), "100"]
    proxy = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
    try:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(await proxy.stdout.readline())
        )
        sent = bytes(range(256)) * 4096
        began = time.perf_counter()
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        assert time.perf_counter() - began >= 0.2
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        writer.close()
        assert await reader.read() == b""
    finally:
        proxy.kill()
        await proxy.wait()
        server.close()
