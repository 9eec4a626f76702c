"""Encodings that are looked through, one layer each: percent, HTML entities, base64.

A view is the string decoded, with the way back to the characters that were sent. Decoding is
linear in the string's length; what is found in a view meets the same budget.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
from collections.abc import Callable, Iterator

from mc_platform.screen.normalise import Normalised, normalise

View = Callable[[str], Iterator[Normalised]]

_PERCENT = re.compile(r"(?:%[0-9a-fA-F]{2})+")
_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,30});?")
_BASE64 = re.compile(r"[A-Za-z0-9+/_\-]{16,}={0,2}")
_BASE64_PIECE = re.compile(r"[A-Za-z0-9+]{16,}={0,2}")
_WHITE = str.maketrans("", "", "\t\n\r\v\f")


def percent_view(text: str) -> Iterator[Normalised]:
    """The string with percent-encoded UTF-8 decoded."""
    yield _decoded(text, _PERCENT, _percent)


def entity_view(text: str) -> Iterator[Normalised]:
    """The string with HTML's character references resolved."""
    yield _decoded(text, _ENTITY, lambda found: (html.unescape(found), 0))


def base64_views(text: str) -> Iterator[Normalised]:
    """What each run of base64 says, if it is text; every character stands for the whole run."""
    for run in _BASE64.finditer(text):
        start, end = run.span()
        shown = _base64(run[0])
        if shown is not None:
            yield _standing_for(shown, start, end)
            continue
        # The run may be a path or several values: `/a/b/<base64>`.
        for piece in _BASE64_PIECE.finditer(text, start, end):
            shown = _base64(piece[0]) if piece.span() != (start, end) else None
            if shown is not None:
                yield _standing_for(shown, *piece.span())


VIEWS: tuple[tuple[str, View], ...] = (
    (r"%[0-9a-fA-F]{2}", percent_view),
    (r"&(?:#[0-9xX]|[A-Za-z][A-Za-z0-9]+;)", entity_view),
    (r"[A-Za-z0-9+/_\-]{16}", base64_views),
)
"""The shape that must occur in a string before it is decoded, and how that is done."""


def normalised_view(view: Normalised) -> Normalised:
    """A view, normalised in turn; spans still lead to the string that was sent."""
    inner = normalise(view.text)
    if inner.origin is None:
        return view
    spans = [view.span(at, at + 1) for at in inner.origin]
    return Normalised(inner.text, [start for start, _ in spans], [end for _, end in spans])


def _percent(found: str) -> tuple[str, int]:
    raw = bytes.fromhex(found.replace("%", ""))
    shown = raw.decode(errors="replace")
    return shown, 3 if len(shown) == len(raw) and shown.isascii() else 0


def _decoded(
    text: str, pattern: re.Pattern[str], decode: Callable[[str], tuple[str, int]]
) -> Normalised:
    """Replace every match; `decode` also says how many characters made each one (0: all)."""
    pieces: list[str] = []
    origin: list[int] = []
    ends: list[int] = []
    done = 0
    for match in pattern.finditer(text):
        start, end = match.span()
        shown, width = decode(match[0])
        pieces += (text[done:start], shown)
        origin.extend(range(done, start))
        ends.extend(range(done + 1, start + 1))
        if width:
            origin.extend(range(start, end, width))
            ends.extend(range(start + width, end + 1, width))
        else:
            origin.extend([start] * len(shown))
            ends.extend([end] * len(shown))
        done = end
    pieces.append(text[done:])
    origin.extend(range(done, len(text)))
    ends.extend(range(done + 1, len(text) + 1))
    return Normalised("".join(pieces), origin, ends)


def _base64(run: str) -> str | None:
    """The text that a run encodes, None if it is none: digests and images are not UTF-8."""
    plain = run.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        shown = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return None
    return shown if shown.translate(_WHITE).isprintable() else None


def _standing_for(shown: str, start: int, end: int) -> Normalised:
    return Normalised(shown, [start] * len(shown), [end] * len(shown))
