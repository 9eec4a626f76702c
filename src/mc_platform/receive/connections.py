"""Bounds what the web server does not: connections of one peer, and clients that do not read.

Granian ends a connection whose head does not come in time (`MC_HEAD_TIMEOUT_S`, which is also how
long one may be idle), and the middleware ends a body that does not. Neither of them counts connections by
peer, nor notices an answer that nobody takes, nor always lets go of a client that goes on sending a body
after it was answered. So this looks at the process's own sockets now and then, and closes, of a peer
that has too many, those that have asked for nothing, the oldest first: who asks is served, whatever
others behind the same address keep open. An answer must move, and after it the next question come;
where the system does not tell what waits (elsewhere than on Linux), that is left to the server.
"""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from starlette.types import Scope

from mc_platform.observe import metrics
from mc_platform.receive.peers import share_of

_LOOK_EVERY_S = 1.0
_SLOWEST_BYTES_PER_S = 1024
_FDS = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
_INFO_BYTES = 148  # of Linux' struct tcp_info, up to and with tcpi_notsent_bytes
_ACKED_AT, _UNSENT_AT = 120, 144
_TOO_MANY = (
    b'{"error": {"code": "rate-limited", "message": "too many connections of your address", \
"hint": "close what you do not use", "retryable": true}}'
)
_ANSWER = (
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_TOO_MANY), _TOO_MANY)
)

_Client = tuple[str, int]


@dataclass(slots=True)
class _Watched:
    """What is remembered of a connection; `stuck_at`: since when an answer waits for its client."""

    stuck_at: float | None = None
    acked: int = 0


@dataclass(slots=True, kw_only=True)
class Connections:
    """The connections of one listening port.

    Attributes:
        port: Where the process listens.
        total: How many there may be.
        per_peer: How many of them may be one address's; a trusted proxy may have four fifths of all.
        trusts: Whether an address is a trusted proxy's.
        idle_timeout_s: How long a connection may go without the next request after an answer.
        write_timeout_s: How long an answer may wait for a client that takes less than 1 KiB/s of it.
        closing: Whether each answer asks its client to connect anew, so elsewhere: this replica stops.
    """

    port: int
    total: int
    per_peer: int
    trusts: Callable[[str], bool]
    idle_timeout_s: float
    write_timeout_s: float
    monotonic: Callable[[], float] = time.monotonic
    closing: bool = field(init=False, default=False)
    _under_way: dict[_Client, int] = field(init=False, default_factory=dict)
    _answered_at: dict[_Client, float] = field(init=False, default_factory=dict)
    _watched: dict[_Client, _Watched] = field(init=False, default_factory=dict)

    def begun(self, scope: Scope) -> tuple[str, int]:
        """Tell that a request is being served; gives its connection, for `ended`."""
        client = scope.get("client")
        key = (str(client[0]), int(client[1])) if client else ("", 0)
        self._under_way[key] = self._under_way.get(key, 0) + 1
        self._answered_at.pop(key, None)
        return key

    def ended(self, key: tuple[str, int], *, closed: bool = False) -> None:
        """Tell that the request is served, or will not be; once for each `begun`.

        Args:
            closed: Its answer said that the connection ends with it.
        """
        left = self._under_way.pop(key) - 1
        if left:
            self._under_way[key] = left
        elif not closed:
            self._answered_at[key] = self.monotonic()

    def quiet(self, for_s: float) -> bool:
        """Whether nothing is under way, and no open connection was used within `for_s` seconds.

        Who closes a connection that is in use may meet the next request on its way: its client sees an
        error, and may not send again what must not be done twice.
        """
        since = self.monotonic() - for_s
        return not self._under_way and all(at < since for at in self._answered_at.values())

    async def watch(self) -> None:
        """Look again and again; until cancelled."""
        every_s = min(_LOOK_EVERY_S, self.write_timeout_s / 4, self.idle_timeout_s / 4)
        while True:
            await asyncio.to_thread(self.look)
            await asyncio.sleep(every_s)

    def look(self) -> None:
        """Close what is too much, what does not read, and what asks nothing more."""
        found = set()
        answered = list(self._answered_at)
        for key, one in self._open():
            found.add(key)
            watched = self._watched.setdefault(key, _Watched())
            if self._is_stuck(one, watched):
                self._close(one, "reading")
            elif self._is_idle(key, watched):
                self._close(one, "idle")
        for key in answered:
            if key not in found:
                self._answered_at.pop(key, None)
        # In the order in which they were first seen
        self._watched = {key: one for key, one in self._watched.items() if key in found}
        metrics.connections.set(len(found))
        surplus = self._surplus()
        for key, one in self._open() if surplus else ():
            if key in surplus:
                # To a proxy's idle connection it could look like the answer to what it sends next
                if not self.trusts(key[0]):
                    with suppress(OSError):
                        one.send(_ANSWER, socket.MSG_DONTWAIT)
                self._close(one, "share")

    def _open(self) -> Iterator[tuple[_Client, socket.socket]]:
        """Each connection, for a moment by a second handle: the first may be closed and reused."""
        for handle in list(_FDS.iterdir()):
            try:
                number = int(handle.name)
                if not stat.S_ISSOCK(os.fstat(number).st_mode):
                    continue
                one = socket.socket(fileno=os.dup(number))
            except OSError:
                continue
            with one:
                if one.family not in (socket.AF_INET, socket.AF_INET6):
                    continue
                try:
                    own, peer = one.getsockname(), one.getpeername()
                except OSError:  # it listens, or has just ended
                    continue
                if one.type == socket.SOCK_STREAM and own[1] == self.port:
                    yield (peer[0], peer[1]), one

    def _surplus(self) -> set[_Client]:
        counted = Counter(share_of(host) for host, _ in self._watched)
        busy = set(self._under_way)
        chosen: set[_Client] = set()
        for key in self._watched:
            share = share_of(key[0])
            most = self.total * 4 // 5 if self.trusts(key[0]) else min(self.per_peer, self.total)
            too_many = counted[share] > most or len(self._watched) - len(chosen) > self.total
            if key not in busy and too_many:
                counted[share] -= 1
                chosen.add(key)
        return chosen

    def _is_stuck(self, one: socket.socket, watched: _Watched) -> bool:
        if sys.platform != "linux":
            return False
        try:
            info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
        except OSError:
            return False
        if len(info) < _INFO_BYTES or not struct.unpack_from("=I", info, _UNSENT_AT)[0]:
            watched.stuck_at = None
            return False
        [acked] = struct.unpack_from("=Q", info, _ACKED_AT)
        now = self.monotonic()
        if watched.stuck_at is None:
            watched.stuck_at, watched.acked = now, acked
        waited_s = now - watched.stuck_at
        if waited_s < self.write_timeout_s:
            return False
        slow = acked - watched.acked < _SLOWEST_BYTES_PER_S * waited_s
        watched.stuck_at, watched.acked = now, acked
        return bool(slow)

    def _is_idle(self, key: _Client, watched: _Watched) -> bool:
        answered_at = self._answered_at.get(key)
        if sys.platform != "linux" or answered_at is None or watched.stuck_at is not None:
            return False
        return self.monotonic() - answered_at > self.idle_timeout_s

    def _close(self, one: socket.socket, reason: str) -> None:
        metrics.connections_closed.labels(reason).inc()
        with suppress(OSError):
            if reason == "reading":  # what it has not read is dropped, not kept for it
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.shutdown(socket.SHUT_RDWR)
