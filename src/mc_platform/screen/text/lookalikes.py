"""Characters in the place of others: digits and letters, and letters of other scripts.

In a run made of digits and of letters that look like them (`4lll-1I11-O111`), every letter is read
as its digit; in an account number the country's own layout tells which places hold digits. Only
what a checksum confirms counts: a word or a serial number read so becomes nothing.

Cyrillic, Greek, letter-like symbols and letters with marks are read as the Latin letters that they
look like, in a second text beside the original: nothing honest is lost by it, and what is found in
it must be valid by itself.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import re2
from confusable_homoglyphs import confusables

from mc_platform.screen.detectors.alphanumeric_ids import ACCOUNT_LAYOUTS, is_account
from mc_platform.screen.detectors.digit_groups import CARD_LAYOUTS
from mc_platform.screen.findings import LimitReached
from mc_platform.screen.rules import rule_file
from mc_platform.screen.text.normalise import Normalised, Replacement, rewrite


def _by_first_letter(codes: Iterable[str]) -> str:
    """A pattern for codes of two letters that tells by the first whether there is any."""
    second: dict[str, str] = {}
    for code in codes:
        second[code[0]] = second.get(code[0], "") + code[1]
    return "|".join(f"{first}[{letters}]" for first, letters in second.items())


_LIKE = r"0-9OoDQlI|!ZzEASsbGTBg"
# Columns of a table and the end of a sentence are no digits.
_RULED = re.compile(r"(?<![^\W_])[|!]|[|!](?![^\W_])|(?<=\d\d)[|](?=\d\d)")
# Nine of them in a row; a column of plain digits has that shape too, and costs little.
DIGIT_LIKE = rf"(?:[{_LIKE}][ \-./()]{{0,2}}){{8}}[{_LIKE}]"
LETTER_LIKE = r"[A-Za-z][013457$!][A-Za-z]"
_DIGITS = str.maketrans("OoDQlI|!ZzEASsbGTBg", "0000111122345566789")
_RUN = re.compile(rf"(?<![^\W_])[{_LIKE}](?:[ \-./()]{{0,2}}[{_LIKE}]){{8,40}}")
_SOMEWHERE = re2.compile(rf"(?:[{_LIKE}][ \-./()]{{0,2}}){{8,60}}[{_LIKE}]+")
_NO_DIGIT = re.compile(r"[A-Za-z|!]")
# A digit that touches such a letter, or a card's group of nothing but letters.
_MIXED = re2.compile(
    r"[0-9][OoDQlI|!ZzEASsbGTBg]|[OoDQlI|!ZzEASsbGTBg][0-9]|\b[OoDQlI|!ZzEASsbGTBg]{4}\b"
)
_ONE_BLOCK = re.compile(r"[0-9 \-./()]*(?=[OoIl|!]*[DQZzEASsbGTBg])[A-Za-z|!]+[0-9 \-./()]*")
_CARD_DIGITS = 13
_GROUP = re.compile(rf"[{_LIKE}]+")
NAMED_ID = rf"(?i)(?:{rule_file('decoders').pattern('id-words')})[^A-Za-z0-9\n]{{1,3}}(?:(?:is|are|was|no\.?|number|nr|ist|es|est|to)[ :=]{{1,2}})?[A-Z]?[{_LIKE}]{{6}}"
"""A word for an identity's number, and then a token that could be one in disguise."""
_NAMED_ID = re.compile(rf"{NAMED_ID}[A-Za-z0-9|!]{{0,12}}")
_ID_TOKEN = re.compile(rf"(?<![^\W_])[A-Za-z]?[{_LIKE}]{{7,13}}[A-Za-z]?(?![^\W_])")
_PROSE_CHARS = 3
_MAX_CHECKS = 500  # account numbers read in one string
_ALONE = frozenset({"A", "I"})
_COUNTRY_LETTERS = 2
_MIN_DIGITS, _MIN_SHARE = 4, 0.25
_ACCOUNT_CHARS, _COUNTRY_CHARS, _BEFORE_CHARS = 28, 4, 16
# In a longer text every other character may be a digit or sign: it is read from end to end
_SHORT = 4096
_DIGITS_RUN = re.compile(r"[0-9]+")
_CARD_GROUPS = CARD_LAYOUTS | {(size,) for size in range(12, 20)}
_COUNTRY = re.compile(
    rf"\b(?:{_by_first_letter(ACCOUNT_LAYOUTS)})[{_LIKE}]{{2}}", re.ASCII | re.IGNORECASE
)
_LETTERS = str.maketrans("0123456789", "OIZEASGTBg")
_WORD = re.compile(r"[A-Za-z0134578@$!|]{3,40}")
_WORD_CHAR = re.compile(r"[A-Za-z0134578@$!|]")
_SIGN = re.compile(r"[0134578@$!|]")
_OUTSIDE_WORDS = bytes(b"w"[0] if _WORD_CHAR.match(chr(code)) else b"."[0] for code in range(256))
_DIGEST = re.compile(r"[0-9a-f]{12,}")
_WORDS_I = str.maketrans("013457@$!|", "oieastasil")
_WORDS_L = str.maketrans("013457@$!|", "oleastasil")


