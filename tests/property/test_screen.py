"""The laws of screening: it never crashes, it counts right, and what is redacted stays so."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from mc_platform.model.label import Part
from mc_platform.screen import LibraryScreener

SCREENER = LibraryScreener()
SENSITIVE = st.sampled_from(
    [
        "bob@example.com",
        "4111 1111 1111 1111",
        "378282246310005",
        "DE89370400440532013000",
        "12345678Z",
        "536-90-4399",
        "+44 20 7946 0958",
        "(202) 555-0143",
        "AKIAIOSFODNN7EXAMPLE",
        "mc_0123456789ab_" + "A" * 43,
        "-----BEGIN RSA PRIVATE KEY-----\nMIICXAIBAAKBgQDf\n-----END RSA PRIVATE KEY-----",
        "https://u:pw@h.example/",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc",
    ]
)
FRAGMENT = st.one_of(SENSITIVE, st.text(max_size=8), st.text("0123456789 -.@+()/", max_size=20))
STRING = st.lists(FRAGMENT, max_size=5).map("".join)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), STRING),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(STRING, inner, max_size=3),
    max_leaves=8,
)
PART = st.one_of(
    st.fixed_dictionaries({"text": STRING}, optional={"metadata": JSON, "filename": STRING}),
    st.fixed_dictionaries({"data": JSON}),
    st.fixed_dictionaries({"url": STRING}),
    st.fixed_dictionaries({"raw": STRING}, optional={"mediaType": st.just("text/plain")}),
    st.dictionaries(STRING, JSON, max_size=3),
)
PARTS = st.lists(PART, max_size=3)
RELAXED = settings(max_examples=examples(150))


@RELAXED
@given(parts=PARTS)
def test_redacted_message_holds_none_of_the_types_redacted(parts: list[Part]) -> None:
    """After redaction, screening finds none of the types that were redacted."""
    screening = SCREENER.screen(parts)
    redacted = SCREENER.redact(parts, screening)
    assert not SCREENER.screen(redacted).types & screening.types


@RELAXED
@given(parts=PARTS)
def test_redaction_is_idempotent(parts: list[Part]) -> None:
    """Redacting what is redacted changes nothing."""
    once = SCREENER.redact(parts, SCREENER.screen(parts))
    second = SCREENER.screen(once)
    if not second.labels:
        assert SCREENER.redact(once, second) == once


@RELAXED
@given(parts=st.lists(JSON, max_size=3))
def test_arbitrary_json_never_crashes(parts: list[Any]) -> None:
    """Parts that are no A2A parts at all are screened and redacted all the same."""
    screening = SCREENER.screen(parts)
    assert SCREENER.redact(parts, screening) is not None


@RELAXED
@given(text=st.lists(FRAGMENT, max_size=6).map("".join))
def test_spans_lie_within_the_original_text(text: str) -> None:
    """Every span is a non-empty piece of the string that was sent."""
    for label in SCREENER.screen(({"text": text},)).labels:
        assert 0 <= label.start < label.end <= len(text)


@RELAXED
@given(
    before=st.text(" .,;:!?\nabc", max_size=10),
    value=SENSITIVE,
    after=st.text(" .,;\n", max_size=5),
)
def test_planted_value_does_not_survive_redaction(before: str, value: str, after: str) -> None:
    """A value standing by itself in text is never in the redacted message."""
    parts: list[Part] = [{"text": f"{before} {value} {after}"}]
    assert value not in str(SCREENER.redact(parts, SCREENER.screen(parts)))


@RELAXED
@given(number=st.integers(min_value=10**11, max_value=10**19 - 1))
def test_number_that_fails_the_checksum_is_no_card(number: int) -> None:
    """A payment card is never claimed where Luhn's sum does not hold."""
    digits = [int(digit) for digit in reversed(str(number))]
    total = sum(digits[::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])
    found = "payment-card" in SCREENER.screen(({"text": f"card {number}"},)).types
    assert not found or total % 10 == 0
