"""Asking a process of this machine, by the standard library alone.

Readiness is asked for dozens of times, and an HTTP library that loads its certificates each time
would keep the very processes waiting that are starting.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading

HOST = "127.0.0.1"
_MOST_BYTES = 1024 * 1024


def is_open(port: int) -> bool:
    """Whether anything listens on a local port."""
    try:
        socket.create_connection((HOST, port), timeout=1.0).close()
    except OSError:
        return False
    return True


def ask(port: int, path: str, timeout_s: float) -> tuple[int, bytes] | None:
    """GET a path of a local process; its status and body, or None when it does not answer.

    A body is cut at 1 MiB. Not all that listens at a port need be ours: the whole answer must come
    within the time, however it drips.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    late = threading.Event()

    def end(connected: socket.socket) -> None:
        late.set()
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)  # wakes the read

    watch: threading.Timer | None = None
    try:
        connection.connect()
        watch = threading.Timer(timeout_s, end, (connection.sock,))
        watch.daemon = True
        watch.start()
        connection.request("GET", path)
        answer = connection.getresponse()
        found = answer.status, answer.read(_MOST_BYTES)
        return None if late.is_set() else found
    except (OSError, http.client.HTTPException):
        return None
    finally:
        if watch is not None:
            watch.cancel()
        connection.close()
