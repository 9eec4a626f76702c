"""Signals that must not cut a birth or a clean-up in two."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any

from mc_ops.errors import Declined


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C, SIGTERM and SIGHUP back until the block is through: a birth, a clean-up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[int, Any]] = []
    before = {
        int(number): signal.signal(number, lambda *event: held.append(event))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # nohup: it stays ignored
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for number, _ in held[:1]:
            signal.raise_signal(number)


@contextlib.contextmanager
def ended_like_interrupted(message: str) -> Iterator[None]:
    """Treat SIGTERM and a closed terminal like Ctrl-C, so that the block cleans up or keeps what it has.

    Raises:
        Declined: the block was interrupted; the error says `message`.
    """
    endings = (signal.SIGTERM, signal.SIGHUP)

    def interrupt(*_: object) -> None:
        for number in endings:  # a closed terminal may send more than one, into the clean-up
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt)
        for number in endings
        if signal.getsignal(number) is not signal.SIG_IGN  # nohup: it stays ignored
    }
    try:
        yield
    except KeyboardInterrupt:
        raise Declined(message) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
