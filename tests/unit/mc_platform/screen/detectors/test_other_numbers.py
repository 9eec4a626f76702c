"""Numbers that pass a card's check by chance, and are none: every tenth would."""

from __future__ import annotations

import base64
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum import luhn
from tests.examples import examples

from mc_platform.screen import LibraryScreener

SCREENER = LibraryScreener()
RELAXED = settings(max_examples=examples(100))
BODIES = st.text("0123456789", min_size=18, max_size=18)


def types(*texts: str) -> frozenset[str]:
    return SCREENER.screen(tuple({"text": text} for text in texts)).types


def checked(body: str) -> str:
    return body + luhn.calc_check_digit(body)


@RELAXED
@given(BODIES, st.sampled_from([13, 17, 18, 19]), st.sampled_from(["4", "62", "5", "6"]))
def test_a_bare_number_of_goods_or_of_a_database_is_no_card(
    body: str, length: int, start: str
) -> None:
    """In one group of such a length a word must say that it is a card."""
    number = checked((start + body)[: length - 1])
    assert "payment-card" not in types(f"Item {number} is out of stock")
    assert "payment-card" not in types(f"Deleting block blk_{number}")


@RELAXED
@given(BODIES)
def test_groups_that_underscores_join_are_no_card(body: str) -> None:
    """Sessions and jobs are named so."""
    number = checked(("3" + body)[:15])
    assert "payment-card" not in types(f"Session: {number[:8]}_{number[8:]}")


@RELAXED
@given(
    st.dates(date(1950, 1, 1), date(2099, 12, 31)), st.text("0123456789", min_size=7, max_size=7)
)
def test_an_order_number_that_begins_with_a_date_is_no_card(day: date, rest: str) -> None:
    """Day first, then a serial number."""
    number = checked(f"{day:%Y%m%d}" + rest)
    assert "payment-card" not in types(f"shipped as {number[:8]}-{number[8:]} today")


@pytest.mark.parametrize("template", ["item {}", "{}. step", "sensor {}: 21.5 C", "row {}"])
@pytest.mark.parametrize("count", [12, 20, 30, 50, 100])
def test_a_list_in_many_parts_is_no_card(template: str, count: int) -> None:
    """Parts that count hold no pieces of one number."""
    assert types(*(template.format(at) for at in range(count))) == frozenset()


@RELAXED
@given(st.lists(st.integers(100, 9999), min_size=12, max_size=40))
def test_readings_in_many_parts_are_no_card(readings: list[int]) -> None:
    """A figure each in the same words."""
    assert types(*(f"temperature={reading}" for reading in readings)) == frozenset()


def test_a_card_in_parts_is_found_still() -> None:
    """Pieces that together are a card, and hardly anything else."""
    assert types("4111 1111", " 1111 1111") == {"payment-card"}
    assert types(*"4111111111111111") == {"payment-card"}
    assert types("the card is 5555", "5555 5555 4444") == {"payment-card"}


@RELAXED
@given(BODIES, st.sampled_from([13, 19]), st.integers(4, 9))
def test_such_a_number_is_a_card_where_words_or_its_hiding_say_so(
    body: str, length: int, cut: int
) -> None:
    """Paid with, encoded by somebody, or cut in two in a list of nothing else."""
    number = checked(("4" + body)[: length - 1])
    hidden = base64.b64encode(number.encode()).decode()
    assert "payment-card" in types(f"It was paid with {number} last week")
    assert "payment-card" in types(f"It was paid with {hidden} last week")
    halves = {"data": {"values": [number[:cut], number[cut:]]}}
    assert "payment-card" in SCREENER.screen((halves,)).types


@pytest.mark.parametrize("ratio", ["0.697017", "0.562554", "0,482558"])
def test_a_ratio_is_no_phone_though_a_desk_stands_before_it(ratio: str) -> None:
    assert types(f'flags: ["chair", "desk"]\nratio: {ratio}') == frozenset()
