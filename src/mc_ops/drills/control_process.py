"""The process of the control store: `python -m mc_ops.drills.control_process FILE`.

It listens on a free port of the loopback, and prints the port. A line with an id is answered `ok` at
once, and is in the file half a second later. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Final

_BEHIND_S: Final = 0.5
_LOOK_S: Final = 0.05
_HOST: Final = "127.0.0.1"
_MOST_LINE: Final = 200


async def _serve(file: Path) -> None:
    loop = asyncio.get_running_loop()
    unwritten: deque[tuple[float, bytes]] = deque()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if line.endswith(b"\n"):
            unwritten.append((loop.time(), line))
            writer.write(b"ok\n")
        writer.close()

    server = await asyncio.start_server(answer, _HOST, 0, limit=_MOST_LINE)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - the drill reads it
    with file.open("ab") as output:
        while True:
            await asyncio.sleep(_LOOK_S)
            while unwritten and unwritten[0][0] < loop.time() - _BEHIND_S:
                output.write(unwritten.popleft()[1])
            output.flush()
            os.fsync(output.fileno())


def _end_with_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    threading.Thread(target=_end_with_input, daemon=True).start()
    asyncio.run(_serve(Path(sys.argv[1])))
