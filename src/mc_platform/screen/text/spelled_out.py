"""Numbers and addresses that are written out in words: `four one double two`, `ann (at) x dot org`.

Digits are known in nine languages, English tens, teens and `double` too. A run of number words, with
digits among them as may be, becomes its digits; a bracketed `at` or `dot` becomes its sign, a bare
one only where the whole has an address's form.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import phonenumbers

from mc_platform.screen.rules import rule_file
from mc_platform.screen.text.normalise import Normalised, Replacement, rewrite

_RULES = rule_file("spelled_out")


def _pairs(name: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in _RULES.listed(name))


_TENS = _RULES.listed("tens")
_REPEATS = {word: int(times) for word, times in _pairs("repeats").items()}
_MARKS = _pairs("marks")
_HUNDRED = {"hundred": "00", "thousand": "000"}


def _plain(word: str) -> str:
    return word.translate(str.maketrans("ąćęłńóśźżäöüßéèêåáíúç", "acelnoszzaouseeeaaiuc"))


def _words() -> dict[str, str]:
    languages = [
        name for name in _RULES.table.words if name.startswith("digits-") and name != "digits-also"
    ]
    words = {
        word: str(digit) for name in languages for digit, word in enumerate(_RULES.listed(name))
    }
    words.update(_pairs("digits-also"))
    words.update({word: str(10 + at) for at, word in enumerate(_RULES.listed("teens"))})
    words.update({word: str(20 + 10 * at) for at, word in enumerate(_TENS)})
    return {**{_plain(word): digits for word, digits in words.items()}, **words}


_WORDS = _words()
_WEAK = _RULES.words("weak")
_STRONG = sorted((w for w in _WORDS if w not in _WEAK and len(w) > 1), key=len, reverse=True)
_ANY = "|".join(_STRONG)
NUMBER_WORDS = rf"(?i)\b(?:{_ANY})(?:[\s\-,.;:/]{{0,3}}(?:{_ANY}|[0-9]|double|triple)){{2}}"
_TOKEN = re.compile(r"[^\W\d_]+|[0-9]+")
_BETWEEN = re.compile(r"[\s\-,.;:/()_]{0,4}")
_GLUED = re.compile(rf"(?:{_ANY})+")
_GLUED_PART = re.compile(_ANY)
_CLOSING = re.compile(r"[,;\-]\s?(?=[A-Z](?![^\W_]))")
_PAUSE = re.compile(r"[,.;:/\n]")
_MIN_WORDS, _MIN_TOTAL = 2, 7
_PER_GROUP = 2.5
_LEADING = frozenset({"o", "een", "um"})


def decode_numbers(text: str) -> Iterator[Normalised]:
    """The string with runs of number words as digits; a comma between them becomes a space."""
    found: list[Replacement] = []
    run: list[tuple[int, int, str]] = []
    for match in _TOKEN.finditer(text):
        said = _said(match[0])
        start, end = match.span()
        apart = bool(run) and _BETWEEN.fullmatch(text, run[-1][1], start) is None
        if run and (said is None or apart):
            found += _digits(text, run)
            run = []
        if said is not None:
            run.append((start, end, said))
    if run:
        found += _digits(text, run)
    if found:
        yield rewrite(text, found)


def _said(token: str) -> str | None:
    if token.isdigit():
        return token
    word = token.lower()
    if word in _WORDS:
        return _WORDS[word]
    if word in _REPEATS or word in _MARKS or word in _HUNDRED:
        return word
    if len(word) <= _LONGEST and _GLUED.fullmatch(word):
        return "".join(_WORDS[part] for part in _GLUED_PART.findall(word))
    return None


_LONGEST = 160


def _digits(text: str, run: list[tuple[int, int, str]]) -> Iterator[Replacement]:
    strong = sum(
        not text[start].isdigit() and text[start:end].lower() not in _WEAK for start, end, _ in run
    )
    out: list[str] = []
    places: list[tuple[int, int]] = []
    times, began = 1, None
    while run and text[run[0][0] : run[0][1]].lower() in _LEADING:
        run = run[1:]
    pauses = sum(1 for one, other in pairwise(run) if _PAUSE.search(text, one[1], other[0]))
    grouped = len(run) >= _PER_GROUP * (pauses + 1)
    for at, (start, end, said) in enumerate(run):
        if said in _REPEATS:
            times, began = _REPEATS[said], start
            continue
        shown = _MARKS.get(said) or _HUNDRED.get(said) or said
        previous = text[run[at - 1][1] : start] if at else ""
        if grouped and at and _PAUSE.search(previous) and times == 1:
            out.append(" ")
            places.append((run[at - 1][1], start))
        elif _adds(out, shown, run[at - 1] if at else None, text):
            out[-1] = out[-1][0] + shown
            places[-1] = (places[-1][0], end)
            continue
        out.append(shown[0] * times + shown[1:] if shown[0].isdigit() else shown)
        places.append((start if began is None else began, end))
        times, began = 1, None
    if strong < _MIN_WORDS or sum(map(str.isdigit, "".join(out))) < _MIN_TOTAL:
        return
    # Each word stands for its digits; what stood between them vanishes with the word before.
    # A letter that closes an identity's number belongs to it.
    letter = _CLOSING.match(text, places[-1][1])
    for at, (shown, (start, end)) in enumerate(zip(out, places, strict=True)):
        following = places[at + 1][0] if at + 1 < len(places) else letter.end() if letter else end
        yield start, max(end, following), shown


def _adds(out: list[str], shown: str, before: tuple[int, int, str] | None, text: str) -> bool:
    """Whether a unit completes the tens before it: `forty one`."""
    if before is None or not out or len(shown) != 1 or shown == "0" or not shown.isdigit():
        return False
    return text[before[0] : before[1]].lower() in _TENS


_AT_WORDS, _DOT_WORDS = _RULES.pattern("at-words"), _RULES.pattern("dot-words")
_OPEN, _CLOSE = r"\s*[\[({<_*|~\-]+\s*", r"\s*[\])}>_*|~\-]+\s*"
_AT_BRACKETED = re.compile(rf"(?i)(?:{_OPEN}(?:{_AT_WORDS}){_CLOSE}|\s*[\[({{<]\s*@\s*[\])}}>]\s*)")
_DOT_BRACKETED = re.compile(rf"(?i){_OPEN}(?:{_DOT_WORDS}){_CLOSE}|\s*[\[({{<]\s*\.\s*[\])}}>]\s*")
TOP_LEVELS = "|".join(
    sorted(
        {region.lower() for region in phonenumbers.SUPPORTED_REGIONS} | _RULES.words("top-levels"),
        key=lambda top: (-len(top), top),
    )
)
_BR_AT = rf"{_OPEN}(?:{_AT_WORDS}|@){_CLOSE}"
_BR_DOT = rf"{_OPEN}(?:{_DOT_WORDS}|\.){_CLOSE}"
_DOT = rf"(?:\s*\.\s*|\s+(?:{_DOT_WORDS})\s+|{_BR_DOT})"
_JOINT = rf"(?:\.|\s+(?:{_DOT_WORDS}|underscore|dash|hyphen|minus|plus)\s+|\s+\.\s+|{_BR_DOT})"
_LOCAL = rf"[^\W_][\w+\-]*(?:{_JOINT}[\w+\-]+){{0,4}}"
_ADDRESS = re.compile(
    rf"(?i)(?<![\w.])({_LOCAL})(\s*@\s*|\s+(?:{_AT_WORDS})\s+|{_BR_AT})([^\W_][\w\-]*(?:{_DOT}[\w\-]+){{0,3}})({_DOT})({TOP_LEVELS})\b"
)
_SIGN_WORD = re.compile(
    rf"(?i)(?:\s+|{_OPEN})({_AT_WORDS}|{_DOT_WORDS}|[.@]|underscore|dash|hyphen|minus|plus)"
    rf"(?:\s+|{_CLOSE})|\s*([.@])\s*"
)
_WRITTEN = re.compile(rf"(?i){_BR_AT}|{_BR_DOT}|\s(?:{_DOT_WORDS})\s")
_SIGNS = {"underscore": "_", "dash": "-", "hyphen": "-", "minus": "-", "plus": "+"}
_FREEMAIL = _RULES.re("freemail")
_MAIL_WORD = re.compile(
    r"(?i)\b(?:e-?mail|mail|write|reach|contact|address|correo|adresse?|courriel)\b"
)
_NOT_LOCAL, _NOT_HOST = _RULES.words("not-local"), _RULES.words("not-host")
_NAMED_CHARS = 60
ADDRESS_WORDS = (
    rf"(?i)(?:\w\s*[\[({{<_*|~\-]\s*(?:{_AT_WORDS}|@)\s*[\])}}>_*|~\-]|[\[({{<_*|~\-]\s*(?:{_DOT_WORDS}|\.)\s*[\])}}>_*|~\-]"
    rf"|\w\s+(?:{_AT_WORDS}|@)\s+[\w\-]+\s*(?:\.|\s(?:{_DOT_WORDS})\s)|@\s?[\w.\-]+\s+(?:{_DOT_WORDS}|\.)\s|\w @\w|\w@ \w)"
)


def decode_addresses(text: str) -> Iterator[Normalised]:
    """The string with written-out signs of e-mail addresses as signs."""
    found = [(m.start(), m.end(), "@") for m in _AT_BRACKETED.finditer(text)]
    found += [(m.start(), m.end(), ".") for m in _DOT_BRACKETED.finditer(text)]
    if found:
        yield rewrite(text, _disjoint(found))
    bare: list[Replacement] = []
    for match in _ADDRESS.finditer(text):
        if _spoken(text, match):
            bare += [_sign(part) for part in _SIGN_WORD.finditer(text, *match.span())]
    if bare:
        yield rewrite(text, bare)


def _disjoint(found: list[Replacement]) -> Iterator[Replacement]:
    done = 0
    for start, end, shown in sorted(found):
        if start >= done:
            yield start, end, shown
            done = end


def _sign(part: re.Match[str]) -> Replacement:
    word = (part[1] or part[2]).lower()
    if word in (".", "@"):
        shown = word
    else:
        shown = _SIGNS.get(word) or ("." if re.fullmatch(_DOT_WORDS, word) else "@")
    return part.start(), part.end(), shown


def _spoken(text: str, match: re.Match[str]) -> bool:
    local, at, host, dot, top = match.groups()
    if host.lower() in _NOT_HOST or local.lower() in _NOT_LOCAL or len(local) < 2:
        return False
    word_at = "@" not in at
    if dot.strip() != "." or _WRITTEN.search(match[0]):
        return True
    if dot != "." or (not word_at and at != "@"):
        return bool(
            _MAIL_WORD.search(text, max(0, match.start() - _NAMED_CHARS), match.start())
        ) or (not word_at and dot != ".")
    if not word_at:
        return False  # it stands there as an address already
    if _FREEMAIL.match(f"{host}.{top}"):
        return True
    named = _MAIL_WORD.search(text, max(0, match.start() - _NAMED_CHARS), match.start())
    return named is not None and any(not char.isalpha() for char in local)


SPACED_OUT = r"(?:[^\W_]  ){5}[^\W_](?:[\s)\]}>\"',;]|$)|(?:[^\s] ){5}[^\s](?:[\s)\]}>\"',;]|$)|(?:\w-){5}\w\b|(?:\w\.){5}\w\b|(?:\w\*){5}\w|(?:\w\|){5}\w|(?:[^\W_]_){5}[^\W_]"
_ONE = r"[^\s()\[\]{}<>\"',;]"
_SPACED = re.compile(
    rf"(?:(?<!{_ONE})|(?<=[=:])){_ONE}(?:([ \-.*|_]){_ONE})(?:\1{_ONE}){{4,}}(?!\w)"
)

_WIDE = re.compile(r"(?<![^\W_])[^\W_](?:  [^\W_]){5,}(?![\w])")


def decode_spaced(text: str) -> Iterator[Normalised]:
    """The string with words whose letters stand apart put together; a wider gap parts words."""
    found: list[Replacement] = []
    for match in _SPACED.finditer(text):
        start, end = match.span()
        found += [(at, at + 2, text[at]) for at in range(start, end - 1, 2)]
    if not found:
        for match in _WIDE.finditer(text):
            start, end = match.span()
            found += [(at, at + 3, text[at]) for at in range(start, end - 1, 3)]
    if found:
        yield rewrite(text, found)
