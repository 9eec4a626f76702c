"""Ports for the platforms that tests start: each test worker chooses from a share of its own.

A platform takes most of its ports later than its first ones, and gives some up while a process of
it is started anew: that a port is free now is not enough where others choose beside it.
"""

from __future__ import annotations

import os
import random
import socket

BLOCK = 80  # ports that one local platform may use, beginning with its edge
# Below those from which outgoing connections are given theirs: one of these took a port while its
# process was started anew
_PORTS, _WORKERS = (15_000, 32_000), 8


def free_port_block() -> int:
    """The first of `BLOCK` ports, none of which is in use now."""
    lowest, highest = _share()
    for _ in range(200):
        # Not from a run's seed: two runs with one seed may happen side by side
        first = random.SystemRandom().randrange(lowest, highest - BLOCK, BLOCK)
        if all(_free(first + offset) for offset in range(BLOCK)):
            return first
    raise RuntimeError("no free block of ports was found")


def _share() -> tuple[int, int]:
    """All of them for who has no workers beside it; what a worker starts is in its share, too."""
    worker = os.environ.get("PYTEST_XDIST_WORKER")
    if worker is None:
        return _PORTS
    size = (_PORTS[1] - _PORTS[0]) // _WORKERS
    lowest = _PORTS[0] + int(worker.removeprefix("gw")) % _WORKERS * size
    return lowest, lowest + size


def _free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: what connections of a former test leave behind is in nobody's way
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
