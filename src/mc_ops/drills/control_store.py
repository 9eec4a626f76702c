"""The negative control of a drill: a store that acknowledges first and writes later.

A line of text with an id is answered `ok` at once; it is in the file half a second later. Killed
with the platform it must lose what it acknowledged last: a drill that does not see that is blind.
It is a process of its own, `control_process`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from mc_ops.errors import CouldNotTell

_PROCESS: Final = "mc_ops.drills.control_process"
_HOST: Final = "127.0.0.1"
_WRITES_WITHIN_S: Final = 1.0


class ControlStore:
    """The store's process, as the drill sees it."""

    def __init__(self, file: Path) -> None:
        """Start it.

        Raises:
            CouldNotTell: it does not start.
        """
        self._file = file
        self._process = subprocess.Popen(
            [sys.executable, "-m", _PROCESS, str(file)],
            stdin=subprocess.PIPE,  # it ends when this closes, however the drill ended
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout is not None  # it is piped
        line = self._process.stdout.readline()
        self._process.stdout.close()
        if not line.strip().isdigit():
            self.end()
            raise CouldNotTell("the drill's control store does not start")
        self.port = int(line)

    @property
    def pid(self) -> int:
        """Its process, which is broken together with the platform."""
        return self._process.pid

    def end(self) -> None:
        """Kill it, if it lives; stopped or not."""
        self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()

    def written(self) -> frozenset[str]:
        """The ids in its file, once a store that lives has had the time to write them."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_WRITES_WITHIN_S)
        return frozenset(self._file.read_text(encoding="ascii").split())


async def acknowledged(port: int, identity: str) -> bool:
    """Whether the store acknowledges an id.

    Raises:
        OSError: it cannot be reached, or the connection broke.
    """
    reader, writer = await asyncio.open_connection(_HOST, port)
    try:
        writer.write(f"{identity}\n".encode())
        return await reader.readline() == b"ok\n"
    finally:
        writer.close()
