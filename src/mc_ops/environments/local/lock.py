"""The lock that keeps two calls of mcctl from changing one platform at once."""

from __future__ import annotations

import contextlib
import fcntl
import time
from collections.abc import Iterator
from pathlib import Path

from mc_ops.environments.interface import Say
from mc_ops.errors import CouldNotTell

_TIMEOUT_S = 120.0
_POLL_S = 0.1


@contextlib.contextmanager
def held(path: Path, say: Say) -> Iterator[None]:
    """Hold the lock of that file, waiting for another mcctl.

    Raises:
        CouldNotTell: another one has held it for too long.
    """
    with path.open("w") as file:
        deadline = time.monotonic() + _TIMEOUT_S
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise CouldNotTell(
                        f"another mcctl has been changing this platform for {_TIMEOUT_S:g} s",
                        hint="wait for it, or end it",
                    ) from None
                if not told:
                    say("another mcctl is changing this platform; waiting for it")
                    told = True
                time.sleep(_POLL_S)
        yield
