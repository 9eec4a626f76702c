"""Patterns are found and numbered alike, however they are put together and however their places are counted."""

from __future__ import annotations

import re

import pytest
import re2
from hypothesis import given
from hypothesis import strategies as st

from mc_platform.screen.prefilter import Prefilter, without_end
from mc_platform.screen.rules import compiled

_ANY = frozenset[str]()
# The second and the last but one count, so that they are in a Set of their own.
PATTERNS = ("card", "[a-z0-9]{12}x", r"(?i)\bname", "(?:[A-Z][ -]?){11}9", "z")


@pytest.mark.parametrize("size", [0, 1, 2, 9])
@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("a card's NAME", [0, 2]),
        ("card abcdefghijklx z", [0, 1, 4]),
        ("A-B-C-D-E-F-G-H-I-J-K9", [3]),
        ("nothing", []),
        ("", []),
    ],
)
def test_patterns_have_the_numbers_that_they_were_given_in(size, text, numbers) -> None:
    """Hits are told in order, whichever Sets the patterns share."""
    prefilter = Prefilter(([r"[@]@"], _ANY, 0), (PATTERNS, _ANY, size))
    assert [hit - 1 for hit in prefilter.hits(text)] == numbers
    assert prefilter.hits(f"@@ {text}")[:1] == [0]


@pytest.mark.parametrize("size", [1, 2])
def test_sets_that_may_hit_are_enough(size) -> None:
    """Asked of those Sets alone that hit in some texts together, each text has the same hits."""
    prefilter = Prefilter((PATTERNS, _ANY, size))
    texts = ["a card", "abcdefghijklx", "zz"]
    may_hit = prefilter.may_hit(texts)
    for text in texts:
        assert prefilter.hits(text, only=may_hit) == prefilter.hits(text) != []


ENDLESS = {
    r"(?i)customer [a-z.'\-]{1,20} [a-z ]{1,40},": r"(?i)customer [a-z.'\-]+ [a-z ]+,",
    r"a(?:[ ]\w{2,12}){0,9}?b": r"a(?:[ ]\w{2,})*?b",
    r"[\]{1,9}]\p{Lu}{3,8}\{1,9}": r"[\]{1,9}]\p{Lu}{3,8}\{1,9}",
    r"[]{1,9}]x{9,9}[^]a{0,9}]": r"[]{1,9}]x{9,}[^]a{0,9}]",
}


@pytest.mark.parametrize(("pattern", "endless"), ENDLESS.items())
def test_counts_up_to_many_have_no_end(pattern, endless) -> None:
    assert without_end(pattern) == endless
    re2.compile(endless)


@pytest.mark.parametrize("pattern", list(ENDLESS)[:2])
@given(data=st.data())
def test_what_has_no_end_occurs_wherever_the_pattern_does(pattern, data) -> None:
    text = data.draw(st.from_regex(re.compile(pattern, re.ASCII)))  # as RE2 has \w
    assert re2.search(without_end(pattern), text)


TEXTS = st.text("ab1 ", max_size=12) | st.text("ab1 é€😀", max_size=12)
EDGES = st.none() | st.integers(0, 14)


@pytest.mark.parametrize("pattern", ["a(b?)", "b*", r"(\d)|(?P<value>é)", "", r"\bab\b|€+"])
@given(text=TEXTS, pos=EDGES, endpos=EDGES)
def test_places_are_those_that_re2_counts(pattern, text, pos, endpos) -> None:
    """All spans of all matches are re2's own, in ASCII and in other text."""
    ours, own = compiled(pattern), re2.compile(pattern)
    for ask in ("search", "match", "fullmatch"):
        one, other = getattr(ours, ask)(text, pos, endpos), getattr(own, ask)(text, pos, endpos)
        assert (one and _spans(one)) == (other and _spans(other))
    assert [_spans(one) for one in ours.finditer(text, pos, endpos)] == [
        _spans(one) for one in own.finditer(text, pos, endpos)
    ]


def _spans(match) -> list[tuple[int, int]]:
    return [match.span(group) for group in range(match.re.groups + 1)]
