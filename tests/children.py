"""Programs that tests start: they end with the test, and begin with no signal ignored."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def child(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """As `with subprocess.Popen(...)`, but a failure within kills it, where that one waits for its end.

    Under `nohup` a child would ignore SIGHUP as well; here it has the default.
    """
    hangup = signal.getsignal(signal.SIGHUP)
    if hangup is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)  # what is handled is the default after exec
    try:
        started = subprocess.Popen(command, **options)
    finally:
        signal.signal(signal.SIGHUP, hangup)
    with started:
        try:
            yield started
        except BaseException:
            started.kill()
            raise
