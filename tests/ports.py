"""Ports for the platforms that tests start: each test process chooses from a share of its own.

A platform takes most of its ports later than its first ones, and gives some up while a process of
it is started anew: that a port is free now is not enough where others choose beside it. So a
process that runs tests locks its share for as long as it lives, and a block that it has given out
is given to nobody else until it is given back.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

BLOCK = 80  # ports that one local platform may use, beginning with its edge
# Below those from which outgoing connections are given theirs: one of these took a port while its
# process was started anew
_LOWEST, _BLOCKS, _SHARES = 15_000, 12, 16

_given: set[int] = set()


@contextmanager
def free_block(blocks: int = 1) -> Iterator[int]:
    """The first of `BLOCK` ports, or of so many blocks in a row, which are nobody else's until the end."""
    first = take_block(blocks)
    try:
        yield first
    finally:
        _given.difference_update(_row(first, blocks))


def _row(first: int, blocks: int) -> range:
    return range(first, first + blocks * BLOCK, BLOCK)


def take_block(blocks: int = 1) -> int:
    """The first of `BLOCK` ports, which are nobody else's while this process lives.

    Raises:
        RuntimeError: no block is free.
    """
    for first in itertools.islice(_share(), _BLOCKS):
        row = _row(first, blocks)
        inside = (first - _LOWEST) // BLOCK % _BLOCKS + blocks <= _BLOCKS  # of this process's share
        if inside and _given.isdisjoint(row) and all(map(_free, range(first, row.stop))):
            _given.update(row)
            return first
    raise RuntimeError("no block of ports is free")


@cache
def _share() -> Iterator[int]:
    """The blocks of this process, in turn: each rests for as long as it can before it is reused."""
    for number in range(_SHARES):
        path = Path(tempfile.gettempdir()) / f"mc-test-ports-{os.getuid()}-{number}"
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            continue
        # The handle stays open: the lock ends with this process
        lowest = _LOWEST + number * _BLOCKS * BLOCK
        return itertools.cycle(range(lowest, lowest + _BLOCKS * BLOCK, BLOCK))
    raise RuntimeError(f"{_SHARES} test processes have all ports that tests may use")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: what connections of a former test leave behind is in nobody's way
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
