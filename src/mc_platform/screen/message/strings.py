"""The strings of a message: every one that a reader could get to see, with its place.

A leaf's path is the part's index followed by keys and indices. A key of an object is a leaf too;
its path ends in `KEY` (no list has an index below 0).
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from mc_platform.model.label import Part, Path
from mc_platform.screen.findings import OPAQUE_FILE, SCREENING_LIMIT, Budget, LimitReached
from mc_platform.screen.rules import rule_file, squash

KEY = -1
MAX_DEPTH = 64
_MAX_INT_BITS = 4096
_BETWEEN = "\x1f"
_NAME_KEYS, _VALUE_KEYS = map(rule_file("common").words, ("name-keys", "value-keys"))
_MOST_NAMING, _NAME_CHARS = 8, 64
# Work of a part, a list or an object, and each value in it: walked over, and held against its
# neighbours.
_PART_WORK, _NODE_WORK, _VALUE_WORK = 4, 2, 3
# From here on a number's whole part is long enough for a card.
_LONG_WHOLE = 1e11
_CHARSET = re.compile(r";\s*charset\s*=\s*[\"']?([^\s;\"']*)", re.IGNORECASE)
_TEXT_TYPE = re.compile(
    r"(?i)\s*(?:text/|(?:application|image|message|model)/(?:[\w.\-]+\+(?:json|xml|yaml)"
    r"|(?:x-)?(?:json|ndjson|jsonl|json-lines|json5|xml|yaml|yml|csv|tsv|toml|markdown|javascript"
    r"|ecmascript|typescript|sql|sh|python|graphql|x-www-form-urlencoded))\s*(?:;|\Z))"
)
_READABLE = frozenset({"utf-8", "utf8", "ascii", "us-ascii", ""})
# UTF-7 is ASCII that a reader may decode to something else: its mark, or a page that names it.
_UTF7 = re.compile(r"\A\s*\+/v|(?i:charset|encoding)\s*=\s*[\"']?\s*(?i:utf-?7)")
_UTF7_WITHIN = 4096
_SURROGATE = re.compile("[\ud800-\udfff]")
# The keys of A2A itself; what else stands at a part's top is the sender's, and is looked at.
_PART_KEYS = frozenset(
    {"text", "data", "raw", "url", "filename", "mediaType", "metadata", "kind", "file"}
)


@dataclass(slots=True)
class Leaf:
    """One string; whatever is looked at is a leaf first.

    It is never changed; freezing it would cost more than all else that a short string costs.

    Attributes:
        path: Where it stands.
        text: What it says; a number's digits; a text file's decoded content. A lone surrogate,
            which JSON may hold but no encoding and no re2 takes, is U+FFFD; places stay.
        context: The nearest keys above it, two at most: `{"ssn": "..."}` tells what the value is.
        verdict: A label for the whole if it cannot be looked into, else empty.
        is_number: Whether a number was sent, and no string.
    """

    path: Path
    text: str
    context: str = ""
    verdict: str = ""
    is_number: bool = False

    def __post_init__(self) -> None:
        """Make the strings such that every library can take them."""
        if not self.text.isascii():
            self.text = _SURROGATE.sub("\ufffd", self.text)
        if not self.context.isascii():
            self.context = _SURROGATE.sub("\ufffd", self.context)


def leaves(parts: Sequence[Part], budget: Budget | None = None) -> list[Leaf]:
    """Every string of the parts, in order.

    Args:
        parts: A2A parts in JSON form.
        budget: What is paid for each value. The part in which it ends, and each after it, is one
            leaf that holds nothing and is labelled as a whole.
    """
    return walked(parts, budget).found


def walked(parts: Sequence[Part], budget: Budget | None = None) -> Walk:
    """The same, with what it cost."""
    walk = Walk(budget)
    for index, part in enumerate(parts):
        before = len(walk.found)
        try:
            walk.part(index, part)
        except LimitReached:
            walk.whole = False
            del walk.found[before:]
            walk.found += [
                Leaf((at,), "", verdict=SCREENING_LIMIT) for at in range(index, len(parts))
            ]
            break
    walk.forget_budget()
    return walk


class Walk:
    """One walk over parts, along the same paths as `redact._Editor`.

    Attributes:
        found: The strings.
        work: For how much the budget paid.
        whole: Whether it paid for all.
    """

    __slots__ = ("_budget", "found", "whole", "work")

    def __init__(self, budget: Budget | None) -> None:
        """Pay from a budget; None: nothing is paid."""
        self.found: list[Leaf] = []
        self.work = 0
        self.whole = True
        self._budget = budget

    def forget_budget(self) -> None:
        """Be no part of a circle: what a budget may ask for more knows the parts, and they the walk."""
        self._budget = None

    def part(self, index: int, part: Any) -> None:
        """Find a part's strings; raises `LimitReached` where the budget ends."""
        self._pay(_PART_WORK)
        if type(part) is not dict and not isinstance(part, Mapping):
            self._value((index,), part, "", 1)
            return
        for key, value in part.items():
            path = (index, key)
            if key not in _PART_KEYS:
                self.found.append(Leaf((*path, KEY), str(key)))
            if isinstance(value, str):
                self.found.append(_string(path, value, part))
            else:
                self._value(path, value, "", 2)

    def _pay(self, units: int) -> None:
        self.work += units
        if self._budget is not None:
            self._budget.work(units)

    def _value(self, path: Path, value: Any, context: str, depth: int) -> None:
        if isinstance(value, str):
            self.found.append(Leaf(path, value, context))
        elif value is None or isinstance(value, bool):
            return
        elif isinstance(value, Mapping | list | tuple):
            self._inside(path, value, context, depth)
        else:
            text = number_text(value)
            if text is None:
                self.found.append(Leaf(path, "", verdict=SCREENING_LIMIT))
            else:
                self.found.append(Leaf(path, text, context, is_number=True))

    def _inside(self, path: Path, value: Any, context: str, depth: int) -> None:
        if depth >= MAX_DEPTH:
            self.found.append(Leaf(path, "", verdict=SCREENING_LIMIT))
        elif isinstance(value, Mapping):
            self._pay(_NODE_WORK + 2 * _VALUE_WORK * len(value))
            named = _named(value) if len(value) <= _MOST_NAMING else ""
            for key, inner in value.items():
                self.found.append(Leaf((*path, key, KEY), str(key)))
                own = named if named and squash(str(key)) in _VALUE_KEYS else str(key)
                self._value((*path, key), inner, _under(context, own), depth + 1)
        else:
            self._pay(_NODE_WORK + _VALUE_WORK * len(value))
            for index, inner in enumerate(value):
                self._value((*path, index), inner, context, depth + 1)


