"""A replica in a process of its own, of whose event loop every step is measured in CPU time.

Standard input: a line asks for the longest step since the last line; the answer on standard output
is JSON: `{"cpu_s", "step"}`. Settings come from the environment as for `python -m mc_platform serve`,
the server is the same, and the loop is asyncio's own, because its steps can be counted one by one.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from asyncio import events
from typing import Any

from granian.constants import Interfaces
from granian.server.embed import Server

from mc_platform.app import Workbench
from mc_platform.observe import logs
from mc_platform.settings import load_settings

longest: dict[str, Any] = {"cpu_s": 0.0, "step": ""}
_run = events.Handle._run


def _measured(handle: Any) -> None:
    began = time.thread_time()
    _run(handle)
    cpu_s = time.thread_time() - began
    if cpu_s > longest["cpu_s"]:
        longest.update(cpu_s=cpu_s, step=repr(handle)[:600])


async def main() -> None:
    settings = load_settings()
    logs.configure("WARNING")
    workbench = Workbench(settings)
    app = await workbench.open()
    gc.collect()
    gc.freeze()
    server = Server(
        app,
        address="127.0.0.1",
        port=settings.port,
        interface=Interfaces.ASGINL,
        log_enabled=False,
        websockets=False,
    )
    serving = asyncio.create_task(server.serve())
    events.Handle._run = _measured  # type: ignore[method-assign]
    loop = asyncio.get_running_loop()
    while await loop.run_in_executor(None, sys.stdin.readline):
        print("longest", json.dumps(longest), flush=True)
        longest.update(cpu_s=0.0, step="")
    server.stop()
    await serving
    await workbench.close()


asyncio.run(main())
