"""JSON values that are plain: every encoder and every reader agrees about them, at once.

Most of what is recorded is plain, so it need not be walked value by value in Python: one pass of native
code sees that. What is not plain may still be good; the careful way tells.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from marshal import dumps
from typing import Annotated, Any, Final

import msgspec

_LARGEST: Final = 2**53 - 1
_DEPTH: Final = 7  # of the type below, which doubles with each
_CONTAINERS: Final = frozenset({dict, list, tuple})
_REFUSED: Final = (TypeError, ValueError, OverflowError, AttributeError, RecursionError)


def plain_json(
    value: Any, encode: Callable[[Any], bytes], *, most_depth: int, most_values: int
) -> bytes | None:
    """A list, tuple or object as JSON if it is surely good; None if the careful way has to tell.

    All values are of the built-in types, without floats, and without tuples but the outermost; integers
    are below 2**53 in size; no string holds a NUL or half of a surrogate pair; lists and objects are at most
    7 deep in each other, and hold `most_values` at most.

    Args:
        value: What is to be written.
        encode: A method of msgspec's encoder.
        most_depth: Lists and objects within each other; what may not be 7 deep is never plain here.
        most_values: Values within all of them.
    """
    kind = type(value)
    if kind not in _CONTAINERS or most_depth < _DEPTH:
        return None
    if kind is tuple:
        value = list(value)
    try:
        raw = encode(value)
        # A value takes two bytes with its comma or bracket, so a short text needs no counting
        if len(raw) > 2 * most_values and sum(map(raw.count, (b",", b"[", b"{"))) > most_values:
            return None
        if b"\\u0000" in raw:
            return None
        # Sets and tuples are taken for lists, but are not equal to them. Whatever derives from a
        # built-in type is taken for it, and may be equal: marshal refuses it
        if _checked()({"value": value}).value != value:
            return None
        dumps(value, 2)  # in the version without references, as the cheapest
    except _REFUSED:
        return None
    return raw


@lru_cache(maxsize=1)
def _checked() -> Callable[[Any], Any]:
    """What makes an object with a plain value of one with a value; made at first use, in 5 ms.

    Raises (what is returned):
        msgspec.ValidationError: it is not plain.
    """
    scalar: Any = None | bool | str | Annotated[int, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]
    plain = scalar
    for _ in range(_DEPTH):
        plain = scalar | list[plain] | dict[str, plain]  # type: ignore[valid-type] # a value
    box = msgspec.defstruct("Box", [("value", plain)])
    return partial(msgspec.convert, type=box)
