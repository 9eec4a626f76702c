"""The rules that gitleaks publishes: its file as it stands, our filter for placeholders."""

from __future__ import annotations

import pytest

from mc_platform.screen import LibraryScreener
from mc_platform.screen.detectors.published_keys import RULES
from mc_platform.screen.rules import FOLDER, compiled

SCREENER = LibraryScreener()
HEX = "9f3b1c7e5a2d8f40" + "6b1e9d3c7a5f2084"


def test_every_pattern_is_re2_and_has_a_keyword() -> None:
    """RE2 alone runs in linear time on whatever is sent; a keyword bounds how often it runs."""
    assert len(RULES) > 200
    for rule in RULES:
        assert compiled(rule.regex) is rule.compiled
        assert all(word == word.lower() and len(word) > 1 for word in rule.keywords), rule.id


def test_the_notice_stands_with_the_rules() -> None:
    """The licence demands it of every copy."""
    text = (FOLDER / "published" / "gitleaks.toml").read_text()
    assert "MIT License" in text
    assert "Copyright (c) 2019 Zachary Rice" in text


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"codecov: {HEX}", HEX),
        (f'sourcegraph = "sgp_{HEX}09af31c7"', f"sgp_{HEX}09af31c7"),
        (f"flickr_access_token={HEX}", HEX),
    ],
)
def test_an_issuers_name_announces_its_key(text: str, secret: str) -> None:
    """The span is the value."""
    labels = SCREENER.screen(({"text": text},)).labels
    assert ("secret-key", secret) in {(lb.type, text[lb.start : lb.end]) for lb in labels}


@pytest.mark.parametrize(
    "text",
    [
        "codecov: " + "x" * 32,
        "the codecov report of build 4711 is at codecov.io/gh/acme/app",
        "s.makeKubeConfigController(ctx)",
        "adafruit: " + "0" * 32,
    ],
)
def test_a_placeholder_or_a_name_is_no_key(text: str) -> None:
    """What documents put in a key's place, and code that has its form."""
    assert "secret-key" not in SCREENER.screen(({"text": text},)).types
