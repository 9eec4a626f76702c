"""Ids that a request needs several of: derived from a name, or random.

The first two are those of `uuid.uuid5` and `uuid.uuid4`, byte for byte in form and with the same number of
random bits, without an object and a system call for each.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import deque
from collections.abc import Callable
from hashlib import sha1
from typing import Generic, TypeVar

T = TypeVar("T")
_AT_A_TIME = 64
_MOST_SECOND = 2**32 - 1  # in 2106
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def derived_id(namespace: bytes, name: str) -> str:
    """The text of `uuid.uuid5(namespace, name)`, given the namespace's `bytes`."""
    # A digest that names, as RFC 9562 has it, and proves nothing
    digits = sha1(namespace + name.encode(), usedforsecurity=False).hexdigest()
    return _as_uuid(digits, "5")


def random_id() -> str:
    """The text of a `uuid.uuid4()`: 122 random bits."""
    return _as_uuid(_uuids.take().hex(), "4")


def timed_token(second: int) -> str:
    """16 URL-safe characters: a second since 1970 in 32 bits, then 64 random bits."""
    return urlsafe_b64encode((second & _MOST_SECOND).to_bytes(4, "big") + _tails.take()).decode()


def second_of(token: str) -> int | None:
    """The second that a `timed_token` was made with; None: it has another form."""
    try:
        return int.from_bytes(urlsafe_b64decode(token)[:4], "big") if len(token) == 16 else None
    except ValueError:
        return None


def _as_uuid(digits: str, version: str) -> str:
    return (
        f"{digits[:8]}-{digits[8:12]}-{version}{digits[13:16]}-"
        f"{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:32]}"
    )


class _Supply(Generic[T]):
    """Random values made many at a time; each is given once, in any thread and after a fork."""

    def __init__(self, make: Callable[[], list[T]]) -> None:
        self._make = make
        self._left: deque[T] = deque()
        # Else a process and its children would give the same ones
        os.register_at_fork(after_in_child=self._left.clear)

    def take(self) -> T:
        """One that nobody has."""
        try:
            return self._left.pop()
        except IndexError:
            made = self._make()
            self._left.extend(made[1:])
            return made[0]


def _blocks() -> list[bytes]:
    whole = os.urandom(16 * _AT_A_TIME)
    return [whole[at : at + 16] for at in range(0, len(whole), 16)]


def _eights() -> list[bytes]:
    whole = os.urandom(8 * _AT_A_TIME)
    return [whole[at : at + 8] for at in range(0, len(whole), 8)]


_uuids = _Supply(_blocks)
_tails = _Supply(_eights)
