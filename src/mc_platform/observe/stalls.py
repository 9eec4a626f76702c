"""How long the event loop is busy at a time: CPU of its thread while others waited for their turn.

A timer that comes late tells that the loop was busy, or that the machine was; the thread's CPU time
tells which. What is measured is the smaller of both, so a busy neighbour on the machine is no stall
of ours. A stall shorter than the timer's interval may be missed by as much.
"""

from __future__ import annotations

import asyncio
import time

from mc_platform.observe import metrics

_INTERVAL_S = 0.01


async def watch_loop(interval_s: float = _INTERVAL_S) -> None:
    """Observe `mc_event_loop_stall_seconds` for as long as the loop runs."""
    while True:
        due, used_s = time.monotonic() + interval_s, time.thread_time()
        await asyncio.sleep(interval_s)
        late_s = time.monotonic() - due
        metrics.event_loop_stall.observe(max(0.0, min(late_s, time.thread_time() - used_s)))
