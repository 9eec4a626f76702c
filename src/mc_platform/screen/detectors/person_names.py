"""Names of persons, where the text is somebody's record.

A name alone is no personal datum here: public figures are spoken about in honest text. It counts
where a field, a role or the person itself announces it, and the weaker the announcement, the more
of a record must stand beside it (`in_record`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mc_platform.screen.detectors.recogniser import Prefiltered, in_record, is_common, recognisers
from mc_platform.screen.findings import PERSON_NAME, Budget, Finding
from mc_platform.screen.rules import compiled, rule_file

_RULES = rule_file("person_names")
_NAME_CHARS = 72
_MAX_TOKENS = 5
# Letters, and the vowel signs of Indian scripts
_WORD = re.compile(r"(?:[^\W\d_]|[\u0900-\u0dff])+(?:['’\-][^\W\d_]+){0,3}")
# Between two words of a name; around a nickname stand quotation marks or parentheses
_GAP = re.compile(r",?[ ]{1,2}[\"“(]?|\.[ ]?|[\"”)] ?|['*]")
_EAST_ASIAN = "\u2e80"
_EAST_ASIAN_CHARS, _OTHER_CHARS = 6, 18
_PARTICLES = _RULES.words("particles")
_TITLES = _RULES.words("titles")
KEYS = _RULES.words("person-keys")
_FILE = _RULES.re2("file")
_OWNED = _RULES.re2("owned")
_SMALL = _RULES.re2("small")
_ENDED, _INTRODUCED = map(_RULES.re2, ("ended", "introduced"))
_ORGANISATION = _RULES.words("organisation")
_NO_NAME = _RULES.words("no-name") | _ORGANISATION
_NO_SMALL_NAME = _RULES.words("no-small-name") | _NO_NAME
_MONTHS_TOO = _RULES.words("months-too")
_IDENTIFIER = re.compile(r"[a-z]{3}[A-Z]")  # `HttpClient`, and not `MacDonald`
_CODE_AFTER = frozenset("([{<=$%_")


def read_name(text: str, at: int, *, least: int = 1) -> tuple[int, int] | None:
    """The name that begins at a place: capitalised words, initials, particles between them.

    Titles before it are passed over. None if there are fewer than `least` words, if a word is a
    common one, if it goes on as an organisation's, or if what follows is code.
    """
    end = min(len(text), at + _NAME_CHARS)
    start = stop = -1
    count, position = 0, at
    while count < _MAX_TOKENS:
        word = _WORD.match(text, position, end)
        if word is None:
            break
        low = word[0].lower()
        if count == 0 and low in _TITLES:
            position = word.end()
        elif _is_token(word[0]):
            if low in _ORGANISATION:
                return None
            if low in _NO_NAME and not (
                (count and len(low) == 1)  # `A` may be an initial
                or (count == 0 and low in _MONTHS_TOO and _goes_before_name(text, word.end()))
            ):
                break
            start = word.start() if count == 0 else start
            stop, count, position = word.end(), count + 1, word.end()
        elif count and low in _PARTICLES:
            position = word.end()
        else:
            break
        gap = _GAP.match(text, position, end)
        if gap is None or (gap[0][0] == "," and count > 1):
            break
        position = gap.end()
        if text.startswith(" ", position):
            position += 1
    if count < least or stop - start == 1 or _goes_on(text, stop):  # `N/A` is no initial
        return None
    if text.startswith(".", stop) and stop - start > 1 and text[stop - 2] in " .":
        stop += 1
    return start, stop


def read_full_name(text: str, at: int) -> tuple[int, int] | None:
    """As `read_name`, of two words or more."""
    return read_name(text, at, least=2)


def read_any_case(text: str, at: int, *, least: int = 2) -> tuple[int, int] | None:
    """As `read_name`, or up to four words in small letters, and so many at least, up to a sign or the end."""
    if (span := read_name(text, at)) is not None:
        return span
    small = _SMALL.match(text[at : at + _NAME_CHARS])
    if small is None:
        return None
    words = small[1].split()
    if len(words) < least or not _NO_SMALL_NAME.isdisjoint(words):
        return None
    return at + small.start(1), at + small.end(1)


def read_told(text: str, at: int) -> tuple[int, int] | None:
    """As `read_any_case`, of one word or more."""
    return read_any_case(text, at, least=1)


def _from_capital(text: str, end: int) -> tuple[int, int] | None:
    """A full name that begins with the capital letter before a place."""
    return read_full_name(text, end - 1)


def _is_token(word: str) -> bool:
    """Whether it begins with a capital; in a script without them (its title case is itself), if it is short."""
    first = word[0]
    if first.title() != first:
        return False
    if not first.isupper():
        return len(word) <= (_EAST_ASIAN_CHARS if first >= _EAST_ASIAN else _OTHER_CHARS)
    return (word[-1].islower() or word.isupper()) and word.count("'") <= 2


def _goes_before_name(text: str, end: int) -> bool:
    """Whether a name of two letters or more follows: `April Lee`, and not `May I`."""
    span = read_name(text, end + 1) if text.startswith(" ", end) else None
    return span is not None and span[1] - span[0] > 1


def _goes_on(text: str, end: int) -> bool:
    after = text[end : end + 2]
    return after[:1] in _CODE_AFTER or (after[:1] == "." and after[1:].isalnum())


def _in_file(text: str, start: int, end: int) -> bool:
    return _FILE.match(text[end : end + 40]) is not None or in_record(text, start, end)


def _of_somebody(text: str, start: int, end: int) -> bool:
    return _OWNED.match(text[end : end + 40]) is not None or in_record(text, start, end)


def _ended(text: str, start: int, end: int) -> bool:
    """Whether a clause ends behind the name: `I'm Ann Lee.`."""
    return _ENDED.match(text[end : end + 6]) is not None and _uncommon(text, start, end)


def _introduced(text: str, start: int, end: int) -> bool:
    """Whether somebody speaks on behind the name: `This is Ann Lee calling`."""
    return _INTRODUCED.match(text[end : end + 40]) is not None and _uncommon(text, start, end)


def _named(text: str, start: int, end: int) -> bool:
    """Whether none of its words says that it is no name, in small letters or otherwise."""
    value = text[start:end]
    return is_name_value(value) and _NO_SMALL_NAME.isdisjoint(value.split())


def _uncommon(text: str, start: int, end: int) -> bool:
    return not is_common(text[start:end]) and _IDENTIFIER.search(text, start, end) is None


def _before_address(text: str, _: str, budget: Budget) -> Iterator[Finding]:
    """Names directly before an e-mail address: `Ann Lee <ann@...>`, `Ann Lee, ann@...`."""
    for match in _ADDRESS.finditer(text):
        budget.spend()
        low = max(0, match.start() - _NAME_CHARS)
        before = text[low : match.start()].rstrip(" <([\"',;|\t:")
        line = before[max(before.rfind(mark) for mark in '\n,;|:\t(>"') + 1 :]
        at = low + len(before) - len(line) + len(line) - len(line.lstrip())
        span = read_full_name(text, at)
        if span is not None and span[1] >= low + len(before) - 1:
            yield Finding(
                PERSON_NAME, *span, 0.85, "context.name-contact", "An e-mail address follows it."
            )


_ADDRESS = compiled(r"[\w.+\-]{1,64}@[\w\-]{1,63}\.\w")
_BEFORE_ADDRESS = r"[\"',;|\t ][<(\[]?[\w.+\-]+@[\w\-]"

RECOGNISERS: tuple[Prefiltered, ...] = (
    *recognisers(
        _RULES,
        {
            "ended": _ended,
            "in-file": _in_file,
            "in-small-letters": lambda text, start, end: text[start:end].islower(),
            "introduced": _introduced,
            "named": _named,
            "of-somebody": _of_somebody,
            "uncommon": _uncommon,
        },
        {
            "from-capital": _from_capital,
            "read-any-case": read_any_case,
            "read-told": read_told,
            "read-full-name": read_full_name,
            "read-name": read_name,
        },
    ),
    (_BEFORE_ADDRESS, _before_address),
)

_KEY_VALUE = re.compile(r"[^\W\d_][^\d_<>{}()\[\]@/\\|:;=\n]{0,60}")


def is_name_value(text: str) -> bool:
    """Whether what stands under a key for names may be one: letters, and no placeholder."""
    if _KEY_VALUE.fullmatch(text.strip()) is None:
        return False
    return not any(word.rstrip(".,").lower() in _NO_NAME for word in text.split())
