"""Values in pieces that fill a list or an object."""

from __future__ import annotations

import pytest

from mc_platform.screen import LibraryScreener

SCREENER = LibraryScreener()


def types(data):
    return SCREENER.screen(({"data": data},)).types


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"pieces": ["36807538", "498706"]}, "payment-card"),
        ({"a": ["6011 564", "5 6170 8966"]}, "payment-card"),
        ({"rows": ["4016-66", "91-9567-1"]}, "payment-card"),
        ({"x": {"one": "517399478", "two": "9050485"}}, "payment-card"),
        ({"a": ["AT411245851", "383273451"]}, "iban"),
        ({"a": ["DE55 4725 9384", " 3890 2073 49"]}, "iban"),
        ({"a": ["kira.mol", "eni@bodak.org"]}, "email"),
    ],
)
def test_pieces_that_fill_a_list_are_read_together(data, kind):
    """No word announces them, and nothing else is there."""
    assert kind in types(data)


@pytest.mark.parametrize(
    "data",
    [
        {"orders": ["36807538", "498707"]},
        {"a": ["36807538", "498706", "and", "then", "some", "more", "items"]},
        {"a": ["see 36807538", "or 498706 pieces"]},
        {"size": ["1920", "1080"]},
        {"span": ["2026-01-01", "2026-02-01"]},
    ],
)
def test_honest_lists_are_left_alone(data):
    """A wrong check digit, words, more than a few: no value."""
    assert types(data) == frozenset()


def test_every_piece_is_redacted():
    """The label is on each."""
    parts = ({"data": {"a": ["AT411245851", "383273451"]}},)
    redacted = SCREENER.redact(parts, SCREENER.screen(parts))
    assert redacted == ({"data": {"a": ["[iban]", "[iban]"]}},)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ({"49290531": "77872206"}, "payment-card"),
        ({"a": {"4929": "053177872206"}}, "payment-card"),
        ({"c": ["49", "29", "05", "31", "77", "87", "22", "06"]}, "payment-card"),
        ({"c": ["492", "905", "317", "787", "220", "6"]}, "payment-card"),
        ([{"i": n, "d": "4929053177872206"[4 * n :][:4]} for n in range(4)], "payment-card"),
        ([{"i": n, "d": "4929053177872206"[4 * n :][:4]} for n in (2, 0, 3, 1)], "payment-card"),
        ([{"d": digit} for digit in "4929053177872206"], "payment-card"),
        ({"local": "ute.grabowski77", "domain": "firmapost.de"}, "email"),
        ({"domain": "firmapost.de", "mailbox": "ute.grabowski77"}, "email"),
        ({"ute.grabowski77": "@firmapost.de"}, "email"),
        ({"ute.grabowski77@": "firmapost.de"}, "email"),
    ],
)
def test_pieces_in_keys_columns_and_halves_are_read_together(data, kind):
    """Whatever the message holds them in: a key, many short strings, small objects."""
    assert kind in types(data)


@pytest.mark.parametrize(
    "data",
    [
        {"49290531": "77872207"},
        {"48213001": "77872206"},
        {"49290531": "77872206", "48213001": "8812"},
        {"c": [str(n) for n in range(40, 48)]},
        {"c": ["49", "29", "05", "31", "77", "87", "22", "07"]},
        [{"i": n, "d": str(2019 + n)} for n in range(4)],
        [{"i": n, "d": "4929053177872207"[4 * n :][:4]} for n in range(4)],
        {"host": "mail1", "domain": "firmapost.de"},
        {"user": "anna", "domain": "firmapost.de"},
        {"ute.grabowski77": "firmapost.de"},
    ],
)
def test_what_only_stands_side_by_side_is_left_alone(data):
    """Figures that rise, fail their checksum or have company; hosts."""
    assert types(data) == frozenset()


def test_what_is_read_together_is_redacted_in_each_place():
    """The key as well as its value."""
    parts = ({"data": {"49290531": "77872206"}},)
    redacted = SCREENER.redact(parts, SCREENER.screen(parts))
    assert "49290531" not in str(redacted)
    assert "77872206" not in str(redacted)
