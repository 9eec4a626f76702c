"""What tests of every kind share: free ports, and conditions that are waited for."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")
BLOCK = 64  # ports that one local platform may use, beginning with its edge


def _free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@pytest.fixture(scope="session")
def free_port_block() -> Callable[[], int]:
    """Gives the first of `BLOCK` ports, none of which is in use now."""

    def find() -> int:
        for _ in range(200):
            first = random.randrange(20000, 55000, BLOCK)
            if all(_free(first + offset) for offset in range(BLOCK)):
                return first
        raise RuntimeError("no free block of ports was found")

    return find


def until(condition: Callable[[], T], *, within_s: float = 20.0, what: str = "") -> T:
    """Poll until `condition` gives something true; fail by name when it never does."""
    deadline = time.monotonic() + within_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"never happened within {within_s:g} s: {what or condition}")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., object]:
    """`until`, for tests that cannot import this file."""
    return until
