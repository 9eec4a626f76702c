"""Hostile shapes of a message's parts, each of about the number of bytes that is asked for."""

from __future__ import annotations

import base64
import random
import string
from collections.abc import Callable
from typing import Any

Parts = list[dict[str, Any]]
_random = random.Random(7)  # the shapes matter, not their bytes


def _letters(size: int) -> str:
    return "".join(_random.choices(string.ascii_letters + "     ", k=size))


def _deep(size: int) -> Any:
    value: Any = "x"
    for _ in range(min(size // 8, 60)):
        value = {"a": [value]}
    return value


def _layers(size: int) -> str:
    text = b"pay marker 4111 1111 1111 1111 now"
    while len(text) < size:
        text = base64.b64encode(text)
    return text[:size].decode()


def _text(one: Callable[[int], str]) -> Callable[[int], Parts]:
    return lambda size: [{"text": one(size)}]


def _data(one: Callable[[int], Any]) -> Callable[[int], Parts]:
    return lambda size: [{"data": {"value": one(size)}}]


def _repeated(piece: str) -> Callable[[int], Parts]:
    return _text(lambda size: piece * (size // len(piece.encode())))


SHAPES: dict[str, Callable[[int], Parts]] = {
    "integers": _data(lambda size: list(range(size // 7))),
    "nulls": _data(lambda size: [None] * (size // 5)),
    "short-strings": _data(lambda size: ["ab"] * (size // 5)),
    "one-letter-strings": _data(lambda size: list("4111111111111111" * (size // 64))),
    "keys": _data(lambda size: {f"k{n}": n for n in range(size // 16)}),
    "objects": _data(lambda size: [{"name": "A B", "card": n} for n in range(size // 30)]),
    "deep": _data(_deep),
    "cards-in-parts": lambda size: [
        {"text": "card 4111 1111 1111 1111"} for _ in range(min(size // 40, 250))
    ],
    "letters": _text(_letters),
    "layers": _text(_layers),
    "at-signs": _repeated("*a*@"),
    "digits": _repeated("4 1-1.1"),
    "dates": _repeated("01.02.1990 "),
    "names": _repeated("Mr. John Smith "),
    "zero-width": _repeated("4\u200b1\u200d"),
    "homoglyphs": _repeated("р\u0430yp\u0430l "),
    "entities": _repeated("&#52;&#x31;"),
    "percent": _repeated("%34%31"),
    "tags": _repeated("<b>4</b>"),
    "keyed": _repeated("token: x1 "),
    "links": _repeated("http://a.b/c?d=e "),
    "quotes": _repeated("\\\"'`"),
    "ibans": _repeated("DE89 3704 "),
    "one-word": _repeated("a"),
}
