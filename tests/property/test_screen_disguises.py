"""The laws of looking through disguises: spans stay true, and redaction leaves nothing."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from mc_platform.screen import LibraryScreener
from mc_platform.screen.text.decoders import decode_base64, decode_entities, decode_percent

SCREENER = LibraryScreener()
CARDS = ("4111111111111111", "5500000000000004", "378282246310005")
VALUES = st.sampled_from([*CARDS, "bob@example.com", "DE89370400440532013000", "536-90-4399"])
BREAKS = st.sampled_from(["\n", "\t", "_", "\0", ".", " ", "\u2003", "\u0301", "\u200b", ", "])
RELAXED = settings(max_examples=examples(150))


def _encoded(value: str, way: int) -> str:
    if way == 0:
        return "".join(f"%{byte:02X}" for byte in value.encode())
    if way == 1:
        return "".join(f"&#{ord(char)};" for char in value)
    if way == 2:
        return base64.b64encode(f"it is {value}".encode()).decode()
    return quote(value, safe="")


FRAGMENT = st.one_of(
    VALUES,
    st.builds(_encoded, VALUES, st.integers(0, 3)),
    st.text("0123456789 \n\t_%&;#xa=", max_size=12),
    st.sampled_from(["4111", "1111", "41", "%", "&amp;", "x", "bob@exam", "ple.com"]),
)
STRING = st.lists(FRAGMENT, max_size=5).map("".join)
PARTS = st.one_of(
    st.lists(st.builds(lambda text: {"text": text}, STRING), max_size=6),
    st.lists(
        st.builds(
            lambda values: {"data": values}, st.lists(st.one_of(STRING, st.integers()), max_size=8)
        ),
        max_size=2,
    ),
)


@RELAXED
@given(parts=PARTS)
def test_redacted_disguises_hold_none_of_the_types_redacted(parts: list[dict[str, Any]]) -> None:
    """Encoded, split and separated values are gone after redaction, and spans are within."""
    screening = SCREENER.screen(parts)
    for label in screening.labels:
        assert 0 <= label.start < label.end
    redacted = SCREENER.redact(parts, screening)
    assert not SCREENER.screen(redacted).types & screening.types


@RELAXED
@given(
    card=st.sampled_from(CARDS[:2]), breaks=BREAKS, after=st.sampled_from(["", " ok", "\n12/29"])
)
def test_separated_card_is_always_found(card: str, breaks: str, after: str) -> None:
    """Groups of four with any separator are a card, in one string, a list and text parts."""
    groups = [card[at : at + 4] for at in range(0, 16, 4)]
    for parts in (
        ({"text": f"see {breaks.join(groups)}{after}"},),
        ({"data": groups},),
        tuple({"text": group} for group in groups),
    ):
        assert "payment-card" in SCREENER.screen(parts).types


@RELAXED
@given(text=STRING)
def test_views_lead_back_into_the_string(text: str) -> None:
    """Every character of a view comes from a non-empty span of the string, in order."""
    for view in (*decode_percent(text), *decode_entities(text), *decode_base64(text)):
        spans = [view.span(at, at + 1) for at in range(len(view.text))]
        assert all(0 <= start < end <= len(text) for start, end in spans)
        assert spans == sorted(spans)
