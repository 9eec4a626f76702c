"""JSON that can be kept: read with its exact values, and checked against what every reader shows.

What enters a row is read again for years, by readers of several kinds: clients with the official
SDKs (which hold numbers as doubles and nest through protobuf), JSON parsers, PostgreSQL. So a value
is checked once, before it is kept:

    integers      exact, at most 308 digits: beyond that they are outside a double's range
    decimals      exact: a `float` where it holds every digit, else a `decimal.Decimal`; in a
                  double's range, so neither `1e400` nor what a double would make 0 of
    strings       no NUL, no half of a surrogate pair
    nesting       at most 32 lists and objects within each other
    count         at most 250,000 values
    keys          strings, each once in an object
    raw           base64 as proto3 JSON has it (`is_base64`)

`1` stays an integer and `1.0` a decimal; `-0` is the integer 0, as JSON readers have it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Container, Mapping
from decimal import Decimal
from typing import Any, Final

import msgspec

from mc_contract.errors import McError
from mc_contract.plain import plain_json

MOST_DIGITS: Final = 308
MOST_DEPTH: Final = 32
MOST_VALUES: Final = 250_000
_FIRST_ABOVE = 10**MOST_DIGITS
_LONGEST_PATH = 12  # parts of a path that are told
_SURELY_FITS = 15  # digits that every double holds
_TOO_LONG = f"is a number of more than {MOST_DIGITS} digits", "number too long"
_OUT_OF_RANGE = "is a number outside a double's range", "number out of range"

# Digits and points become 0, exponents e and their signs -: so a few searches at the speed of memory
# tell whether a text may hold a number that a double does not
_SHAPES: Final = bytes.maketrans(
    bytes(range(256)),
    bytes(
        ord({"e": "e", "E": "e", "+": "-", "-": "-"}.get(chr(byte), " "))
        if chr(byte) not in "0123456789."
        else ord("0")
        for byte in range(256)
    ),
)
_LONG: Final = (b"0" * (_SURELY_FITS + 2), b"0" * (_SURELY_FITS + 1) + b"e", b"e000", b"e-000")
_CONTAINERS: Final = frozenset({dict, list, tuple})
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/_-]{4})*(?:[A-Za-z0-9+/_-]{2,3})?")
_KEY_END = re.compile(rb'"[ \t\n\r]*:')
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")
_LONGEST_EXPLAINED: Final = 65_536  # decoding half pairs takes 0.2 s a mebibyte
_encode = msgspec.json.Encoder(decimal_format="number").encode


class NotKeepable(McError):
    """A value that some reader could not show.

    Attributes:
        path: Where it stands: keys and indices from the outermost value.
        why: What is wrong with it, a clause that begins with a verb.
        kind: The same in two or three words of a-z.
    """

    code = "not-keepable"

    def __init__(self, path: tuple[str | int, ...], why: str, kind: str) -> None:
        self.path = path
        self.why = why
        self.kind = kind
        super().__init__(f"{self.where()} {why}")

    def within(self, *path: str | int) -> NotKeepable:
        """The same, of a value that stands at `path` in a larger one."""
        return NotKeepable((*path, *self.path), self.why, self.kind)

    def where(self, known: Container[str] | None = None) -> str:
        """The path as text; a key that is no plain word is `*`.

        Args:
            known: The keys that may be told, where the others are somebody's content.
        """
        text = ""
        for part in self.path[:_LONGEST_PATH]:
            if isinstance(part, int):
                text += f"[{part}]"
            else:
                told = _PLAIN_KEY.fullmatch(part) and (known is None or part in known)
                shown = part if told else "*"
                text += f".{shown}" if text else shown
        if len(self.path) > _LONGEST_PATH:
            text += "..."
        return text or "the value"


class NotJson(NotKeepable):
    """The text is no JSON at all."""

    code = "not-json"

    def __init__(self, why: str, kind: str = "not json") -> None:
        super().__init__((), why, kind)


def read_json(raw: bytes | str, *, most_depth: int = MOST_DEPTH, recorded: bool = False) -> Any:
    """The value that `raw` spells, with every number as it was written.

    Args:
        raw: UTF-8 text.
        most_depth: Lists and objects within each other.
        recorded: It was recorded before; a NUL, which is no longer taken, is then read.

    Raises:
        NotJson: it is no JSON.
        NotKeepable: it is, and holds what is not kept; the first such place is named.
    """
    data = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else raw
    if data.count(b",") > MOST_VALUES:  # told before anything is made of it
        raise NotKeepable((), f"has more than {MOST_VALUES} values", "too many values")
    if not _suspicious(data, nul=not recorded):
        try:
            value = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            pass  # the careful way finds out why
        else:
            if _has_keys(data, check_shape(value, most_depth=most_depth)):
                return value
    return _read_carefully(data, most_depth, nul=recorded)


def read_recorded(text: str) -> Any:
    """What `json_text` wrote, or another program of ours, without any check but that it is JSON."""
    return json.loads(text, parse_float=_recorded_number)


def _recorded_number(text: str) -> float | Decimal:
    number = _number(text)
    return float(text) if isinstance(number, _Bad) else number


def is_base64(text: str) -> bool:
    """Whether every reader finds the same bytes in `text`, as proto3 JSON has them.

    Either alphabet, with its padding or without. Python's decoder passes over what is no base64,
    so that `%%%` would be taken for an empty file, and others refuse the whole answer.
    """
    bare = text.rstrip("=")
    padding = len(text) - len(bare)
    return _BASE64.fullmatch(bare) is not None and padding in (0, -len(bare) % 4)


def check_shape(value: Any, *, most_depth: int = MOST_DEPTH, most_values: int = MOST_VALUES) -> int:
    """See that a value is not nested too deep, nor has too many values within; nothing else.

    Returns:
        How many members all its objects have.

    Raises:
        NotKeepable: the path is that of the first container that is too deep.
    """
    if type(value) not in _CONTAINERS:
        return 0
    level: list[Any] = [value]
    depth = count = members = 0
    while level:
        depth += 1
        if depth > most_depth:
            raise NotKeepable(
                _first_at(value, most_depth),
                f"is nested deeper than {most_depth}",
                "nested too deep",
            )
        inner: list[Any] = []
        for container in level:
            count += len(container)
            items = container
            if type(container) is dict:
                members += len(container)
                items = container.values()
            if not _CONTAINERS.isdisjoint(map(type, items)):
                inner += [item for item in items if type(item) in _CONTAINERS]
        if count > most_values:
            raise NotKeepable((), f"has more than {most_values} values", "too many values")
        level = inner
    return members


def check_keys(data: bytes, value: Any, *, most_values: int, most_depth: int = MOST_DEPTH) -> None:
    """See that no key stands twice in its object, which most readers pass over; nor that it is too deep.

    Args:
        data: JSON text.
        value: What a reader made of it.
        most_values: Values within it.

    Raises:
        NotKeepable: one does; the path is not told.
    """

    def once(pairs: list[tuple[str, Any]]) -> None:
        if len(dict(pairs)) < len(pairs):
            raise NotKeepable((), "has a key that stands twice in its object", "key twice")

    members = check_shape(value, most_depth=most_depth, most_values=most_values)
    if not _has_keys(data, members):
        json.loads(data, object_pairs_hook=once, parse_int=str, parse_float=str)


def check_keepable(
    value: Any, path: tuple[str | int, ...] = (), *, most_depth: int = MOST_DEPTH
) -> None:
    """See that a value, however it was made, can be kept.

    Raises:
        NotKeepable: naming the first place that cannot be.
    """
    if plain_json(value, _encode, most_depth=most_depth, most_values=MOST_VALUES) is None:
        _check(value, path, len(path) + most_depth)


def json_bytes(value: Any) -> bytes:
    """A keepable value as UTF-8 JSON, every number exactly as it is."""
    return _encode(value)


def json_text(value: Any) -> str:
    """A keepable value as JSON text, every number exactly as it is."""
    return _encode(value).decode()


def checked_text(value: Any, *, most_depth: int = MOST_DEPTH) -> str:
    """A value as JSON text, if it can be kept.

    Raises:
        NotKeepable: naming the first place that cannot be.
    """
    text = plain_json(value, _encode, most_depth=most_depth, most_values=MOST_VALUES)
    if text is not None and text.count(b",") <= MOST_VALUES:
        return text.decode()
    try:
        text = _encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError):  # of Unicode, too
        check_keepable(value, most_depth=most_depth)
        raise
    if b"null" in text:  # so the encoder writes NaN and infinity, too
        check_keepable(value, most_depth=most_depth)
    read_json(text, most_depth=most_depth)
    return text.decode()


class _Bad:
    """Stands for what is not kept until its place is known."""

    def __init__(self, why: str, kind: str, *inner: str) -> None:
        self.why = why
        self.kind = kind
        self.inner = inner


def _suspicious(data: bytes, *, nul: bool) -> bool:
    """Whether what msgspec makes of it may differ from what is written, or is not kept."""
    if nul and b"\\u0000" in data:
        return True
    # Digests and ids often look like such numbers, so strings are left out before it is believed
    return _has_long_number(data) and _has_long_number(b" ".join(_unescaped(data).split(b'"')[::2]))


def _has_keys(data: bytes, members: int) -> bool:
    """Whether the text surely has as many keys as its objects have members.

    If there are more, a key stands twice, or a string begins or ends as a key does.
    """
    return members == len(_KEY_END.findall(data)) or (
        b"\\" in data and members == len(_KEY_END.findall(_unescaped(data)))
    )


def _has_long_number(data: bytes) -> bool:
    shapes = data.translate(_SHAPES)
    long, small, large, tiny = _LONG
    return long in shapes or small in shapes or large in shapes or tiny in shapes


def _unescaped(data: bytes) -> bytes:
    """JSON text without escaped quotes and backslashes: each quote left begins or ends a string."""
    return data.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in data else data


def _read_carefully(data: bytes, most_depth: int, *, nul: bool) -> Any:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        if len(data) > _LONGEST_EXPLAINED:
            raise NotJson(f"is not UTF-8 at byte {error.start}") from None
        try:  # half of a surrogate pair of a str that was given
            text = data.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise NotJson(f"is not in UTF-8 (byte {error.start})", "not in utf-8") from None
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_float=_number,
            parse_constant=_refuse_constant,
            parse_int=_int,
        )
    except RecursionError:
        raise NotKeepable((), f"is nested deeper than {most_depth}", "nested too deep") from None
    except json.JSONDecodeError as error:
        raise NotJson(f"is not JSON: {error.msg} at character {error.pos}") from None
    check_shape(value, most_depth=most_depth)
    _check(value, (), most_depth, nul=nul)
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Bad:
    made = dict(pairs)
    if len(made) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                return _Bad("stands twice in its object", "key twice", key)
            seen.add(key)
    return made


def _int(text: str) -> int | _Bad:
    if len(text.lstrip("-")) > MOST_DIGITS:
        return _Bad(*_TOO_LONG)
    return int(text)


def _number(text: str) -> float | Decimal | _Bad:
    near = float(text)
    if len(text) <= _SURELY_FITS and "e" not in text and "E" not in text:
        return near
    mantissa = text.lower().partition("e")[0].strip("-0.")
    if math.isinf(near) or (near == 0 and mantissa):
        return _Bad(*_OUT_OF_RANGE)
    if len(mantissa) > MOST_DIGITS:
        return _Bad(*_TOO_LONG)
    if near == 0:
        return near
    exact = Decimal(text)
    return near if Decimal(repr(near)) == exact else exact


def _refuse_constant(name: str) -> Any:
    raise NotJson(f"is not JSON: {name} is no number")


def _check(value: Any, path: tuple[str | int, ...], deepest: int, *, nul: bool = False) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, _Bad):
        raise NotKeepable((*path, *value.inner), value.why, value.kind)
    if isinstance(value, str):
        _check_text(value, path, "holds", nul=nul)
    elif isinstance(value, int):
        if not -_FIRST_ABOVE < value < _FIRST_ABOVE:
            raise NotKeepable(path, *_TOO_LONG)
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise NotKeepable(path, *_OUT_OF_RANGE)
    elif isinstance(value, Decimal):
        _check_decimal(value, path)
    elif isinstance(value, Mapping | list | tuple) and len(path) >= deepest:
        raise NotKeepable(path, "is nested too deep", "nested too deep")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise NotKeepable(
                    path, f"has a key of type {type(key).__name__}, not a string", "key no text"
                )
            _check_text(key, (*path, key), "has a key with", nul=nul)
            _check(inner, (*path, key), deepest, nul=nul)
    elif isinstance(value, list | tuple):
        for at, inner in enumerate(value):
            _check(inner, (*path, at), deepest, nul=nul)
    else:
        raise NotKeepable(
            path, f"is of type {type(value).__name__}, which JSON does not know", "not json"
        )


def _check_text(text: str, path: tuple[str | int, ...], holds: str, *, nul: bool = False) -> None:
    if "\0" in text and not nul:
        raise NotKeepable(path, f"{holds} a NUL character", "nul character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotKeepable(
            path, f"{holds} half of a surrogate pair", "half a surrogate pair"
        ) from None


def _check_decimal(value: Decimal, path: tuple[str | int, ...]) -> None:
    if len(value.as_tuple().digits) > MOST_DIGITS:
        raise NotKeepable(path, *_TOO_LONG)
    if not value.is_finite() or math.isinf(float(value)) or (value and not float(value)):
        raise NotKeepable(path, *_OUT_OF_RANGE)


def _first_at(value: Any, depth: int) -> tuple[str | int, ...]:
    """The path of the first container that has `depth` others around it."""
    waiting: list[tuple[Any, tuple[str | int, ...]]] = [(value, ())]
    while waiting:
        container, path = waiting.pop()
        if len(path) == depth:
            return path
        items = container.items() if isinstance(container, dict) else enumerate(container)
        inner = [(item, (*path, at)) for at, item in items if type(item) in _CONTAINERS]
        waiting += reversed(inner)
    return ()
