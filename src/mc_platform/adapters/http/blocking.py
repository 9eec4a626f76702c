"""`Lanes` for worker threads, implementing `ports.BlockingHttp`.

The requests run on an event loop of their own in a thread of its own: they keep all promises of
`outgoing`, deadlines among them, which a blocking client makes for single reads only; and no
traffic of operations competes with the loop that serves requests.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import CancelledError

from mc_platform.adapters.http.outgoing import Lanes
from mc_platform.errors import PeerFailed
from mc_platform.model.reply import Reply


class BlockingLanes:
    """Safe between threads; the loop's thread begins with the first request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._lanes = Lanes()
        self._closed = False

    def exchange(
        self,
        tenant: str,
        method: str,
        url: str,
        *,
        body: bytes,
        headers: Mapping[str, str],
        timeout_s: float,
        most_bytes: int,
    ) -> Reply:
        with self._lock:
            if self._closed:
                raise PeerFailed("this process is stopping", asked=False)
            asking = self._lanes.of(tenant).exchange(
                method,
                url,
                body=body,
                headers=headers,
                timeout_s=timeout_s,
                most_bytes=most_bytes,
            )
            asked = asyncio.run_coroutine_threadsafe(asking, self._running())
        try:
            return asked.result()
        except CancelledError as error:
            raise PeerFailed("this process is stopping", asked=True) from error
        finally:
            del asked  # it holds the error, whose traceback holds this frame and its body

    def close(self) -> None:
        """Close the connections and end the thread; a call under way fails."""
        with self._lock:
            self._closed = True
            loop, thread, self._loop = self._loop, self._thread, None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._end(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()

    async def _end(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._lanes.close()

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="outgoing-http", daemon=True
            )
            self._thread.start()
        return self._loop
