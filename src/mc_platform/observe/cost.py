"""Direct CPU time of one request: measured around every step of its coroutine.

`time.thread_time` is read when the event loop enters and leaves the coroutine, so waiting and
other requests do not count. Work in other tasks, threads and the database does not count either.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine, Generator
from typing import Any


class Metered:
    """Await this in place of the coroutine; `cpu_s` then tells what it cost.

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

    __slots__ = ("_coroutine", "cpu_s")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self.cpu_s = 0.0

    def __await__(self) -> Generator[Any, Any, Any]:
        coroutine = self._coroutine
        sent: Any = None
        thrown: BaseException | None = None
        while True:
            began = time.thread_time()
            try:
                waited = coroutine.send(sent) if thrown is None else coroutine.throw(thrown)
            except StopIteration as done:
                return done.value
            finally:
                self.cpu_s += time.thread_time() - began
            thrown = None
            try:
                sent = yield waited
            except GeneratorExit:
                coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001 - cancellation must reach the coroutine
                thrown = error
