"""Secrets and keys, by the rules of detect-secrets, and the platform's own tokens.

The rules' patterns run in re2, so that no input can make them backtrack. A finding is stretched
over the whole token: the rules tell that a secret is there, redaction must not leave its tail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module

import re2
from detect_secrets.plugins.base import RegexBasedDetector
from detect_secrets.plugins.basic_auth import BasicAuthDetector
from detect_secrets.plugins.jwt import JwtTokenDetector
from detect_secrets.plugins.private_key import PrivateKeyDetector

from mc_contract.credential import TOKEN_FORM
from mc_platform.screen.findings import SECRET_KEY, Budget, Finding
from mc_platform.screen.rules import compiled, rule_file

_RULES = rule_file("keys")
_TAIL = re.compile(r"[A-Za-z0-9_\-+/=]*")
_JWT_TAIL = re.compile(r"[A-Za-z0-9_\-+/=.]*")
_LONG_REPETITION = re.compile(r"\{(\d+),\d{3,}\}")
_EXAMPLE_LOGIN = _RULES.re("example-login")
_END_MARK = "-----END"
_LONGEST_BLOCK = 1 << 16
_OWN_TOKEN = "mc-platform.token"  # noqa: S105 - the name of a rule


@dataclass(frozen=True, slots=True)
class KeyRule:
    """One pattern: for the prefilter as text, for spans compiled; `stretch` ends the secret."""

    name: str
    pattern: str
    compiled: re2._Regexp
    stretch: Callable[[str, int], int]
    valid: Callable[[str], bool]


def over_token(text: str, end: int) -> int:
    found = _TAIL.match(text, end)
    return end if found is None else found.end()


def _over_jwt(text: str, end: int) -> int:
    found = _JWT_TAIL.match(text, end)
    return end if found is None else end + len(found[0].rstrip("."))


def _over_key_block(text: str, end: int) -> int:
    # The rule sees the header only; the key is what follows. Without an end mark the rest of
    # the string is taken: half a key is a secret too.
    mark = text.find(_END_MARK, end, end + _LONGEST_BLOCK)
    if mark < 0:
        return min(len(text), end + _LONGEST_BLOCK)
    close = text.find("-----", mark + len(_END_MARK))
    return len(text) if close < 0 else close + 5


_SHORT_VALUE = 10
_CAMEL_CASE = re.compile(r"[a-z]{3,}(?:[A-Z][a-z]{2,}){2,}")
_FEW_KINDS, _MOST = 2, 0.5


def _always(_: str) -> bool:
    return True


def is_drawn(token: str) -> bool:
    """Whether a token's value looks drawn: what documents put in its place repeats one character."""
    value = max(re.split(r"[_\-.:/=\s]", token), key=len)
    if token[-12:].count("*") + token[-12:].count("#") > 2:
        return False
    if len(value) < _SHORT_VALUE:
        return True
    if _CAMEL_CASE.fullmatch(value) is not None:
        return False  # `s.makeKubeConfigController`
    most = max(map(value.lower().count, set(value.lower())))
    return len(set(value)) >= _FEW_KINDS and most <= _MOST * len(value)


def _rule(name: str, pattern: str, plugin: type[RegexBasedDetector] | None = None) -> KeyRule:
    stretch: Callable[[str, int], int] = over_token
    valid: Callable[[str], bool] = is_drawn
    if name == _OWN_TOKEN:
        valid = _always  # whoever issues it knows its form
    elif plugin is JwtTokenDetector:
        stretch, valid = _over_jwt, _is_jwt
    elif plugin is PrivateKeyDetector:
        stretch, valid = _over_key_block, _is_key_block
    elif plugin is BasicAuthDetector or name.endswith("url.login"):
        valid = _is_no_example
    return KeyRule(name, pattern, compiled(pattern), stretch, valid)


_KEY_LINE = re.compile(r"[A-Za-z0-9+/=]{16}|-----(?:\s|\\n)+[A-Za-z0-9+/=]{4,}(?:\s|\\n)+-----END")

_BLOCK_CHARS = 2048
_STRETCH_WORK = 0.05


def _is_key_block(block: str) -> bool:
    # Prose and code that speak of such blocks hold the header alone.
    # A bound, since the next header may be tried as well: half a key is within it.
    shown = block[:_BLOCK_CHARS].replace("PRIVATE KEY", "")
    return _KEY_LINE.search(shown) is not None


def _is_no_example(link: str) -> bool:
    # `://user:password@host` is what documents write where a reader is to put their own.
    return _EXAMPLE_LOGIN.match(link) is None


def _is_jwt(token: str) -> bool:
    # The signature is no JSON; the library checks header and payload alone by their index.
    return JwtTokenDetector.is_formally_valid(".".join(token.split(".")[:2]))


def _for_re2(pattern: re.Pattern[str]) -> str:
    # re2 knows no look-ahead and no repetition beyond 1000. Where a rule ends in one of them,
    # the stretching does its work.
    text = _LONG_REPETITION.sub(r"{\1}", pattern.pattern.replace(r"(?!\w)", ""))
    return f"(?i){text}" if pattern.flags & re.IGNORECASE else text


def _library_rules() -> Iterator[KeyRule]:
    for listed in _RULES.listed("detect-secrets"):
        module, _, detector = listed.partition(":")
        plugin = getattr(import_module(f"detect_secrets.plugins.{module}"), detector)
        name = plugin.__name__.removesuffix("Detector")
        for pattern in plugin().denylist:
            yield _rule(f"detect-secrets.{name}", _for_re2(pattern), plugin)


def _own_rules() -> Iterator[KeyRule]:
    for row in _RULES.table.key:
        yield _rule(f"form.{row.name}", _RULES.expand(row.pattern))
    yield _rule("form.pem", _RULES.pattern("pem"), PrivateKeyDetector)


KEY_RULES = (_rule(_OWN_TOKEN, TOKEN_FORM), *_library_rules(), *_own_rules())


def find_keys(rule: KeyRule, text: str, _: str, budget: Budget) -> Iterator[Finding]:
    """The spans that one rule finds; each is looked at once, however often it begins."""
    done = 0
    for match in rule.compiled.finditer(text):
        start, end = match.span()
        if start < done:
            continue
        if text[max(0, start - 1) : start].isalnum() and text[start : start + 1].isalnum():
            continue  # it begins within a word, a digest or a sequence
        budget.spend()
        end = rule.stretch(text, end)
        budget.work(_STRETCH_WORK * min(end - start, _BLOCK_CHARS))
        if rule.valid(text[start:end]):
            done = end
            if rule.stretch is _over_key_block:
                start = len(text[:start].rstrip("-"))
            yield Finding(SECRET_KEY, start, end, 0.9, rule.name)
