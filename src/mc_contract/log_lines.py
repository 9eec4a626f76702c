"""Log lines: one JSON object a line on standard output, of every process of ours.

A process whose standard output is the file that `MC_LOG_FILE` names puts that file aside when it has
grown, between two lines; none is lost or torn. Where output is a pipe (a container's), whoever reads
it does that.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

FILE_SETTING = "MC_LOG_FILE"
MOST_BYTES = 20_000_000
_OUTPUTS = (1, 2)
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")


def render(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> str:
    """Encode one event; `event` comes first, other keys in the order given."""
    event = str(fields.pop("event", ""))
    return msgspec.json.encode({"event": event, **fields}, enc_hook=str).decode()


def framed(text: str, **fields: str) -> str:
    """A line that is not in our format, as one that is."""
    return msgspec.json.encode({"event": "output", "text": text, **fields}).decode()


def trace_id(traceparent: str | None) -> str | None:
    """The id of the caller's trace (W3C Trace Context), by which lines of several processes belong together."""
    found = _TRACEPARENT.fullmatch(traceparent or "")
    return found[1] if found else None


def put_aside(path: Path) -> int:
    """Rename a log, in place of the one put aside before, and begin another; its descriptor.

    Raises:
        OSError: it cannot be done.
    """
    path.replace(aside_of(path))
    return open_private(path)


def aside_of(path: Path) -> Path:
    """Where a log is put aside."""
    return path.with_name(f"{path.name}.1")


def open_private(path: Path) -> int:
    """A descriptor to append to a file, which only this user reads.

    Raises:
        OSError: it cannot be opened, or is a link.
    """
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    # Whatever the umask, and whatever an earlier version made it.
    os.fchmod(handle, 0o600)
    return handle


class LogOutput:
    """Standard output for whole lines; what the loggers write to.

    Args:
        path: The file that standard output and standard error are; None for whatever they are.
        most_bytes: How large it may become.
    """

    def __init__(self, path: Path | None, most_bytes: int = MOST_BYTES) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        """Write a line with its end at once. One that cannot be written stops no work: it is lost."""
        data = text.encode("utf-8", "backslashreplace")
        with self._lock, suppress(OSError):
            while data:
                data = data[os.write(1, data) :]
            if self._path is not None and os.fstat(1).st_size > self._most_bytes:
                self._begin_anew(self._path)
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""

    def _begin_anew(self, path: Path) -> None:
        # Another process that shares the file may have put it aside already
        ours = os.path.samestat(path.stat(), os.fstat(1))
        handle = put_aside(path) if ours else open_private(path)
        for output in _OUTPUTS:
            os.dup2(handle, output)
        os.close(handle)


def configure(level: str = "INFO", renderer: Callable[..., str] = render) -> None:
    """Send structlog and the standard library's loggers through `renderer` to standard output.

    Of other libraries only warnings are told.
    """
    import structlog  # late: it costs more than all of `mcctl status`, which only reads lines

    sys.stdout.flush()
    path = os.environ.get(FILE_SETTING)
    output: Any = LogOutput(Path(path) if path else None)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.WriteLoggerFactory(output),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