def decode_digits(text: str) -> Iterator[Normalised]:
    """The string with look-alike letters in runs of digits as the digits they look like."""
    if "|" in text or "!" in text:
        text = _RULED.sub(";", text)
    if _MIXED.search(text) is None:
        return
    found = [*_runs(text)]
    if found:
        yield rewrite(text, found)
    starts = [*_account_starts(text)]
    for either in ({}, _DIGITS) if starts else ():  # places that may hold letters or digits
        accounts = [*_accounts(text, starts, either)]
        if accounts:
            yield rewrite(text, accounts)


def decode_identifiers(text: str) -> Iterator[Normalised]:
    """The string with each named identity's number as digits; its ends may be letters.

    Two readings of each: that all of it is digits, and that a letter at an end is one.
    """
    tokens = [
        (token.start(), token.end(), token[0])
        for named in _NAMED_ID.finditer(text)
        for token in _ID_TOKEN.finditer(text, *named.span())
        if not token[0].isdigit() and any(map(str.isdigit, token[0]))
    ]
    for keep_first, keep_last in ((0, 0), (0, 1), (1, 0), (1, 1)) if tokens else ():
        yield rewrite(
            text,
            [(start, end, _read_id(token, keep_first, keep_last)) for start, end, token in tokens],
        )


def _read_id(token: str, first: int, last: int) -> str:
    middle = token[first : len(token) - last].translate(_DIGITS)
    return token[:first] + middle + token[len(token) - last :]


def _runs(text: str) -> Iterator[Replacement]:
    for first, last in _candidates(text):
        start, end = _trimmed(text, first, last)
        shown = text[start:end]
        digits = sum(map(str.isdigit, shown))
        letters = sum(map(str.isalpha, shown)) + shown.count("|") + shown.count("!")
        mostly = digits >= _MIN_DIGITS and digits >= _MIN_SHARE * (digits + letters)
        layout = ACCOUNT_LAYOUTS.get(shown[:2].upper(), "")
        if letters == _COUNTRY_LETTERS and digits + letters >= len(layout) > 0:
            continue  # an account number as it stands
        if digits + letters < _CARD_DIGITS and _ONE_BLOCK.fullmatch(shown) is not None:
            continue  # a number with a letter of its own: `ISO 8859-14`, `BE0403019261`, `...T12`
        if letters and (mostly or _like_a_card(shown)):
            yield start, end, shown.translate(_DIGITS)


def _candidates(text: str) -> Iterator[tuple[int, int]]:
    """The runs that hold anything but digits, and begin where no letter or digit goes before."""
    for found in _SOMEWHERE.finditer(text):
        start, end = found.span()
        if _NO_DIGIT.search(text, start, end) is None:
            continue
        yield from (run.span() for run in _RUN.finditer(text, start, end))


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """A run without the words of prose at its ends that consist of such letters, too."""
    if not text[end : end + 1].isalnum() and _like_a_card(text[start:end]):
        return start, end
    groups = [group.span() for group in _GROUP.finditer(text, start, end)]
    while groups and text[groups[-1][1] : groups[-1][1] + 1].isalnum():
        groups.pop()
    while groups and (_prose(text[slice(*groups[0])]) or text[slice(*groups[0])] in _ALONE):
        groups.pop(0)
    while groups and _prose(text[slice(*groups[-1])]):
        groups.pop()
    return (groups[0][0], groups[-1][1]) if groups else (start, start)


def _prose(group: str) -> bool:
    return group.isalpha() and group.islower() and len(group) <= _PROSE_CHARS


def _like_a_card(run: str) -> bool:
    # Few digits or none are left: then the grouping must be a card's, and no word's case.
    sizes = tuple(len(group) for group in _GROUP.findall(run))
    return sizes in _CARD_GROUPS and not run.islower() and not run.istitle()


def _account_starts(text: str) -> Iterator[int]:
    """Where a country's code stands with digits behind it, or what looks like them."""
    done = 0
    for first, stop in _near_digits(text) if len(text) <= _SHORT else ((0, len(text)),):
        # From a little before: one that begins there may take what seems to begin here
        since = max(done, first - _BEFORE_CHARS)
        for match in _COUNTRY.finditer(text, since, min(len(text), stop + _COUNTRY_CHARS - 1)):
            start, done = match.span()
            if any(map(str.isdigit, text[start : start + _ACCOUNT_CHARS])):
                yield start


def _near_digits(text: str) -> Iterator[tuple[int, int]]:
    """The stretches from whose places a digit is no further than an account number is long."""
    first = stop = -1
    for digits in _DIGITS_RUN.finditer(text):
        begins = max(0, digits.start() - _ACCOUNT_CHARS + 1)
        if begins > stop:
            if stop >= 0:
                yield first, stop
            first = begins
        stop = digits.end()
    if stop >= 0:
        yield first, stop


