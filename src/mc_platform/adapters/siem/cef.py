"""CEF over syslog: RFC 5424 messages, framed by RFC 5425, over TLS.

Syslog over TCP has no acknowledgement by the application: a receiver that dies takes with it what
its kernel had and it had not read, and no sender can know. What can be known is asked for: a batch
counts as taken when the peer's kernel has acknowledged every byte of it (the send queue is empty,
Linux `SIOCOUTQ`) and the connection still stands. That proves that the bytes have left this machine
and reached the other one; it does not prove that the receiver read, parsed or stored them. Where
that is not enough, choose a format with an acknowledgement, or keep the backup file.

The server's certificate is verified; there is no way to send in clear to another machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import re
import socket
import ssl
import struct
import sys
import termios
import threading
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from mc_contract.siem import SYSLOG_CLEAR, SYSLOG_PORT
from mc_platform.adapters.siem.http import tls_context, told
from mc_platform.adapters.siem.meaning import (
    SERVICE,
    SEVERITIES,
    VENDOR,
    Outcome,
    meaning_of,
    occurred_ms,
    text_of,
)
from mc_platform.deliver import Rejected, Shipment, SinkRefused, encoded

MOST_EVENTS = 500
_CONNECT_S = 10.0
_CLOSE_S = 1.0
_ACKNOWLEDGED_S = 20.0
_POLL_S = 0.002
_POLL_MOST_S = 0.05
_MOST_READS = 64
_FACILITY_LOG_AUDIT = 13
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")


class CefEncoder:
    """Turns recorded events into framed syslog messages."""

    def __init__(self, *, version: str) -> None:
        self._device = "|".join(("CEF:0", *(_header(x) for x in (VENDOR, SERVICE, version))))

    def message(self, shipment: Shipment) -> str:
        """The CEF part. The leaf travels whole as `mcLeaf`, after the keys that every SIEM reads."""
        leaf = shipment.leaf
        detail: dict[str, Any] = leaf["detail"]
        kind: str = leaf["kind"]
        meaning = meaning_of(kind)
        fields: dict[str, str | None] = {
            "rt": str(occurred_ms(leaf)),
            "externalId": leaf["id"],
            "cn1": str(shipment.index),
            "cn1Label": "sequence",
            "cs1": leaf["tenant"],
            "cs1Label": "tenant",
            "cs2": leaf["region"],
            "cs2Label": "region",
            "act": kind,
            "outcome": None if meaning.outcome is Outcome.unknown else meaning.outcome,
            "suid": text_of(detail, "principal"),
            "reason": text_of(detail, "reason"),
            "mcLeaf": shipment.raw.decode(),
        }
        extension = " ".join(
            f"{name}={_extension(value)}" for name, value in fields.items() if value is not None
        )
        title = _header(meaning.text or kind)
        severity = SEVERITIES[meaning.severity].cef
        return f"{self._device}|{_header(kind)}|{title}|{severity}|{extension}"

    def frame(self, shipment: Shipment) -> bytes:
        """The whole message with its length before it (RFC 5425, section 4.3)."""
        leaf = shipment.leaf
        severity = SEVERITIES[meaning_of(leaf["kind"]).severity].syslog
        priority = _FACILITY_LOG_AUDIT * 8 + severity
        header = " ".join(
            (
                f"<{priority}>1",
                leaf["occurred_at"],
                _name(leaf["region"], 255),
                SERVICE,
                "-",
                _name(leaf["kind"], 32),
                "-",
            )
        )
        message = f"{header} {self.message(shipment)}".encode()
        return b"%d %b" % (len(message), message)


def _header(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("|", "\\|")
    return escaped.replace("\n", " ").replace("\r", " ")


def _extension(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("=", "\\=")
    return escaped.replace("\n", "\\n").replace("\r", "\\r")


def _name(value: str, most: int) -> str:
    """A name as RFC 5424 takes it: printable ASCII without spaces, and not empty."""
    return _NOT_PRINTABLE.sub("_", value)[:most] or "-"


class CefSiem:
    """Keeps one connection, and writes batch after batch to it.

    The socket is a blocking one in a thread: an event loop's transports buffer in this process,
    where the kernel's word about its send queue would not reach.

    A thread goes on when the `take` that awaits it is cancelled. So one thread at a time uses a
    socket, it alone opens and closes it, and `_abandon` makes those that were started before it
    stale: they send nothing more, and close what they opened.
    """

    name = "siem"
    most = MOST_EVENTS

    def __init__(self, *, url: str, version: str, ca_file: str | None = None) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or SYSLOG_PORT)
        self._tls = None if parts.scheme == SYSLOG_CLEAR else tls_context(ca_file)
        self._encoder = CefEncoder(version=version)
        self._socket: socket.socket | None = None
        self._generation = 0
        self._using = threading.Lock()  # held by the thread that uses the socket
        self._guard = threading.Lock()  # of `_socket` and `_generation`; held for moments only

    async def take(self, batch: Sequence[Shipment]) -> Sequence[Rejected]:
        """What "kept" can mean here stands in the module's docstring."""
        try:
            await asyncio.to_thread(self._send, batch, self._generation)
        except asyncio.CancelledError:
            self._abandon()
            raise
        except OSError as error:  # TimeoutError and ssl.SSLError are
            raise SinkRefused(f"syslog: {told(error)}") from error
        return ()

    async def close(self) -> None:
        """Close the connection; what was taken has been sent."""
        self._abandon()
        await asyncio.to_thread(self._close_unused)

    def _send(self, batch: Sequence[Shipment], generation: int) -> None:
        frames = encoded(self._frames, batch)
        with self._using:
            try:
                self._write(self._connected(generation), frames, generation)
            except BaseException:
                self._drop()  # a part of a frame may have been written
                raise
            if self._is_stale(generation):
                self._drop()

    def _frames(self, batch: Sequence[Shipment]) -> bytes:
        return b"".join(map(self._encoder.frame, batch))

    def _write(self, connection: socket.socket, frames: bytes, generation: int) -> None:
        deadline = time.monotonic() + _ACKNOWLEDGED_S
        connection.settimeout(_ACKNOWLEDGED_S)
        connection.sendall(frames)
        pause_s = _POLL_S
        while _unacknowledged(connection) > 0:
            if time.monotonic() > deadline:
                raise TimeoutError
            if self._is_stale(generation):
                raise ConnectionAbortedError
            time.sleep(pause_s)
            pause_s = min(_POLL_MOST_S, pause_s * 2)
        if _closed_by_peer(connection):
            raise ConnectionResetError

    def _connected(self, generation: int) -> socket.socket:
        if self._is_stale(generation):
            raise ConnectionAbortedError
        if self._socket is not None:
            if not _closed_by_peer(self._socket):
                return self._socket
            self._drop()  # closed while nothing was sent: nothing is lost by that
        connection = socket.create_connection(self._address, timeout=_CONNECT_S)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                connection = self._tls.wrap_socket(
                    connection, server_hostname=self._address[0], do_handshake_on_connect=False
                )
            self._keep(connection, generation)
        except BaseException:
            connection.close()
            raise
        if isinstance(connection, ssl.SSLSocket):  # kept before, so that `_abandon` ends it
            connection.do_handshake()
        return connection

    def _keep(self, connection: socket.socket, generation: int) -> None:
        with self._guard:
            if generation != self._generation:
                raise ConnectionAbortedError
            self._socket = connection

    def _is_stale(self, generation: int) -> bool:
        with self._guard:
            return generation != self._generation

    def _abandon(self) -> None:
        """Wake the thread that uses the socket, if there is one; what is shut is not used again."""
        with self._guard:
            self._generation += 1
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    # Not SSLSocket's own: that takes the TLS off before it shuts the connection
                    socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _drop(self) -> None:
        """Close the socket; only for the thread that holds `_using`."""
        with self._guard:
            connection, self._socket = self._socket, None
            if connection is not None:
                connection.close()

    def _close_unused(self) -> None:
        # A thread that still uses the socket is stale, and closes it itself
        if self._using.acquire(timeout=_CLOSE_S):
            try:
                self._drop()
            finally:
                self._using.release()


def _closed_by_peer(connection: socket.socket) -> bool:
    """Whether the receiver hung up. It has nothing to say but TLS's own words, which are read."""
    try:
        connection.settimeout(0)
        return not all(connection.recv(4096) for _ in range(_MOST_READS))
    except (BlockingIOError, ssl.SSLWantReadError):
        return False
    except OSError:
        return True


def _unacknowledged(connection: socket.socket) -> int:
    """Bytes that the peer's kernel has not acknowledged.

    Elsewhere than on Linux that cannot be asked: then the local kernel's having them must do.
    """
    if sys.platform != "linux":
        return 0
    answer = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)  # SIOCOUTQ's number
    return int(struct.unpack("i", answer)[0])
