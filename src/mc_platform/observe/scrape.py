"""The replica's metrics as text, however many ask for them at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from mc_platform.observe.exposition import Exposition

_SHARE = 0.1
_LONGEST_PAUSE_S = 1.0


class Scrape:
    """Renders metrics for at most a tenth of the time, and never shows old ones.

    Whoever asks while they are rendered, or in the pause after it, shares the next rendering, which
    begins after all of them have asked.

    Args:
        render: Renders all metrics; called in a thread. None: those of the process.
    """

    def __init__(self, render: Callable[[], bytes] | None = None) -> None:
        self._render = render or Exposition().render
        self._alone = asyncio.Lock()
        self._next: asyncio.Task[bytes] | None = None
        self._free_at = 0.0

    async def text(self) -> bytes:
        """The metrics, not older than the question."""
        if self._next is None:
            self._next = asyncio.create_task(self._rendered())
        return await asyncio.shield(self._next)  # who asks may leave without ending it

    async def _rendered(self) -> bytes:
        async with self._alone:
            await asyncio.sleep(self._free_at - time.monotonic())
            self._next = None
            began = time.monotonic()
            try:
                # Of a thousand tenants they are megabytes: not on the loop
                return await asyncio.to_thread(self._render)
            finally:
                took_s = time.monotonic() - began
                pause_s = min(took_s * (1 / _SHARE - 1), _LONGEST_PAUSE_S)
                self._free_at = began + took_s + pause_s
