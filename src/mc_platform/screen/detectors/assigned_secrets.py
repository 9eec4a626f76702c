"""Secrets that an assignment or a sentence announces: `password = ...`, `the API key is ...`.

Code that reads, names or checks a secret holds none; neither do placeholders. A value counts if it
looks drawn rather than written: of several kinds of characters, and not one of the usual examples.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator

from mc_platform.screen.detectors.recogniser import Prefiltered
from mc_platform.screen.findings import SECRET_KEY, Budget, Finding
from mc_platform.screen.rules import rule_file, words_of

_RULES = rule_file("assigned_secrets")
_ANNOUNCED = _RULES.re2("announced")
_TAIL = _ANNOUNCED.groupindex["tail"]
_PASSING = _RULES.re("passing")
_OF_API = re.compile(r"(?i)(?:api|access|auth|secret)[_\- ]?(?:key|token)")
_ISSUED = _RULES.re("issued")
_ABOUT, _GOES_ON = map(_RULES.words, ("about", "goes-on"))
_WORDED = _RULES.re("worded")
_DRAWN_BITS = 3.5
_OPEN = _RULES.re("open-key")
_DRAWN = re.compile(r"[A-Za-z0-9_+\-]+={0,2}|[A-Za-z0-9_+/=\-]{40,}")
_DIGEST = re.compile(r"[0-9a-f]+|[0-9A-F]+")
_ANY_MIN, _ANY_BITS, _OPEN_CHARS = 20, 3.8, 16
_MIXED = re.compile(r"[A-Z]{0,6}(?:[a-z]{1,5}[A-Z]{1,6}){4,}[a-z]{0,5}")
UUID = re.compile(r"(?i)[a-f0-9]{8}(?:-[a-f0-9]{4}){3}-[a-f0-9]{12}\Z")
_QUOTED = re.compile(
    r"(?:[rbuf]{0,2})([\"'`])[ ]{0,2}(?:(?:Bearer|Basic|Token)[ ])?([^\"'`\n ][^\"'`\n]{0,1023}?)[ ]{0,2}\1"
)
_BARE = re.compile(r"[^\s,;\"'<>()\[\]{}|`]{1,200}")
_CODE = re.compile(r"[(\[{$]|\.\w")
# A call, an index, an attribute, a variable: what stands for a password in code.
_CODE_LIKE = re.compile(
    r"\A[A-Za-z_][\w.]*[(\[]|\A[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+\W*\Z|\A\$[\w{(]+[})]?\Z|\A[({\[]\w*[\])}]"
)
_WIDE = re.compile(r"[^\s\"'`,;]{8,64}")
_EXAMPLE = _RULES.re("example")
_PLAIN_WORDS = re.compile(
    r"[A-Z]?[a-z]+(?:[_\-. ][A-Za-z]+)*\d?|[A-Z]+(?:_[A-Z]+)*\d?|[a-z]*(?:[A-Z][a-z]{2,})+\d?"
)
_IDENTIFIER = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")
_PASSWORD_MIN, _TOKEN_MIN, _SURE_CHARS = 6, 16, 8
_TOKEN_BITS = 3.0
_API_MIN, _FIGURES = 12, 5
_REASON = "A word for a secret announces it, and it looks drawn rather than written."


def find_assigned(text: str, _: str, budget: Budget) -> Iterator[Finding]:
    """The secrets that are given; the span is the value without its quotes."""
    for word in _ANNOUNCED.finditer(text):
        budget.spend()
        at = word.end()
        if _PASSING.search(text, max(0, word.start() - 12), at) is not None:
            continue
        if _is_about(text, *word.span(_TAIL)):
            continue
        password = word.group("password") is not None
        quoted = _QUOTED.match(text, at)
        if quoted is not None:
            start, end = quoted.span(2)
        else:
            start, end = _bare(text, at, password=password)
        value = text[start:end]
        told = word.group("told") is not None
        dash = quoted is None and word.group("dash") is not None
        if (dash and not _is_beyond_doubt(value)) or (
            quoted is not None and text[at : at + 1] in "fF" and "{" in value
        ):
            continue
        if word.group("any") is not None:
            if _is_any_key(text, word.start(), value):
                yield Finding(SECRET_KEY, start, end, 0.75, "context.secret", _REASON)
            continue
        issued = UUID.match(value) is not None and _ISSUED.search(word.group()) is not None
        if issued or is_secret_value(
            value,
            password=password,
            strict=quoted is None,
            told=told,
            least=_API_MIN if _OF_API.search(word.group()) else _TOKEN_MIN,
        ):
            yield Finding(SECRET_KEY, start, end, 0.85, "context.secret", _REASON)


def _is_about(text: str, start: int, end: int) -> bool:
    """Whether what follows the word makes another one of it: `tokenId`, `secretary`."""
    words = words_of(text[start:end]).split()
    if not words:
        return False
    goes_on = text[start].isalpha() and text[start].islower() == text[start - 1].islower()
    return (goes_on and words[0] not in _GOES_ON) or words[-1] in _ABOUT


def _bare(text: str, at: int, *, password: bool) -> tuple[int, int]:
    """Where a value without quotes stands; empty if code follows."""
    wide = _WIDE.match(text, at) if password else None
    if wide is not None:
        shown = wide[0].rstrip(".!?:")
        if kinds_of(shown) == _ALL_KINDS and _CODE_LIKE.search(shown) is None:
            return at, at + len(shown)
    bare = _BARE.match(text, at)
    if bare is None or text[bare.end() : bare.end() + 1] in ("(", "[", "{", "<"):
        return at, at
    return at, at + len(bare[0].rstrip(".!?:*_"))


def kinds_of(value: str) -> int:
    """How many kinds of characters there are: lower and upper case, digits, signs."""
    return sum(
        (
            any(char.islower() for char in value),
            any(char.isupper() for char in value),
            any(char.isdigit() for char in value),
            any(not char.isalnum() for char in value),
        )
    )


_ALL_KINDS = 4


def is_secret_value(
    value: str,
    *,
    password: bool,
    strict: bool = False,
    told: bool = False,
    least: int = _TOKEN_MIN,
) -> bool:
    """Whether a value looks like a real secret.

    Args:
        value: What is assigned.
        password: Whether a word for passwords announces it, else one for keys and tokens.
        strict: It has no quotes: names and calls of code are to be told from it.
        told: A sentence says it, not an assignment.
        least: How many characters a key or token has at least.
    """
    # A sign at the beginning may be an example's, or a drawn password's.
    odd = (
        password
        and kinds_of(value) == _ALL_KINDS
        and (value[:1] in "&#@%$<{(" or _begins_like_example(value))
    )
    if " " in value or len(set(value)) < 5:
        return False
    if not password and _is_drawn(value):
        return True
    if _EXAMPLE.match(value) is not None and not odd:
        return False
    kinds = kinds_of(value)
    digit = any(char.isdigit() for char in value)
    if password and kinds == _ALL_KINDS and len(value) >= _SURE_CHARS:
        return _CODE_LIKE.search(value) is None
    if password:
        if len(value) < _PASSWORD_MIN or kinds < 2 or _PLAIN_WORDS.fullmatch(value) is not None:
            return False
        if strict and (_CODE.search(value) is not None or not digit):
            return False
        return digit or kinds >= 3
    digit = digit or _MIXED.fullmatch(value) is not None
    if len(value) < least or not digit or kinds < 2 or bits_of(value) < _TOKEN_BITS:
        return False
    if strict or told:
        return _CODE.search(value) is None and (
            _IDENTIFIER.fullmatch(value) is None
            or "_" not in value.strip("_")
            or sum(map(str.isdigit, value)) >= _FIGURES  # names hold fewer
        )
    return True


def _begins_like_example(value: str) -> bool:
    """Whether an example's word is only the beginning of a password: `Example!2024x`."""
    word = _EXAMPLE.match(value)
    rest = "" if word is None or word["word"] is None else value[word.end() :]
    return kinds_of(rest) >= _SOME_KINDS and _SIGN.search(rest) is not None


