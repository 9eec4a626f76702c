"""Numbers as people write them: in settings, options and files, strictly; and in messages."""

from __future__ import annotations

import math
import re

_IES = re.compile(r"[^aeiou]y$")
_WHOLE = re.compile(r"-?[0-9]{1,30}")
_NUMBER = re.compile(r"-?(?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,3})?")


def whole_number(text: str) -> int:
    """The whole number that a text is: digits 0 to 9, a `-` before them, and nothing else.

    Python's own `int` takes `8_0` for 80, and blanks, a `+` and the digits of every script.

    Raises:
        ValueError: it is none; the message says what one is, and not what was given.
    """
    if not _WHOLE.fullmatch(text):
        raise ValueError("must be a whole number, such as 12")
    return int(text)


def number(text: str) -> float:
    """The number that a text is, with a `.` and an exponent at most; see `whole_number`.

    Raises:
        ValueError: it is none, or infinite; the message says what one is, and not what was given.
    """
    if not _NUMBER.fullmatch(text) or not math.isfinite(value := float(text)):
        raise ValueError("must be a number, such as 12 or 0.5")
    return value


def counted(number: float, noun: str) -> str:
    """`1 event`, `0 replies`, `1,200 events`; a noun of several words ends in what is counted."""
    if round(number) != 1:
        ending = "ies" if _IES.search(noun) else "es" if noun.endswith("s") else "s"
        noun = (noun[:-1] if ending == "ies" else noun) + ending
    return f"{number:,.0f} {noun}"


def duration(seconds: float) -> str:
    """A time in words: `4.2 s`, `1 min 30 s`, `2 h 5 min`."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    hours, minutes_left = divmod(minutes, 60)
    return f"{hours} h {minutes_left} min" if hours else f"{minutes} min {rest} s"
