"""The decoded texts of a string: as it is seen, and through every disguise that it may bear.

Each decoder has a prefilter pattern, so that a string without any costs nothing more. A decoded text may
be decoded again; that goes on until nothing new shows or the depth is reached. Each is paid from the budget
of the string, and of the message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import re2

from mc_platform.screen.detectors.alphanumeric_ids import ACCOUNT_LAYOUTS
from mc_platform.screen.findings import (
    CROSS_TENANT_ID,
    CUSTOMER_ID,
    EMAIL,
    IBAN,
    NATIONAL_ID,
    PAYMENT_CARD,
    PHONE,
    SECRET_KEY,
    SIGNS,
    Budget,
)
from mc_platform.screen.rules import rule_file
from mc_platform.screen.text import decoders, lookalikes, spelled_out
from mc_platform.screen.text.normalise import Normalised, normalise

MAX_DEPTH, _MAX_GUESSES = 4, 2
_RULES = rule_file("decoders")
_CHARS_PER_UNIT = 512
# Of a character that is decoded, or looked over for a pattern.
_DECODED_WORK, _CUT_WORK = 0.22, 0.03
# In a long string a decoder reads only where its prefilter pattern occurs, and so much around it.
LONG = 4096
_AROUND, _TO_LINE = 300, 200
_MOST_PLACES, _MOST_SHARE = 2000, 0.6
_APART = "\n" * 8  # wider than what may stand within any value
_COUNTRIES = frozenset(country.lower() for country in ACCOUNT_LAYOUTS)
_KEY_STARTS = ("BEGIN ", *_RULES.listed("key-starts"))
_DIGITS = frozenset({PAYMENT_CARD, IBAN, NATIONAL_ID, PHONE, CUSTOMER_ID, CROSS_TENANT_ID})
_CONCATENABLE = frozenset({EMAIL, IBAN, PAYMENT_CARD, SECRET_KEY})
_ROT13_WORDS = _RULES.pattern("rot13-words")
_REVERSED_WORDS = _RULES.pattern("reversed-words")
_REVERSED_ADDRESS = _RULES.pattern("reversed-address")
_ROT13_IBAN = (
    rf"(?i)\b(?:{'|'.join(map(decoders.rot13, sorted(_COUNTRIES)))})\d\d(?:[ \-]?[A-Z0-9]){{11}}"
)
_REVERSED_IBAN = (
    rf"(?i)(?:[A-Z0-9][ \-]?){{11}}\d\d(?:{'|'.join(c[::-1] for c in sorted(_COUNTRIES))})\b"
)
_ROT13_KEY = (
    "(?:" + "|".join(map(re.escape, map(decoders.rot13, _KEY_STARTS))) + r")[A-Za-z0-9_\-]{8}"
)
_REVERSED_KEY = (
    r"[A-Za-z0-9_\-]{8}(?:" + "|".join(re.escape(key[::-1]) for key in _KEY_STARTS) + ")"
)


@dataclass(frozen=True, slots=True)
class Decoder:
    """One disguise.

    Attributes:
        name: For the reason of a label.
        prefilter: The pattern that must occur before it is tried.
        decode: What the string says through it.
        kinds: The labels that count in it; empty: all.
        whole: Whether its prefilter pattern only hints that something is disguised somewhere in the string.
    """

    name: str
    prefilter: str
    decode: decoders.Decode
    kinds: frozenset[str] = frozenset()
    whole: bool = False


_ENCODERS = tuple(
    Decoder(name, _RULES.pattern(name.replace(" ", "-").lower()), decode)
    for name, decode in (
        ("percent-encoding", decoders.decode_percent),
        ("character references", decoders.decode_entities),
        ("escapes", decoders.decode_escapes),
        ("quoted-printable", decoders.decode_quoted_printable),
        ("UTF-7", decoders.decode_utf7),
        ("base64", decoders.decode_base64),
        ("base32", decoders.decode_base32),
        ("hexadecimal", decoders.decode_hexadecimal),
        ("character codes", decoders.decode_character_codes),
    )
)
# What decodes to text by these, one upon the other, does so by intention and not by chance.
_ENCODINGS = frozenset(decoder.name for decoder in _ENCODERS)
DECODERS = (
    *_ENCODERS,
    Decoder("look-alike letters", lookalikes.FOREIGN_LETTER, lookalikes.decode_lookalikes),
    Decoder("letters with marks", lookalikes.MARKED_LETTER, lookalikes.decode_lookalikes, SIGNS),
    Decoder("look-alike digits", lookalikes.DIGIT_LIKE, lookalikes.decode_digits, _DIGITS),
    Decoder(
        "look-alike digits",
        lookalikes.NAMED_ID,
        lookalikes.decode_identifiers,
        frozenset({NATIONAL_ID}),
    ),
    Decoder("digits for letters", lookalikes.LETTER_LIKE, lookalikes.decode_words, SIGNS),
    Decoder("numbers in words", spelled_out.NUMBER_WORDS, spelled_out.decode_numbers, _DIGITS),
    Decoder(
        "address in words",
        spelled_out.ADDRESS_WORDS,
        spelled_out.decode_addresses,
        frozenset({EMAIL}),
    ),
    Decoder(
        "markup",
        decoders.INLINE_TAG,
        decoders.decode_tags,
        frozenset({EMAIL, IBAN, PAYMENT_CARD, SECRET_KEY}),
    ),
    Decoder("markup", decoders.BLOCK_TAG, decoders.decode_blocks, frozenset({IBAN, PAYMENT_CARD})),
    Decoder("concatenation", decoders.CONCATENATED, decoders.decode_concatenated, _CONCATENABLE),
    Decoder("markup", decoders.EMPHASIS, decoders.decode_emphasis, frozenset({EMAIL})),
    Decoder("letters apart", spelled_out.SPACED_OUT, spelled_out.decode_spaced),
    Decoder("rot13", _ROT13_WORDS, decoders.decode_rot13, whole=True),
    Decoder("rot13", _ROT13_IBAN, decoders.decode_rot13, frozenset({IBAN})),
    Decoder("rot13", _ROT13_KEY, decoders.decode_rot13, frozenset({SECRET_KEY})),
    Decoder("text read backwards", _REVERSED_WORDS, decoders.decode_reversed, whole=True),
    Decoder("text read backwards", _REVERSED_ADDRESS, decoders.decode_reversed, frozenset({EMAIL})),
    Decoder("text read backwards", _REVERSED_IBAN, decoders.decode_reversed, frozenset({IBAN})),
    Decoder(
        "text read backwards", _REVERSED_KEY, decoders.decode_reversed, frozenset({SECRET_KEY})
    ),
)
DECODERS_IN_SET = 12
"""Of whose prefilter patterns one automaton is made."""
_SMUGGLED = "characters without a glyph"


@dataclass(frozen=True, slots=True)
class DecodedText:
    """A string as it is read, and how it came about.

    Attributes:
        text: Normalised; what recognisers are asked about.
        steps: The ways back, the last one first.
        names: The decoders that it went through.
        kinds: The labels that count; empty: all.
        led: How many characters at the beginning are its key's, put before it.
    """

    text: str
    steps: tuple[Normalised, ...] = ()
    names: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset()
    led: int = 0

    def behind(self, field: str) -> DecodedText:
        """The text behind the words of its key, as prose has it: `github token: ...`."""
        lead = f"{field}: "
        shown = Normalised(lead + self.text, [0] * len(lead) + list(range(len(self.text))))
        return replace(self, text=shown.text, steps=(shown, *self.steps), led=len(lead))

    def span(self, start: int, end: int) -> tuple[int, int]:
        """A span of this text as a span of the string that was sent."""
        for step in self.steps:
            start, end = step.span(start, end)
        return start, end

    @property
    def is_too_deep(self) -> bool:
        """Whether it went through more decoders than are tried."""
        return len(self.names) > MAX_DEPTH

    @property
    def is_encoded(self) -> bool:
        """Whether each decoder is an encoding, rather than a guess at what letters stand for."""
        return _ENCODINGS.issuperset(self.names)

    @property
    def reason(self) -> str:
        """For a label: what was looked through; empty where nothing was."""
        return f"It shows through {', then '.join(self.names)}." if self.names else ""

    def through(self, decoder: Decoder, budget: Budget) -> Iterator[DecodedText]:
        """What this text says through a decoder.

        Raises:
            LimitReached: the budget ends.
        """
        kinds = decoder.kinds or self.kinds
        if decoder.kinds and self.kinds and not (kinds := decoder.kinds & self.kinds):
            return
        if decoder.name not in _ENCODINGS:
            # Guesses upon guesses would read any honest text in hundreds of ways.
            guesses = [name for name in self.names if name not in _ENCODINGS]
            if decoder.name in guesses or len(guesses) == _MAX_GUESSES:
                return
        text, steps = self.text, self.steps
        if len(text) > LONG and not decoder.whole:
            budget.work(len(text) * _CUT_WORK)
            cut = excerpts(
                text, (match.span() for match in _compiled(decoder.prefilter).finditer(text))
            )
            text, steps = cut.text, steps if cut.origin is None else (cut, *steps)
        budget.work(len(text) * _DECODED_WORK)
        for shown in decoder.decode(text):
            if shown.text == text:
                continue
            budget.work(len(shown.text) * _DECODED_WORK)
            budget.spend(1 + len(shown.text) // _CHARS_PER_UNIT)
            yield _decoded_text(shown, steps, (*self.names, decoder.name), kinds)


def excerpts(text: str, spans: Iterable[tuple[int, int]]) -> Normalised:
    """The stretches of a string around some spans; all of it if they are many or lie all over it."""
    stretches: list[tuple[int, int]] = []
    length = 0
    for places, (first, last) in enumerate(spans):
        start, end = max(0, first - _AROUND), min(len(text), last + _AROUND)
        if stretches and start <= stretches[-1][1]:
            length += max(0, end - stretches[-1][1])
            stretches[-1] = (stretches[-1][0], max(end, stretches[-1][1]))
        else:
            stretches.append((start, end))
            length += end - start
        if places > _MOST_PLACES or length > _MOST_SHARE * len(text):
            return Normalised(text)
    pieces: list[str] = []
    origin: list[int] = []
    for first, last in stretches:
        start = text.rfind("\n", max(0, first - _TO_LINE), first) + 1 or first
        stop = text.find("\n", last, last + _TO_LINE)
        end = last if stop < 0 else stop
        start = max(start, origin[-1] + 1) if origin else start
        pieces += (text[start:end], _APART)
        origin.extend(range(start, end))
        origin.extend([max(start, end - 1)] * len(_APART))
    return Normalised("".join(pieces), origin)


@lru_cache(maxsize=64)
def _compiled(prefilter: str) -> re2._Regexp:
    return re2.compile(prefilter)


def first_texts(
    text: str, budget: Budget, kinds: frozenset[str] = frozenset()
) -> list[DecodedText]:
    """The string as it is seen, and what it says without being seen.

    Raises:
        LimitReached: the budget ends.
    """
    if not text.isascii():
        budget.work(len(text) * _DECODED_WORK)
    seen = normalise(text)
    steps = () if seen.origin is None else (seen,)
    texts = [DecodedText(seen.text, steps, kinds=kinds)]
    if seen.origin is not None and decoders.SMUGGLED.search(text):
        for shown in decoders.decode_smuggled(text):
            texts.append(_decoded_text(shown, (), (_SMUGGLED,), kinds))  # noqa: PERF401
    return texts


def _decoded_text(
    shown: Normalised, steps: tuple[Normalised, ...], names: tuple[str, ...], kinds: frozenset[str]
) -> DecodedText:
    inner = normalise(shown.text)
    if shown.origin is not None:
        steps = (shown, *steps)
    if inner.origin is not None:
        steps = (inner, *steps)
    return DecodedText(inner.text, steps, names, kinds)
