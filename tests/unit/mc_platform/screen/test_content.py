"""What is found out once about a message is what each who asks would have found out."""

from __future__ import annotations

import gc
import math
import pickle
import re
import unicodedata
from collections import deque
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.fakes import DIGEST_KEYS, FINGERPRINT_KEYS

from mc_contract.canonical import canonical_json
from mc_platform.model.ids import TenantId
from mc_platform.pipeline import examine
from mc_platform.record import ContentFingerprints, Digester, fingerprints
from mc_platform.screen import LibraryScreener
from mc_platform.screen.content import Content
from mc_platform.screen.findings import Budget
from mc_platform.screen.message.strings import leaves
from mc_platform.screen.said import said

SCREENER = LibraryScreener()
FINGERPRINTS = ContentFingerprints(FINGERPRINT_KEYS)
EXAMINER = examine.Examiner(
    screener=SCREENER, digester=Digester(DIGEST_KEYS), fingerprints=FINGERPRINTS
)
TENANT = TenantId("TENANT_001")

_SAID = (
    "the order O-2001 was sent on 2026-01-12 to ann@example.com call +44 20 7946 0958 or see"
    " https://a.example/b?c=4711 1. 2. 3. 4. 5. 6. 7. 8. 9. 4111 1111 1111 1111 DE89370400440532013000"
    " SGVsbG8sIHdvcmxkISBUaGlzIGlzIGEgdGVzdC4= 48656c6c6f20776f726c6421 %48%65%6c%6c%6f p\u0430y"
    " Gr\u00fc\u00dfe \ufb01ne \u5ba2\u6237\u7684\u7535\u5b50 \u0664\u0664 _ - 123456789012 987654"
)
_WORDS = st.sampled_from(_SAID.split())
_TEXTS = st.lists(_WORDS, max_size=40).map(" ".join) | st.text(max_size=60)
_VALUES = st.recursive(
    _TEXTS | st.none() | st.booleans() | st.integers(-(10**17), 10**17) | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)
_PARTS = st.lists(
    st.fixed_dictionaries({"text": _TEXTS})
    | st.fixed_dictionaries({"data": _VALUES})
    | st.fixed_dictionaries({"text": _TEXTS, "metadata": st.dictionaries(_TEXTS, _TEXTS)}),
    max_size=3,
).map(tuple)


@given(_PARTS)
def test_what_is_said_is_the_same_after_screening(parts: tuple[Any, ...]) -> None:
    """Screening tells which decoders a text needs; without it they are looked for."""
    content = Content(parts)
    assert SCREENER.screen(content) == SCREENER.screen(parts)
    assert said(content) == said(Content(parts))
    assert said(content) is said(content)


@given(_PARTS, st.integers(0, 60))
def test_strings_cost_what_a_walk_of_its_own_costs(parts: tuple[Any, ...], work: int) -> None:
    """So a message ends where it did: the walk that pays for each value is the oracle."""

    def budget() -> Budget:
        return Budget(per_leaf=1, per_message=1, work=work, more=lambda: work / 2)

    walked, shared = budget(), budget()
    content = Content(parts)
    seen = leaves(parts, walked)
    # NaN is no leaf of its own, so texts tell them apart
    assert list(map(str, content.leaves_within(shared))) == list(map(str, seen))
    assert walked.exhausted == shared.exhausted
    free = Budget(per_leaf=1, per_message=1, work=math.inf)
    assert list(map(str, content.leaves_within(free))) == list(map(str, leaves(parts)))


def test_what_was_found_out_does_not_travel() -> None:
    """A worker process gets the parts; it finds out what it needs."""
    content = Content(({"text": "hello"},))
    said(content)
    sent = pickle.loads(pickle.dumps(content))
    assert type(sent) is Content
    assert sent == content == ({"text": "hello"},)
    assert sent.said is None


@given(_PARTS, _PARTS)
def test_a_reply_keeps_the_same_whether_its_request_was_examined(
    asked: tuple[Any, ...], reply: tuple[Any, ...]
) -> None:
    """The request's fingerprints stand for its texts; those are the oracle."""
    request = Content(asked)
    EXAMINER.incoming(TENANT, request, {}, examine.NO_SCOPE, ())
    known = EXAMINER.outgoing(TENANT, (*reply, *asked), request, examine.NO_SCOPE, (), frozenset())
    fresh = EXAMINER.outgoing(TENANT, (*reply, *asked), asked, examine.NO_SCOPE, (), frozenset())
    assert known == fresh


