"""`Retry-After` on every answer that says "not now", whatever layer gives the answer.

The middleware opens a note for each request; who turns an error into an answer writes into it how long
the caller shall wait; the middleware's response carries it. JSON-RPC answers have it too, although their
HTTP status is 200: a client need not read the body to know that it has to wait.
"""

from __future__ import annotations

import math
from contextvars import ContextVar

_UNTOLD_S = 1.0
_TELLING = (429, 503)
_note: ContextVar[list[float]] = ContextVar("retry_after")


def begin() -> None:
    """Open the note of the request that this context serves."""
    _note.set([])


def note(error: BaseException) -> None:
    """Write down how long an error asks to wait, if it asks."""
    wait_s = getattr(error, "retry_after_s", None)
    if wait_s is not None:
        _note.get([]).append(float(wait_s))


def header(status: int) -> tuple[bytes, bytes] | None:
    """The header for a response with this status; None if it needs none."""
    told = _note.get([])
    if not told and status not in _TELLING:
        return None
    return b"retry-after", str(math.ceil(max(told, default=_UNTOLD_S))).encode()
