"""A peer on loopback whose every byte a test chooses; it remembers what it was asked, and where.

Raw sockets, because what is tested is what no HTTP server library would send.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Asked:
    """One request: on which connection (counted from 0), its head's lines, its body."""

    connection: int
    head: tuple[str, ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The header's value; None if it was not sent."""
        for line in self.head[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None


Script = Callable[[Asked, socket.socket], None]
"""Answers one request by writing to the socket; closing it is its right."""


@dataclass
class RawPeer:
    """What the peer was asked so far, and where it listens (by address and by name)."""

    port: int
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    @property
    def by_address(self) -> str:
        """Its URL with an IP address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def by_name(self) -> str:
        """Its URL with a host name."""
        return f"http://localhost:{self.port}"


def answer(body: bytes, *headers: str, status: str = "200 OK") -> Script:
    """A whole answer with these headers beside its length."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers])
    return raw(head.encode("latin-1") + b"\r\n\r\n" + body)


def raw(told: bytes, *, close: bool = False) -> Script:
    """These bytes, and nothing else."""

    def send(_asked: Asked, connection: socket.socket) -> None:
        connection.sendall(told)
        if close:
            connection.shutdown(socket.SHUT_RDWR)

    return send


@contextmanager
def raw_peer(script: Script) -> Iterator[RawPeer]:
    """A peer that answers every request so."""
    listener = socket.create_server(("127.0.0.1", 0))
    peer = RawPeer(listener.getsockname()[1])
    open_ones: list[socket.socket] = []

    def serve(connection: socket.socket, number: int) -> None:
        with contextlib.suppress(OSError, ValueError), connection:
            stream = connection.makefile("rb")
            while head := _head(stream):
                length = next(
                    (int(line[15:]) for line in head if line.lower().startswith("content-length:")),
                    0,
                )
                asked = Asked(number, head, stream.read(length))
                peer.asked.append(asked)
                script(asked, connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                open_ones.append(connection)
                number, peer.connections = peer.connections, peer.connections + 1
                threading.Thread(target=serve, args=(connection, number), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield peer
    finally:
        # shutdown wakes the thread that waits in accept; close alone does not
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in open_ones:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _head(stream: object) -> tuple[str, ...]:
    lines: list[str] = []
    while line := stream.readline().decode("latin-1").rstrip("\r\n"):  # type: ignore[attr-defined]
        lines.append(line)
    return tuple(lines)