@given(_PARTS)
def test_the_digest_is_that_of_numbers_in_one_spelling(parts: tuple[Any, ...]) -> None:
    """What has no float is written at once, and what has one as before."""
    whole = {"agent": "x", "parts": examine._without_floats(list(parts))}
    try:
        expected = Digester(DIGEST_KEYS).digest(canonical_json(whole))
    except (ValueError, OverflowError) as error:
        expected = type(error).__name__
    try:
        found = EXAMINER.digest(parts, {"agent": "x"})
    except (ValueError, OverflowError) as error:
        found = type(error).__name__
    assert found == expected


# -- fingerprints, as they were taken one by one -----------------------------------------------


def _old_runs(start: Any, texts: list[str], most: int) -> list[int]:
    found = []
    for text in texts:
        words = fingerprints._WORD.findall(unicodedata.normalize("NFKC", text).casefold())
        half = most // 2
        for some in [words] if len(words) <= most else [words[:half], words[-half:]]:
            for at in range(len(some) - 7):
                one = start.copy()
                one.update(" ".join(some[at : at + 8]).encode("utf-8", "replace"))
                found.append(int.from_bytes(one.digest(), "big", signed=True))
    return found


def _old_least(digests: list[int], window: int) -> set[int]:
    rising: deque[int] = deque()
    found: set[int] = set()
    for at, digest in enumerate(digests):
        while rising and digests[rising[-1]] >= digest:
            rising.pop()
        rising.append(at)
        if rising[0] <= at - window:
            rising.popleft()
        if at >= window - 1:
            found.add(digests[rising[0]])
    return found


_OLD_DATE = re.compile(
    r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[t ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?"
    r"(?:z|[+\-][0-9]{2}:?[0-9]{2})?)?\b|\b[0-9]{1,2}[./][0-9]{1,2}[./](?:[0-9]{4}|[0-9]{2})\b"
    r"|\b[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?\b"
)


def _old_identifiers(text: str) -> set[str]:
    found: set[str] = set()
    plain = _OLD_DATE.sub(" | ", text[:80_000])
    for url in fingerprints._URL.finditer(plain):
        host, _, rest = url[1].rstrip(".,;:!?").partition("/")
        if len(rest) > 3:
            found.add(f"{host}/{rest}")
    for address in fingerprints._ADDRESS.finditer(plain):
        found.add(address[0].rstrip(".-"))
    for token in fingerprints._TOKEN.finditer(plain):
        squashed = re.sub(r"[\W_]+", "", token[0])
        digits = sum(map(str.isdigit, squashed))
        if len(squashed) >= 9 and digits >= 5 and not squashed.isdigit():
            found.add(squashed)
    for figures in fingerprints._FIGURES.finditer(plain):
        only = re.sub(r"[\W_]+", "", figures[0])
        runs = [only[at : at + 9] for at in range(len(only) - 8)]
        found |= {run for run in runs if len(set(run)) >= 4}
    for one, other in pairwise(number[0] for number in fingerprints._NUMBER.finditer(plain)):
        long = len(one) + len(other) >= 11 and max(len(one), len(other)) >= 6
        if long and len(set(one + other)) >= 4:
            found.add("+".join(sorted((one, other))))
    return found


@given(st.lists(_TEXTS, max_size=3), st.integers(8, 30))
def test_runs_of_words_have_the_digests_that_they_had(texts: list[str], most: int) -> None:
    """They are in the database: another value would make every earlier one unknown."""
    start = fingerprints._start(FINGERPRINT_KEYS.active, "T")
    assert list(fingerprints._runs(start, texts, most)) == _old_runs(start, texts, most)


_FIGURES = st.text(st.sampled_from("0123459tz:./-+_ abé\u0664"), max_size=60)


@given(_TEXTS.map(str.casefold) | _FIGURES)
def test_identifiers_are_those_of_every_pattern(text: str) -> None:
    """What is looked for only where digits or signs stand is found as if it were everywhere."""
    assert fingerprints._DATE.sub(" | ", text) == _OLD_DATE.sub(" | ", text)
    assert set(fingerprints._identifiers([text])) == _old_identifiers(text)


@given(st.lists(st.integers(-9, 9), max_size=40), st.integers(1, 40))
def test_the_least_of_neighbours_is_the_same_both_ways(digests: list[int], window: int) -> None:
    """Few neighbours are compared directly, many with a queue."""
    assert fingerprints._least_of_each(digests, window) == _old_least(digests, window)


def test_nothing_refers_to_a_message_that_was_let_go() -> None:
    """A circle would keep each message until the collector finds it."""

    def known() -> int:
        return sum(type(one) is Content for one in gc.get_objects())

    gc.disable()
    try:
        before = known()
        content = Content(({"text": "call +44 20 7946 0958"}, {"data": {"ssn": "536-90-4399"}}))
        SCREENER.screen(content)
        said(content)
        assert known() == before + 1
        del content
        assert known() == before
    finally:
        gc.enable()
