"""What it costs to screen a message: an estimate before it is begun.

The unit is a CPU second of the reference machine, on which `sum(i * i for i in range(1_000_000))`
takes 0.062 CPU seconds in CPython 3.11. A slower machine multiplies both sides of a comparison.

The estimate reads the message once, as bytes, at the speed of a copy (about 4 ms for a MiB), and is
an upper bound for hostile shapes: small letters and spaces are cheap, every capital, digit and sign
may be part of something that is looked at closely, and every string has a price of its own, however
short. For honest prose it is some five times too much.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Sequence

import msgspec

from mc_platform.model.label import Part

CAP_S = 1.5
"""What screening and redacting one message costs at most; the screener's budget ends there."""

_MARGIN = 3
_BASE_S = 50e-6
_PER_BYTE_S = 0.5e-6
_PER_SIGN_S = 10e-6
_PER_STRING_S = 15e-6
# Letters, spaces, and the bytes of a character after its first one.
_CHEAP = (string.ascii_lowercase + " \n").encode() + bytes(range(0x80, 0xC0))
_STRUCTURE = (b",", b":", b"[", b"{")
# Of a small pipeline of spaCy (tok2vec as a convolution, and an entity recogniser)
_MODEL_CALL_S, _MODEL_TEXT_S, _MODEL_WORD_S, _MODEL_CHAR_S = 4e-3, 0.1e-3, 0.1e-3, 2.5e-6
_WORDS = re.compile(r"[^\W\u0e00-\uffff]+|[^\s]")
LEAST_WORK = 20_000
"""What may be spent on any message, in microseconds of the reference machine."""


def more_work(parts: Sequence[Part], most: float, *, modelled: bool = False) -> Callable[[], float]:
    """What may be spent beside `LEAST_WORK`, up to `most` in all; told when it is needed.

    So the estimate bounds the cost, whatever is thought of: a small message cannot cost what a large
    one may.
    """
    return lambda: min(most - LEAST_WORK, _MARGIN * estimate(parts, modelled=modelled) * 1e6)


def model_work(texts: Sequence[str]) -> float:
    """Work of reading some texts with an entity recogniser, in microseconds of the reference machine."""
    words = sum(sum(1 for _ in _WORDS.finditer(text)) for text in texts)
    return 1e6 * _model_s(len(texts), words, sum(map(len, texts)))


def _model_s(texts: int, words: int, chars: int) -> float:
    each = texts * _MODEL_TEXT_S + words * _MODEL_WORD_S + chars * _MODEL_CHAR_S
    return _MODEL_CALL_S + each


def estimate(parts: Sequence[Part], *, modelled: bool = False) -> float:
    """CPU seconds that screening and redacting these parts takes at most; never above `CAP_S`.

    `modelled`: an entity recogniser reads them as well. Parts that cannot be written as JSON, such as lone surrogates, cost `CAP_S`.
    """
    try:
        raw = msgspec.json.encode(parts)
    except (UnicodeEncodeError, RecursionError, TypeError, ValueError, OverflowError):
        return CAP_S
    least = _BASE_S + len(raw) * _PER_BYTE_S
    if least >= CAP_S:
        return CAP_S
    strings = sum(map(raw.count, _STRUCTURE))
    signs = len(raw.translate(None, _CHEAP))
    cost = least + strings * _PER_STRING_S + signs * _PER_SIGN_S
    if modelled:
        cost += _model_s(strings, signs + raw.count(b" "), len(raw))
    return min(CAP_S, cost)
