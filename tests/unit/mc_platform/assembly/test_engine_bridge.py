"""What stands between the engine's threads and the event loop."""

from __future__ import annotations

import asyncio

import pytest

from mc_platform.assembly import engine_bridge


async def test_what_an_engines_thread_no_longer_waits_for_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It asks again and again while the loop is late: each time in the place of the last one."""
    monkeypatch.setattr(engine_bridge, "_TIMEOUT_S", 0.01)
    bridge = engine_bridge.EngineBridge.__new__(engine_bridge.EngineBridge)
    bridge._loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    async def late() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        await asyncio.to_thread(bridge._blocking, late())
    async with asyncio.timeout(60):
        await ended.wait()
