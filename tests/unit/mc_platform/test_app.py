"""What stands between the engine's threads and the event loop."""

from __future__ import annotations

import asyncio

import pytest

from mc_platform import app


async def test_what_an_engines_thread_no_longer_waits_for_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It asks again and again while the loop is late: each time in the place of the last one."""
    monkeypatch.setattr(app, "_BLOCKING_TIMEOUT_S", 0.01)
    workbench = app.Workbench.__new__(app.Workbench)
    workbench._loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    async def late() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(TimeoutError):
        await asyncio.to_thread(workbench._blocking, late())
    async with asyncio.timeout(20):
        await ended.wait()