def _is_any_key(text: str, word: int, value: str) -> bool:
    """Whether a value behind a mere `key` is drawn beyond doubt, and the key is no public one."""
    if UUID.match(value) is not None:
        return text[max(0, word - 1) : word + 1].startswith(("?", "&"))
    return _is_beyond_doubt(value) and not _open_key(text, word)


def _open_key(text: str, word: int) -> bool:
    """Whether what stands before a key says that it is no secret: `public key`, `cacheKey`."""
    end = word if text[word] in "kK" else word + 1
    return _OPEN.search(text, max(0, word - _OPEN_CHARS), end) is not None


def _is_beyond_doubt(value: str) -> bool:
    mixed = (
        kinds_of(_JOINS.sub("", value)) >= _SOME_KINDS or sum(map(str.isdigit, value)) >= _FIGURES
    )
    return (
        len(value) >= _ANY_MIN
        and mixed
        and bits_of(value) >= _ANY_BITS
        and _DRAWN.fullmatch(value) is not None
        and _DIGEST.fullmatch(value) is None
        and any(map(str.isdigit, value))
        and not is_placeholder(value)
    )


def is_placeholder(value: str) -> bool:
    """Whether a value begins as what documents put where a secret is to stand."""
    return _EXAMPLE.match(value) is not None and not _is_drawn(value)


