"""A key says what its value is, however its words are written: data and text are the same message."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.examples import examples

from mc_platform.screen import LibraryScreener

SCREENER = LibraryScreener()
DRAWN = "kR8vQ2mZx7LpT4w" + "Yc9BnD3sF"
ANNOUNCED = (
    ("secret-key", "github token", DRAWN),
    ("secret-key", "api key", DRAWN),
    ("secret-key", "client secret", "7b0f4f0e-2f7a-4b55-9c0d-54a1c7a2f9d3"),
    ("secret-key", "user password", "x9!Kq2Lm0z"),
    ("secret-key", "recovery code", "a1b2-c3d4"),
    ("person-name", "patient first name", "Ann"),
    ("person-name", "billing contact full name", "Ann Lee"),
    ("national-id", "social security number", "536904399"),
    ("national-id", "passport number", "X1234567"),
    ("date-of-birth", "patient date of birth", "1980-01-02"),
    ("phone", "home phone number", "030 9018 2000"),
    ("financial", "card pin", "4821"),
)


def nested(words: list[str], value: Any) -> dict[str, Any]:
    """The last two words as keys of two objects."""
    return {"_".join(words[:-1]): {words[-1]: value}}


STYLES = {
    "camelCase": lambda words, value: {words[0] + "".join(map(str.title, words[1:])): value},
    "PascalCase": lambda words, value: {"".join(map(str.title, words)): value},
    "snake_case": lambda words, value: {"_".join(words): value},
    "kebab-case": lambda words, value: {"-".join(words): value},
    "SCREAMING": lambda words, value: {"_".join(words).upper(): value},
    "words": lambda words, value: {" ".join(words): value},
    "nested": nested,
    "name and value": lambda words, value: {"name": "_".join(words).upper(), "value": value},
    "list": lambda words, value: {"_".join(words): [value]},
}


def types(data: Any) -> frozenset[str]:
    return SCREENER.screen(({"data": data},)).types


@pytest.mark.parametrize(("kind", "words", "value"), ANNOUNCED)
@pytest.mark.parametrize("style", STYLES)
def test_a_key_in_any_style_announces_its_value(
    kind: str, words: str, value: str, style: str
) -> None:
    """What prose and a key say with the same words bears the same label, whole."""
    labels = SCREENER.screen(({"data": STYLES[style](words.split(), value)},)).labels
    assert kind in {label.type for label in labels}
    covered = {at for label in labels for at in range(label.start, label.end)}
    assert covered.issuperset(range(len(value)))


@settings(max_examples=examples(60))
@given(st.sampled_from(sorted(STYLES)), st.text("abcdefghkmnpq", min_size=2, max_size=9))
def test_any_word_may_stand_before(style: str, word: str) -> None:
    """Whose token it is changes nothing."""
    assert types(STYLES[style]([word, "token"], DRAWN)) == {"secret-key"}


def test_a_key_of_one_word_announces_its_value() -> None:
    """The platform's own form of a message: `{"token": ...}` says what `token: ...` says."""
    assert types({"token": DRAWN}) == types({"tokens": [DRAWN]}) == {"secret-key"}


@pytest.mark.parametrize(
    "data",
    [
        {"tokenId": DRAWN},
        {"tokenizationId": DRAWN},
        {"secretName": DRAWN.lower()},
        {"nextPageToken": DRAWN},
        {"maxTokens": 4096},
        {"passwordPolicy": "min 8 characters, 1 digit"},
        {"password": {"minLength": 12, "updatedAt": "2026-01-02T10:11:12Z"}},
        {"name": "colour", "value": DRAWN[:9]},
    ],
)
def test_a_key_about_a_secret_announces_none(data: Any) -> None:
    """An id, a name or a rule of a secret is not the secret."""
    assert "secret-key" not in types(data)
