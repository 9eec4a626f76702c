"""What goes to the database together: whatever the event loop has ready joins, without a timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_MOST_TURNS = 8


async def joined(count: Callable[[], int], *, most: int) -> None:
    """Give the event loop a turn for as long as each brings something more, up to `most`.

    An idle loop has nothing to bring, so whoever is alone waits for nothing.
    """
    before = 0
    for _ in range(_MOST_TURNS):
        now = count()
        if now in (0, before) or now >= most:
            return
        before = now
        await asyncio.sleep(0)
