"""Asking a process of this machine, by the standard library alone.

Readiness is asked for dozens of times, and an HTTP library that loads its certificates each time
would keep the very processes waiting that are starting.
"""

from __future__ import annotations

import http.client

HOST = "127.0.0.1"
_MOST_BYTES = 1024 * 1024


def ask(port: int, path: str, timeout_s: float) -> tuple[int, bytes] | None:
    """GET a path of a local process; its status and body, or None when it does not answer.

    A body is cut at 1 MiB. The time is each read's: who listens there is a process of ours.
    """
    connection = http.client.HTTPConnection(HOST, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read(_MOST_BYTES)
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
