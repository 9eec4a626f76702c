"""One spelling for one JSON value, so that a digest of it means something.

The output is RFC 8785 (JCS): no whitespace, keys sorted by UTF-16 code units, the shortest string
escapes, floats as ECMAScript prints them, UTF-8. It holds for `None`, `bool`, `str`, `float`,
`list`/`tuple`, `dict` with `str` keys, and `int` up to 2**53 - 1 in size. A larger integer is
written out exactly, where RFC 8785 would round it to a double: still one spelling, but only here;
write such a number as a string if others must agree.

Refused: NaN and infinities (no JSON), lone surrogates (no UTF-8), keys that are not strings, and
every other type. Nothing is coerced: a silent `str(key)` would let two values share one spelling.
`decode_base64` takes bytes by their one spelling as well, and `same_value` compares what was read.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from json.encoder import encode_basestring
from typing import Final, TypeAlias

import msgspec

from mc_contract.errors import McError
from mc_contract.plain import plain_json

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

# ECMAScript switches to exponent form outside 1e-7 <= |x| < 1e21
_MAX_PLAIN_EXPONENT = 21
_MIN_PLAIN_EXPONENT = -6
# Two machines may round the last digits of a percentile or a logarithm differently
FLOAT_TOLERANCE = 1e-9


# Its spelling of plain values is the canonical one; a test compares both ways of writing
_encode_plain: Final = msgspec.json.Encoder(order="sorted").encode
_ABOVE_U_FFFF: Final = re.compile(rb"[\xf0-\xf4]")
_PLAIN_DEPTH, _PLAIN_VALUES = 64, 1_000_000  # beyond, the careful way is as good


class NotCanonical(McError):
    """The value has no canonical JSON form, or the text is not the canonical base64 of its bytes."""

    code = "not-canonical"


def canonical_json(value: object) -> bytes:
    """The one canonical JSON spelling of `value`, as UTF-8 bytes.

    Args:
        value: Anything of the types that the module's docstring lists.

    Returns:
        The bytes to hash or sign; `json.loads` of them gives a value with the same spelling (a
        float without a fraction comes back as an int).

    Raises:
        NotCanonical: for any value without such a spelling; the message names its path.
    """
    plain = plain_canonical_json(value)
    if plain is not None:
        return plain
    out: list[str] = []
    _write(value, out, None)
    text = "".join(out)
    try:
        return text.encode()
    except UnicodeEncodeError as cause:
        raise NotCanonical("a string holds a lone surrogate, which UTF-8 can't carry") from cause


def plain_canonical_json(value: object) -> bytes | None:
    """The same of a value that is plain (`mc_contract.plain`), at once; None: it is not."""
    plain = plain_json(value, _encode_plain, most_depth=_PLAIN_DEPTH, most_values=_PLAIN_VALUES)
    # The encoder sorts by code points, RFC 8785 by UTF-16: the same below U+10000
    if plain is None or plain.isascii() or _ABOVE_U_FFFF.search(plain) is None:
        return plain
    return None


def encode_base64(raw: bytes) -> str:
    """The canonical standard base64 spelling of `raw` (RFC 4648)."""
    return base64.b64encode(raw).decode()


def decode_base64(text: str) -> bytes:
    """The bytes of `text`, if it is their one canonical standard base64 spelling (RFC 4648).

    Raises:
        NotCanonical: other alphabets, white space, missing padding, or stray trailing bits.
    """
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as cause:
        raise NotCanonical("malformed base64") from cause
    if encode_base64(value) != text:
        raise NotCanonical("base64 is not in its one canonical form")
    return value


def same_value(claimed: Json, computed: Json) -> bool:
    """Equal in type and value; floats within a relative 1e-9 (`FLOAT_TOLERANCE`)."""
    if isinstance(claimed, bool) or isinstance(computed, bool):
        return claimed is computed
    if isinstance(claimed, int | float) and isinstance(computed, int | float):
        if isinstance(claimed, int) and isinstance(computed, int):
            return claimed == computed
        return math.isclose(claimed, computed, rel_tol=FLOAT_TOLERANCE, abs_tol=0.0)
    if isinstance(claimed, list) and isinstance(computed, list):
        return len(claimed) == len(computed) and all(map(same_value, claimed, computed))
    if isinstance(claimed, dict) and isinstance(computed, dict):
        return claimed.keys() == computed.keys() and all(
            same_value(claimed[key], computed[key]) for key in claimed
        )
    return type(claimed) is type(computed) and claimed == computed


_Path: TypeAlias = "tuple[_Path, str] | None"
"""Where a value stands: its parent's path and the last part; spelled only in an error."""


def _spelled(path: _Path) -> str:
    parts: list[str] = []
    while path is not None:
        path, part = path
        parts.append(part)
    return "$" + "".join(reversed(parts))


def _write(value: object, out: list[str], path: _Path) -> None:
    if isinstance(value, str):
        out.append(encode_basestring(value))
    elif value is None or isinstance(value, bool):
        out.append("null" if value is None else "true" if value else "false")
    elif isinstance(value, int):
        out.append(int.__repr__(value))
    elif isinstance(value, float):
        out.append(_ecmascript_number(value, path))
    elif isinstance(value, dict):
        _write_object(value, out, path)
    elif isinstance(value, list | tuple):
        opening = "["
        for index, item in enumerate(value):
            out.append(opening)
            _write(item, out, (path, f"[{index}]"))
            opening = ","
        out.append("]" if value else "[]")
    else:
        raise NotCanonical(
            f"{_spelled(path)} is a {type(value).__name__}, which JSON does not know"
        )


def _write_object(value: dict[object, object], out: list[str], path: _Path) -> None:
    keys: list[str] = []
    for key in value:
        if not isinstance(key, str):
            raise NotCanonical(f"{_spelled(path)} has the key {key!r}, expected a string")
        keys.append(key)
    # RFC 8785 section 3.2.3: UTF-16 code units, which differ from code points above U+FFFF
    keys.sort(key=None if all(map(str.isascii, keys)) else _utf16)
    opening = "{"
    for key in keys:
        out.append(f"{opening}{encode_basestring(key)}:")
        _write(value[key], out, (path, f".{key}"))
        opening = ","
    out.append("}" if keys else "{}")


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")


def _ecmascript_number(value: float, path: _Path) -> str:
    """`value` as ECMA-262 Number::toString prints it (RFC 8785 section 3.2.2.3)."""
    if not math.isfinite(value):
        raise NotCanonical(f"{_spelled(path)} is {value!r}, which JSON does not know")
    if value == 0:
        return "0"  # also -0.0
    sign = "-" if value < 0 else ""
    # Python's repr has the same shortest digits; only the layout differs
    mantissa, _, exponent = float.__repr__(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= _MAX_PLAIN_EXPONENT:
        return sign + digits + "0" * (point - count)
    if 0 < point <= _MAX_PLAIN_EXPONENT:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if _MIN_PLAIN_EXPONENT < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if count > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1:+d}"
