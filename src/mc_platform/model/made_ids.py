"""Ids that a request needs several of: derived from a name, or random.

They are those of `uuid.uuid5`, `uuid.uuid4` and `secrets.token_urlsafe`, byte for byte in form and with
the same number of random bits, without an object and a system call for each.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode
from collections import deque
from collections.abc import Callable
from hashlib import sha1
from typing import Generic, TypeVar

T = TypeVar("T")
_AT_A_TIME = 64
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def derived_id(namespace: bytes, name: str) -> str:
    """The text of `uuid.uuid5(namespace, name)`, given the namespace's `bytes`."""
    # A digest that names, as RFC 9562 has it, and proves nothing
    digits = sha1(namespace + name.encode(), usedforsecurity=False).hexdigest()
    return _as_uuid(digits, "5")


def random_id() -> str:
    """The text of a `uuid.uuid4()`: 122 random bits."""
    return _as_uuid(_uuids.take().hex(), "4")


def random_token() -> str:
    """The text of a `secrets.token_urlsafe(12)`: 96 random bits in 16 URL-safe characters."""
    return _tokens.take()


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


def _texts() -> list[str]:
    # 12 bytes are 16 characters, with nothing left over: the whole may be cut where each ends
    whole = urlsafe_b64encode(os.urandom(12 * _AT_A_TIME)).decode()
    return [whole[at : at + 16] for at in range(0, len(whole), 16)]


_uuids = _Supply(_blocks)
_tokens = _Supply(_texts)