def _is_drawn(value: str) -> bool:
    """Whether words are only the beginning of what is drawn otherwise."""
    worded = _WORDED.match(value)
    drawn = "" if worded is None else worded["drawn"]
    return kinds_of(drawn) == _ALL_KINDS - 1 and bits_of(drawn) >= _DRAWN_BITS


def bits_of(value: str) -> float:
    """Shannon's entropy, in bits a character."""
    return -sum(
        count / len(value) * math.log2(count / len(value)) for count in Counter(value).values()
    )


_CURL = _RULES.re2("curl")
_PASSED = _RULES.re2("passed")
_PLACES = ("quoted", "bare", "beside", "before")
_SOME_KINDS, _MOST_CHARS = 3, 200
# A sign that joins no words of prose or code.
_SIGN, _JOINS = re.compile(r"[!#$^*@+=~&]"), re.compile(r"[_.:/\-]")


def find_passed(text: str, _: str, budget: Budget) -> Iterator[Finding]:
    """The secrets that commands pass on: `-u name:...`, `-H "X-Api-Key: ..."`."""
    for match in _CURL.finditer(text):
        budget.spend()
        header = match.group("header")
        value = header or match.group("value")
        if "$" in value[:2] or "{" in value[:2] or _EXAMPLE_WORD.match(value) is not None:
            continue
        drawn = any(map(str.isdigit, value)) and len(set(value)) >= _DRAWN_KINDS
        if drawn if header else drawn or kinds_of(value) >= _SOME_KINDS:
            group = _CURL.groupindex["header" if header else "value"]
            start, end = match.span(group)
            yield Finding(SECRET_KEY, start, end, 0.85, "context.passed", _REASON)


def find_beside(text: str, _: str, budget: Budget) -> Iterator[Finding]:
    """What stands right beside the word: `login is admin / x`, `password 'x'`, `setx API_KEY "x"`."""
    for match in _PASSED.finditer(text):
        budget.spend()
        group = next(name for name in _PLACES if match.group(name))
        start, end = match.span(_PASSED.groupindex[group])
        value = text[start:end] if group == "quoted" else text[start:end].rstrip(".:,;?")
        password = match.group("login") is not None or group in ("beside", "before")
        word = match.start()
        if _PASSING.search(text, max(0, word - 12), start) or _open_key(text, word):
            continue
        if _is_beside(value, password=password, said=group in ("bare", "before")):
            end = end if password else start + len(value)
            yield Finding(SECRET_KEY, start, end, 0.8, "context.secret", _REASON)


def _is_beside(value: str, *, password: bool, said: bool) -> bool:
    """Whether a value counts that no mark assigns: of more kinds of characters than words have."""
    if not _SURE_CHARS <= len(value) <= _MOST_CHARS:
        return False
    if _is_beyond_doubt(value):
        return True
    signed = password and _SIGN.search(value) is not None
    if (said and not signed) or kinds_of(_JOINS.sub("", value)) < _SOME_KINDS:
        return False
    return is_secret_value(value, password=password, strict=True)


_EXAMPLE_WORD = _RULES.re("example-word")
_DRAWN_KINDS = 6

RECOGNISERS: tuple[Prefiltered, ...] = (
    (_RULES.pattern("shape"), find_assigned),
    (_RULES.pattern("curl-shape"), find_passed),
    (_RULES.pattern("beside-shape"), find_beside),
)

_SECRET_KEYS = _RULES.words("secret-keys")
_DRAWN_KEYS = _RULES.words("drawn-keys")
KEYS = _SECRET_KEYS | _RULES.words("token-keys") | _DRAWN_KEYS


def is_value(key: str, text: str) -> bool:
    """Whether what stands under a squashed key for secrets looks like a real one."""
    if key in _DRAWN_KEYS:
        return _is_beyond_doubt(text.rpartition(" ")[2])
    return is_secret_value(text, password=key in _SECRET_KEYS)
