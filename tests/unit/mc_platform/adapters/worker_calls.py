"""What tests have worker processes do, apart from them: a worker imports this in no time."""

from __future__ import annotations

import os
import time
from pathlib import Path

_LONG_S = 600


def pid_after(_nothing: int) -> int:
    """Runs in a worker."""
    return os.getpid()


def busy_for_ever(path: str) -> None:
    """Runs in a worker, which never comes back by itself."""
    Path(path).write_text(str(os.getpid()), encoding="utf-8")
    ends_at = time.monotonic() + _LONG_S
    while time.monotonic() < ends_at:
        pass


def fail(secret: str) -> None:
    """Runs in a worker."""
    raise ValueError(secret)


def die() -> None:
    """Runs in a worker."""
    os._exit(9)
