"""A JSON reader for documents from strangers: bounded before it reads, and no second meanings.

`json.loads` takes the last of two equal keys, knows NaN, and recurses as deep as it is told; two
readers of one pack could then see two packs. What is refused here is refused before any meaning
is given to the document. `artifact_name_problem` guards another place where one thing could be
spelled in two ways.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import NoReturn

from mc_contract.canonical import Json
from mc_contract.errors import McError


class Malformed(McError):
    """The document is not the plain, bounded JSON that it must be."""

    code = "malformed"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a document is looked at; checked before it is parsed.

    Attributes:
        max_bytes: Size of the document.
        max_depth: Nesting of objects and arrays.
        max_tokens: Strings, brackets and commas together.
    """

    max_bytes: int
    max_depth: int
    max_tokens: int


PACK_LIMITS = Limits(max_bytes=64 * 1024 * 1024, max_depth=12, max_tokens=20_000)
ARTIFACT_LIMITS = Limits(max_bytes=16 * 1024 * 1024, max_depth=32, max_tokens=500_000)
MAX_NAME_CHARS = 200
MAX_INT_CHARS = 100

# The closing quote may be missing, so that an unfinished string costs one pass and not one for
# each quote in it; possessive for the same reason.
_TOKEN = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+("?)|[\[{]|[\]}]|,', re.DOTALL)
_NAME_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


def parse_json(raw: bytes, limits: Limits = ARTIFACT_LIMITS) -> Json:
    """The value that `raw` spells.

    Raises:
        Malformed: not UTF-8 JSON; larger, deeper or longer than `limits`; or with duplicate keys,
            NaN or infinite numbers, or lone surrogates.
    """
    if len(raw) > limits.max_bytes:
        raise Malformed(f"document has {len(raw)} bytes, limit {limits.max_bytes}")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as cause:
        raise Malformed(f"document is not UTF-8 at byte {cause.start}") from cause
    _bound(text, limits)
    try:
        value: Json = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
        if "\\u" in text:  # the only way in for half a surrogate pair
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as cause:
        raise Malformed("document has half of a surrogate pair") from cause
    except (ValueError, RecursionError) as cause:  # also an integer of thousands of digits
        raise Malformed(f"document is not JSON: {cause}") from cause
    return value


def _bound(text: str, limits: Limits) -> None:
    depth = 0
    for tokens, match in enumerate(_TOKEN.finditer(text), start=1):
        token = match[0]
        if token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1
        elif token[0] == '"' and not match[1]:
            raise Malformed("document ends inside a string")
        if depth > limits.max_depth:
            raise Malformed(f"document nests deeper than {limits.max_depth}")
        if tokens > limits.max_tokens:
            raise Malformed(f"document has more than {limits.max_tokens} values")


def _unique_keys(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for name, value in pairs:
        if name in found:
            raise Malformed(f"document has the key {name[:80]!r} twice in one object")
        found[name] = value
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise Malformed(f"document holds {name}, which JSON does not know")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise Malformed(f"document holds the number {text[:20]}, which is out of range")
    return value


def _bounded(text: str) -> int:
    if len(text) > MAX_INT_CHARS:  # beyond a double, comparing with a float would overflow
        raise Malformed(f"document holds an integer of {len(text)} characters")
    return int(text)


def artifact_name_problem(name: str) -> str | None:
    """Why `name` can't name an artefact, or None.

    Names are relative paths of plain ASCII parts, so that they can be written to any disk without
    leaving the folder, and no two differ only in Unicode form. `colliding_names` does the rest.
    """
    if not 0 < len(name) <= MAX_NAME_CHARS:
        return f"has {len(name)} characters, expected 1 to {MAX_NAME_CHARS}"
    for part in name.split("/"):
        if not _NAME_PART.fullmatch(part) or part.endswith("."):
            return "is not a relative path of plain parts (letters, digits, '.', '_', '-')"
    return None
