"""Where the screener looks, its bounds, and what redaction leaves."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from mc_platform.model.label import Screening
from mc_platform.screen import LibraryScreener
from mc_platform.screen.message.strings import KEY
from mc_platform.screen.text.normalise import normalise

SCREENER = LibraryScreener()
MAIL = "bob@example.com"
CARD = "4111111111111111"


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _redact(*parts: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    return SCREENER.redact(parts, SCREENER.screen(parts))


@pytest.mark.parametrize(
    ("part", "path"),
    [
        ({"text": MAIL}, (0, "text")),
        ({"data": {"a": [1, {"b": MAIL}]}}, (0, "data", "a", 1, "b")),
        ({"data": {MAIL: 1}}, (0, "data", MAIL, KEY)),
        ({"data": {"n": int(CARD)}}, (0, "data", "n")),
        ({"data": {"n": float(CARD)}}, (0, "data", "n")),
        ({"url": f"https://example.com/?q={MAIL}"}, (0, "url")),
        ({"raw": _b64(MAIL), "mediaType": "text/csv; charset=utf-8"}, (0, "raw")),
        ({"text": "x", "filename": f"{MAIL}.txt"}, (0, "filename")),
        ({"text": "x", "metadata": {"from": MAIL}}, (0, "metadata", "from")),
        ({"text": "x", MAIL: "y"}, (0, MAIL, KEY)),
    ],
)
def test_every_string_of_a_part_is_looked_at(part: dict[str, Any], path: object) -> None:
    """Text, data (keys and numbers too), url, text files, names and metadata are screened."""
    assert [label.path for label in SCREENER.screen((part,)).labels] == [path]


@pytest.mark.parametrize(
    "part",
    [
        {"raw": _b64("x"), "mediaType": "image/png"},
        {"raw": _b64("x")},
        {"raw": "not base64!", "mediaType": "text/plain"},
        {"raw": base64.b64encode(MAIL.encode("utf-16")).decode(), "mediaType": "text/plain"},
        {"raw": base64.b64encode(b"b\0o\0b\0").decode(), "mediaType": "text/plain"},
        {"url": "data:text/plain;base64,AAAA"},
    ],
)
def test_file_that_is_not_text_is_labelled_opaque(part: dict[str, Any]) -> None:
    """What cannot be read is said to be so, and gives way to a placeholder on redaction."""
    assert SCREENER.screen((part,)).types == {"opaque-file"}
    assert _redact({**part, "metadata": {"k": "v"}}) == (
        {"text": "[opaque-file]", "metadata": {"k": "v"}},
    )


def test_redaction_replaces_spans_by_typed_placeholders() -> None:
    """Only the labelled spans change."""
    assert _redact({"text": f"{MAIL} paid with {CARD}, ok", "metadata": {"k": 1}}) == (
        {"text": "[email] paid with [payment-card], ok", "metadata": {"k": 1}},
    )


def test_redaction_turns_numbers_into_strings_and_keeps_both_of_two_keys() -> None:
    """A numeric leaf becomes a placeholder; no value is lost to equal placeholders."""
    data = {"card": int(CARD), MAIL: 1, "ann@example.com": 2, "rest": [True, None, 1.5]}
    assert _redact({"data": data}) == (
        {
            "data": {
                "card": "[payment-card]",
                "[email]": 1,
                "[email] (2)": 2,
                "rest": [True, None, 1.5],
            }
        },
    )


def test_redaction_reaches_into_text_files() -> None:
    """A text file stays a file, without what was found in it."""
    (part,) = _redact({"raw": _b64(f"to {MAIL}"), "mediaType": "text/plain", "filename": "a.txt"})
    assert base64.b64decode(part["raw"]) == b"to [email]"
    assert part["filename"] == "a.txt"


def test_overlapping_findings_become_one_placeholder_of_the_gravest_type() -> None:
    """Credentials in a URL contain what looks like an address: one secret is replaced."""
    assert _redact({"text": "https://user:robert@example.com/x"}) == (
        {"text": "https[secret-key]/x"},
    )


def test_redaction_replaces_only_what_the_screening_holds() -> None:
    """Types that are not in the screening given are left."""
    parts = ({"text": f"{MAIL} {CARD}"},)
    emails = tuple(label for label in SCREENER.screen(parts).labels if label.type == "email")
    assert SCREENER.redact(parts, Screening(emails)) == ({"text": f"[email] {CARD}"},)


def test_redaction_changes_nothing_without_labels() -> None:
    """Honest parts come back as the same objects; the input is never changed."""
    part = {"text": "order O-2001"}
    assert _redact(part)[0] is part


def test_string_with_too_many_candidates_is_labelled_not_passed() -> None:
    """Beyond its budget a string is labelled as a whole, and gives way as a whole."""
    screener = LibraryScreener(candidates_per_leaf=5, candidates_per_message=100)
    parts = ({"text": f"{MAIL} " * 6}, {"text": f"x {MAIL}"})
    screening = screener.screen(parts)
    assert screening.types == {"email", "screening-limit"}
    assert screener.redact(parts, screening) == (
        {"text": "[screening-limit]"},
        {"text": "x [email]"},
    )


def test_message_with_too_many_candidates_is_labelled_not_passed() -> None:
    """Spreading candidates over many strings does not lift the bound."""
    screener = LibraryScreener(candidates_per_leaf=5, candidates_per_message=20)
    parts = tuple({"text": MAIL} for _ in range(30))
    screening = screener.screen(parts)
    assert screening.counts()["email"] > 0
    assert {label.path[0] for label in screening.labels} == set(range(30))
    assert {(28, "text"), (29, "text")} <= {
        label.path for label in screening.labels if label.type == "screening-limit"
    }


def test_structure_too_deep_to_walk_is_labelled() -> None:
    """Nesting beyond the bound is labelled and replaced, not followed."""
    deep: Any = MAIL
    for _ in range(500):
        deep = [deep]
    parts = ({"data": deep},)
    screening = SCREENER.screen(parts)
    assert screening.types == {"screening-limit"}
    assert MAIL not in str(SCREENER.redact(parts, screening))


def test_prefilter_that_fails_asks_every_finder(monkeypatch: pytest.MonkeyPatch) -> None:
    """A re2 Set that finds nothing, not even its witness, does not let a message pass."""
    screener = LibraryScreener()

    def fails(_: bytes) -> list[int]:
        return []

    broken = [(fails, *rest) for _, *rest in screener._prefilter._sets]
    monkeypatch.setattr(screener._prefilter, "_sets", broken)
    assert screener.screen(({"text": f"{MAIL} {CARD}"},)).types == {"email", "payment-card"}


@pytest.mark.parametrize("where", ["text", "key", "history", "raw key"])
def test_lone_surrogate_is_read_over_wherever_it_stands(where: str) -> None:
    """JSON may hold half a character; what stands beside it is found, and nothing raises."""
    odd = f"\ud800 {CARD} \udfff"
    parts: dict[str, tuple[Any, ...]] = {
        "text": ({"text": odd},),
        "key": ({"data": {odd: {f"\ud800 {CARD}": "x"}, "\ud801": CARD}},),
        "history": ({"text": "1111 1111, the rest"},),
        "raw key": ({odd: 1, "\ud800": odd},),
    }
    history = ["\ud800 it begins with 4111 1111"] if where == "history" else []
    screening = SCREENER.screen(parts[where], history=history)
    assert "payment-card" in screening.types
    assert SCREENER.redact(parts[where], screening) != parts[where]


@pytest.mark.parametrize("character", ["\u200b", "\u00ad", "\u2060", "\ufeff", "\u202e", "\ufe0f"])
def test_invisible_characters_hide_nothing(character: str) -> None:
    """Zero-width, bidi and variation characters are looked through, and redacted with the rest."""
    text = f"to {character.join(MAIL)} and {character.join(CARD)}."
    parts = ({"text": text},)
    screening = SCREENER.screen(parts)
    assert screening.types == {"email", "payment-card"}
    assert SCREENER.redact(parts, screening) == ({"text": "to [email] and [payment-card]."},)


def test_normalised_span_leads_back_to_the_original() -> None:
    """Expanding and vanishing characters do not shift a span."""
    text = "\ufb03\u200b x\u2013y \u0661"
    seen = normalise(text)
    assert seen.text == "ffi x-y 1"
    assert text[slice(*seen.span(4, 7))] == "x\u2013y"
    assert text[slice(*seen.span(8, 9))] == "\u0661"


def test_lone_surrogates_and_empty_parts_do_not_disturb() -> None:
    """Text that cannot be encoded is still screened."""
    assert SCREENER.screen(({"text": f"\ud800 {MAIL} \udfff"},)).types == {"email"}
    assert SCREENER.screen(({}, {"text": ""}, {"text": "\u200b" * 10}, {"data": None})).labels == ()
