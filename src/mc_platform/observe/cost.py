"""Direct CPU time of one request: measured around every step of its coroutine.

`time.thread_time` is read when the event loop enters and leaves the coroutine, so waiting and
other requests do not count. Work in other tasks, threads and the database does not count either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Generator
from typing import Any


class Metered:
    """Await this in place of the coroutine; `cpu_s` then tells what it cost.

    Args:
        on_end: Is told the cost, however the coroutine ended.

    Example:
        >>> import asyncio
        >>> async def work() -> int:
        ...     return 42
        >>> metered = Metered(work())
        >>> async def main() -> int:
        ...     return await metered
        >>> asyncio.run(main())
        42
        >>> metered.cpu_s > 0
        True
    """

    __slots__ = ("_coroutine", "_on_end", "cpu_s")

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        on_end: Callable[[float], None] | None = None,
    ) -> None:
        self._coroutine = coroutine
        self._on_end = on_end
        self.cpu_s = 0.0

    def __await__(self) -> Generator[Any, Any, Any]:
        send, clock = self._coroutine.send, time.thread_time
        sent: Any = None
        thrown: BaseException | None = None
        try:
            while True:
                began = clock()
                try:
                    waited = send(sent) if thrown is None else self._coroutine.throw(thrown)
                except StopIteration as done:
                    return done.value
                finally:
                    self.cpu_s += clock() - began
                thrown = None
                try:
                    sent = yield waited
                except GeneratorExit:
                    self._coroutine.close()
                    raise
                except BaseException as error:  # noqa: BLE001 - cancellation must reach the coroutine
                    thrown = error
        finally:
            if self._on_end is not None:
                self._on_end(self.cpu_s)