def _under(above: str, key: str) -> str:
    """A key behind the nearest one above it: the words of `{"api": {"key": "..."}}` belong together."""
    return f"{above.rpartition(_BETWEEN)[2]}{_BETWEEN}{key}" if above else key


def _named(value: Mapping[str, Any]) -> str:
    """The name of a field that an object holds beside the field's value; empty: it is none."""
    names = [inner for key, inner in value.items() if squash(str(key)) in _NAME_KEYS]
    named = names[0] if len(names) == 1 else ""
    return named if isinstance(named, str) and len(named) <= _NAME_CHARS else ""


def _string(path: Path, value: str, part: Mapping[str, Any]) -> Leaf:
    key = path[-1]
    if key == "raw":
        text = decode_text(value, part.get("mediaType"))
        return Leaf(path, value, verdict=OPAQUE_FILE) if text is None else Leaf(path, text)
    if key == "url" and value.lstrip()[:5].lower() == "data:":
        return Leaf(path, value, verdict=OPAQUE_FILE)
    return Leaf(path, value)


def number_text(value: Any) -> str | None:
    """A number as the string that is looked at and redacted; None if it is too long to print.

    An SDK whose numbers are floats sends 4111111111111111.0 for the integer that was meant.
    The digits of a small true fraction are a measure, no identifier; those before a point are
    looked at where there are many.
    """
    if isinstance(value, float | Decimal):
        if not math.isfinite(value):
            return str(value)
        if isinstance(value, Decimal) and value.adjusted() > _MAX_INT_BITS:
            return None  # before as many digits are made of it
        if value != int(value):
            return str(value) if abs(float(value)) >= _LONG_WHOLE else f"{value:.6g}"
        value = int(value)
    if isinstance(value, int) and value.bit_length() > _MAX_INT_BITS:
        return None  # Python refuses to print integers of many thousand digits
    return str(value)


def decode_text(raw: str, media_type: object) -> str | None:
    """The text of an inline file, or None unless it is UTF-8 text by type and by content.

    Text by type is `text/*` and what of `application/*` and `image/*` is written as text, such as
    JSON, XML, YAML, CSV, SVG.

    A file that declares another charset is not read: its reader would see something else.
    """
    if not isinstance(media_type, str) or _TEXT_TYPE.match(media_type) is None:
        return None
    if not all(name.lower() in _READABLE for name in _CHARSET.findall(media_type)):
        return None
    try:
        plain = raw.replace("-", "+").replace("_", "/")  # URL-safe base64 is accepted, too
        text = base64.b64decode(plain.encode(), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    # Zero bytes are the mark of UTF-16 or of something that is no text at all.
    return None if "\0" in text or _UTF7.search(text[:_UTF7_WITHIN]) else text


def encode_text(text: str) -> str:
    """The inverse of `decode_text`."""
    return base64.b64encode(text.encode()).decode()
