"""Worker processes for work that would hold the event loop; implements `examine.Workers`.

They come from a fork server: one process that has everything imported, and nothing of the
replica's (no socket, no lock, no thread), from which a worker is forked in milliseconds. Nothing is
started before the first large message.

A worker ends with its replica, however that ends: its pipe closes. One that works at that moment is
ended by its own alarm, as is one whose work takes too long. Keys travel through the pipe, never as
arguments. A worker yields to everything else on the machine (`nice`).
"""

from __future__ import annotations

import asyncio
import gc
import math
import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from typing import Any, TypeVar

import structlog

from mc_platform.errors import Overdue, Unavailable

_R = TypeVar("_R")
_NICE = 10
_PRELOADED = "mc_platform.adapters.worker_preload"
_log = structlog.get_logger()


class WorkerProcesses:
    """A few workers, started when they are needed.

    Args:
        count: How many; as many calls run at once.
        deadline_s: What takes longer is ended, with its worker.
        at_start: Called in each worker before its first work: what is large, and the same for all of
            its calls, it knows from here and not from each call's arguments.
    """

    def __init__(
        self, *, count: int, deadline_s: float, at_start: Callable[[], object] | None = None
    ) -> None:
        self.count = count
        self._at_start = at_start
        self._deadline_s = deadline_s
        self._idle: list[_Worker] = []
        self._all: set[_Worker] = set()
        self._threads = ThreadPoolExecutor(count, "worker-call")
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([_PRELOADED])

    async def run(self, work: Callable[..., _R], *args: Any) -> tuple[_R, float]:
        """No more than `count` calls may be under way."""
        loop = asyncio.get_running_loop()
        worker = self._idle.pop() if self._idle else None
        try:
            if worker is None:
                worker = await loop.run_in_executor(self._threads, self._started)
                self._all.add(worker)
            # In a thread: writing and reading the pipe, and pickling, which may be megabytes
            calling = loop.run_in_executor(self._threads, worker.call, work, args)
            succeeded, result, cpu_s = await asyncio.wait_for(calling, self._deadline_s)
        except BaseException as error:
            if worker is not None:
                self._end(worker)
            if isinstance(error, TimeoutError):
                raise Overdue(
                    f"examining the message took more than {self._deadline_s:g} s",
                    hint="send less in one message",
                ) from None
            if isinstance(error, (EOFError, OSError)):
                raise Unavailable("a worker process ended meanwhile", hint="ask again") from error
            raise
        self._idle.append(worker)
        if not succeeded:
            _log.error("worker_call_failed", error=result)
            raise RuntimeError(f"a worker call failed: {result}")
        return result, cpu_s

    async def close(self) -> None:
        """End all workers; calls that are under way fail."""
        for worker in list(self._all):
            self._end(worker)
        self._threads.shutdown(wait=False)

    def _started(self) -> _Worker:
        worker = _Worker(self._context, self._deadline_s)
        if self._at_start is None:
            return worker
        try:
            succeeded, error, _ = worker.call(self._at_start, ())
            if not succeeded:
                raise RuntimeError(f"a worker cannot begin: {error}")
        except BaseException:
            worker.end()
            raise
        return worker

    def _end(self, worker: _Worker) -> None:
        self._all.discard(worker)
        worker.end()


class _Worker:
    """One process and the pipe to it."""

    def __init__(self, context: Any, deadline_s: float) -> None:
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, deadline_s), name="mc-worker", daemon=True
        )
        self._process.start()
        theirs.close()

    def call(self, work: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        self._connection.send_bytes(pickle.dumps((work, args), pickle.HIGHEST_PROTOCOL))
        return pickle.loads(self._connection.recv_bytes())  # noqa: S301 - our own child's

    def end(self) -> None:
        # A killed process ends the read of a thread that waits for it; the pipe is closed with it
        self._process.kill()
        self._process.join()


def _serve(connection: Connection, deadline_s: float) -> None:
    """What a worker does all its life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's; the replica drains and ends us
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.nice(_NICE)
    gc.freeze()
    while True:
        try:
            call = connection.recv_bytes()
        except (EOFError, OSError):
            return
        signal.alarm(math.ceil(deadline_s) + 1)
        began = time.process_time()
        try:
            work, args = pickle.loads(call)  # noqa: S301 - our own parent's
            answer = (True, work(*args))
        except Exception as error:  # noqa: BLE001 - told to the replica, without what it quotes
            frame = traceback.extract_tb(error.__traceback__)[-1]
            answer = (False, f"{type(error).__name__} at {frame.name}:{frame.lineno}")
        signal.alarm(0)
        try:
            connection.send_bytes(
                pickle.dumps((*answer, time.process_time() - began), pickle.HIGHEST_PROTOCOL)
            )
        except OSError:
            return
