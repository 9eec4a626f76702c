"""Wording that tries to take over an agent, or to get at its instructions.

Wording is a sign, no proof, and can be changed at will: what an agent may do is bounded elsewhere
(taint, allow-lists). Hence precision before recall: text that speaks *about* such wording, which
quotes it or describes what attackers do, is left alone where that can be seen.
"""

from __future__ import annotations

from mc_platform.screen.detectors.recogniser import Prefiltered, recognisers
from mc_platform.screen.rules import rule_file

_RULES = rule_file("prompt_injection")
_QUOTES = "\"'“”„‘’«»`「」"
_TALK_CHARS = 140
_TALK, _TOLD_OF, _ATTACKED = map(_RULES.re2, ("talk", "told-of", "attacked"))
_OF_A_FILE, _OF_A_SHELL = map(_RULES.re2, ("of-a-file", "of-a-shell"))


def discussed(text: str, start: int, end: int) -> bool:
    """Whether a phrase is spoken about: quoted beside words of the trade, or told of a third party."""
    before, after = text[max(0, start - _TALK_CHARS) : start], text[end : end + _TALK_CHARS]
    if _TOLD_OF.search(before) is not None and _ATTACKED.search(before) is not None:
        return True
    opened = any(mark in _QUOTES for mark in before[-40:])
    closed = any(mark in _QUOTES for mark in after[:60])
    near = before[-100:] + " " + after[:80]
    return opened and closed and _TALK.search(near) is not None


def _addressed(text: str, start: int, end: int) -> bool:
    return (
        not discussed(text, start, end)
        and _OF_A_FILE.search(text[end : end + _TALK_CHARS]) is None
        and _OF_A_SHELL.search(text[end : end + _TALK_CHARS]) is None
    )


def _bare(text: str, start: int, end: int) -> bool:
    # Code and documents about chat templates quote the delimiters.
    return text[max(0, start - 1) : start] not in tuple(_QUOTES) and _addressed(text, start, end)


RECOGNISERS: tuple[Prefiltered, ...] = (
    *recognisers(_RULES, {"addressed": _addressed, "bare": _bare}),
)