def _accounts(text: str, starts: Sequence[int], either: dict[int, int]) -> Iterator[Replacement]:
    done = checks = 0
    for start in starts:
        if start < done:
            continue
        layout = ACCOUNT_LAYOUTS[text[start : start + 2].upper()]
        if _as_it_stands(layout).match(text, start, start + 2 * len(layout)) is not None:
            continue  # each place holds what belongs there
        end, read = _account(text, start, layout, either)
        if read:
            checks += 1
        if checks > _MAX_CHECKS:
            raise LimitReached
        if read and is_account(read):
            yield start, end, read
            done = end


@lru_cache(maxsize=256)
def _as_it_stands(layout: str) -> re.Pattern[str]:
    """An account number in which nothing is read as anything else."""
    places = ["[A-Za-z]{2}", *("[A-Za-z]" if kind == "a" else "[0-9]" for kind in layout[2:])]
    return re.compile("[ -]*".join(places))


def _account(text: str, start: int, layout: str, either: dict[int, int]) -> tuple[int, str]:
    """Where an account number ends, and what it is when each place is read as what it holds."""
    read = text[start : start + 2]
    for at in range(start + 2, min(len(text), start + 2 * len(layout))):
        char = text[at]
        if char in " -":
            continue
        kind = layout[len(read)]
        read += char.translate(_DIGITS if kind == "n" else _LETTERS if kind == "a" else either)
        if not char.isalnum() and char not in "|!":
            break
        if len(read) == len(layout):
            plain = re.sub(r"[ \-]", "", text[start : at + 1])
            return (at + 1, read) if read != plain else (start, "")
    return start, ""


def decode_words(text: str) -> Iterator[Normalised]:
    """The string with digits and signs inside words as the letters they look like."""
    words = [match for match in _words_with_signs(text) if _mixed(match[0])]
    if not words:
        return
    for table in (_WORDS_I, _WORDS_L):
        yield rewrite(text, [(m.start(), m.end(), m[0].translate(table)) for m in words])


def _words_with_signs(text: str) -> Iterator[re.Match[str]]:
    """Those of `_WORD` that are not of letters alone, found by their digit or sign; in a long text, all."""
    if len(text) > _SHORT:
        yield from _WORD.finditer(text)
        return
    outside = text.encode("ascii", "replace").translate(_OUTSIDE_WORDS)  # a byte a character
    done = 0
    for sign in _SIGN.finditer(text):
        at = sign.start()
        if at < done:
            continue
        word = _WORD.match(text, max(done, outside.rfind(b".", done, at) + 1))
        while word is not None and word.end() <= at:
            word = _WORD.match(text, word.end())  # a stretch that is cut into several
        if word is not None:
            yield word
            done = word.end()


def _mixed(word: str) -> bool:
    if _DIGEST.fullmatch(word):
        return False
    letters = sum(map(str.isalpha, word))
    return 0 < letters < len(word) and 2 * letters >= len(word)


# Letters and symbols beyond Latin ones and usual punctuation, as normalisation leaves them.
FOREIGN_LETTER = (
    r"[\x{b7}\x{0180}-\x{02ff}\x{0370}-\x{1dff}\x{1f00}-\x{1fff}\x{2070}-\x{20a0}\x{2100}-\x{218f}"
    r"\x{2200}-\x{24ff}\x{2c00}-\x{2dff}\x{3002}\x{a000}-\x{abff}\x{ff61}\x{10000}-\x{1f5ff}]"
)
MARKED_LETTER = r"[\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{17f}\x{1e00}-\x{1eff}]"
_PLAIN = frozenset(string.ascii_letters + string.digits)
_LATIN_MARKED = range(0xC0, 0x250)
_LATIN_MORE = range(0x1E00, 0x1F00)
# Letters in squares and circles, and the halves of flags: the library has none of them.
_BOXED = (0x1F130, 0x1F150, 0x1F170, 0x1F1E6)
# Read as a full stop or an at sign by whoever types the address.
_SIGNS = {"\u3002": ".", "\uff61": ".", "\u2024": ".", "\u00b7": ".", "\u06d4": "."}
# What the library's data pairs with something else first.
_PREFERRED = {"\u0417": "3", "\u0437": "3", "\u0431": "6", "\u04cf": "l", "\u0406": "I"}


def _table() -> dict[int, str]:
    table: dict[int, str] = {}
    for char, likes in confusables.confusables_data.items():
        if len(char) != 1 or char.isascii():
            continue
        plain = [like["c"] for like in likes if like["c"] in _PLAIN]
        if plain:
            table[ord(char)] = plain[0]
    for code in (*_LATIN_MARKED, *_LATIN_MORE):
        base = unicodedata.normalize("NFD", chr(code))[0]
        if base in _PLAIN:
            table[code] = base
    for first in _BOXED:
        table.update(zip(range(first, first + 26), string.ascii_uppercase, strict=True))
    table.update({ord(char): plain for char, plain in {**_SIGNS, **_PREFERRED}.items()})
    return table


_TABLE = _table()


def decode_lookalikes(text: str) -> Iterator[Normalised]:
    """The string with every look-alike letter as the Latin letter or digit that it looks like."""
    folded = text.translate(_TABLE)
    if folded != text:
        yield Normalised(folded)
