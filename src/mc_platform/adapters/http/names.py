"""Addresses of host names, looked up in threads of their own and kept for a short while.

A name whose servers do not answer holds a thread for half a minute: in the loop's common threads a few
of them would hold up everybody's work, and the look-ups of other agents with it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import Any

_KEPT_S = 10.0
_LOOK_UPS_AT_ONCE = 64
Addresses = list[tuple[Any, ...]]
"""As `socket.getaddrinfo` returns them."""


class Names:
    """Looks each name up once at a time, whoever asks."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[float, Addresses]] = {}
        self._under_way: dict[tuple[str, int], asyncio.Future[Addresses]] = {}

    async def addresses(self, host: str, port: int) -> Addresses:
        """The host's addresses, beginning with another one each time.

        Raises:
            OSError: there are none.
            UnicodeError: it is no host name.
        """
        key, loop = (host, port), asyncio.get_running_loop()
        until_s, found = self._known.get(key, (0.0, []))
        if loop.time() >= until_s and _is_address(host):
            # No look-up, and so none to wait for behind names whose servers do not answer
            found = socket.getaddrinfo(*key, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
            self._known[key] = (math.inf, found)
        elif loop.time() >= until_s:
            found = await asyncio.shield(self._under_way.get(key) or self._asked(key))
            self._known[key] = (loop.time() + _KEPT_S, found)
        found.append(found.pop(0))
        return list(found)

    def _asked(self, key: tuple[str, int]) -> asyncio.Future[Addresses]:
        look_up = partial(
            socket.getaddrinfo, *key, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        asked = asyncio.get_running_loop().run_in_executor(look_ups(), look_up)
        self._under_way[key] = asked
        asked.add_done_callback(partial(self._answered, key))
        return asked

    def _answered(self, key: tuple[str, int], asked: asyncio.Future[Addresses]) -> None:
        del self._under_way[key]
        if not asked.cancelled():
            asked.exception()  # so that it is not logged if nobody waits any more


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@cache
def look_ups() -> ThreadPoolExecutor:
    """The process's threads for it."""
    return ThreadPoolExecutor(_LOOK_UPS_AT_ONCE, "name-look-up")
