"""Redaction takes the whole value, or none of it: nothing of it stands beside a placeholder."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from phonenumbers import PhoneNumberFormat as Form
from phonenumbers import PhoneNumberType as Kind
from stdnum import iban, luhn
from tests.examples import examples

from mc_platform.screen import LibraryScreener
from mc_platform.screen.findings import PAYMENT_CARD, PHONE, SIGNS
from mc_platform.screen.rules import FOLDER, ROWS, rule_file

SCREENER = LibraryScreener()
RELAXED = settings(max_examples=examples(150))
DIGITS = "0123456789"


def _phones() -> list[phonenumbers.PhoneNumber]:
    kinds = (Kind.MOBILE, Kind.FIXED_LINE)
    found = [
        phonenumbers.example_number_for_type(region, kind)
        for region in sorted(phonenumbers.SUPPORTED_REGIONS)
        for kind in kinds
    ]
    return [number for number in found if number is not None]


@st.composite
def phones(draw: st.DrawFn) -> str:
    """A number of any country in any of the notations, perhaps with an extension."""
    number = draw(st.sampled_from(_phones()))
    form = draw(st.sampled_from([Form.E164, Form.INTERNATIONAL, Form.NATIONAL]))
    tail = draw(st.sampled_from(["", "", "x4587", " ext. 12", " x038"]))
    return phonenumbers.format_number(number, form) + tail


@st.composite
def cards(draw: st.DrawFn) -> str:
    start = draw(st.sampled_from(["4", "51", "2221", "6011", "3528"]))
    body = start + draw(st.text(DIGITS, min_size=15 - len(start), max_size=15 - len(start)))
    digits = body + luhn.calc_check_digit(body)
    gap = draw(st.sampled_from(["", " ", "-", "."]))
    return gap.join(digits[at : at + 4] for at in range(0, 16, 4))


@st.composite
def accounts(draw: st.DrawFn) -> str:
    country, size = draw(st.sampled_from([("DE", 18), ("PL", 24), ("AT", 16)]))
    body = draw(st.text(DIGITS, min_size=size, max_size=size))
    made = country + iban.calc_check_digits(country + "00" + body) + body
    gap = draw(st.sampled_from(["", " ", "-", ".", ", ", "/"]))
    return gap.join(made[at : at + 4] for at in range(0, len(made), 4))


def left_of(text: str, value: str) -> str:
    """Which of a value's letters and digits stand beside what was found of it; empty: none, or all."""
    first = text.index(value)
    places = [at for at in range(first, first + len(value)) if text[at].isalnum()]
    taken: set[int] = set()
    for label in SCREENER.screen(({"text": text},)).labels:
        taken.update(range(label.start, label.end))
    left = [at for at in places if at not in taken]
    return "" if len(left) == len(places) else "".join(text[at] for at in left)


SENTENCES = st.sampled_from(
    [
        "call {}",
        "Mobile: {}",
        "phone {} please",
        "{} office",
        "card {}.",
        "IBAN {}\n",
        "it is {}, ok",
    ]
)


@RELAXED
@given(SENTENCES, st.one_of(phones(), cards(), accounts()))
def test_a_number_is_taken_whole_or_not_at_all(sentence: str, value: str) -> None:
    """Country, last group and extension of a phone number, every group of a card or an account."""
    assert left_of(sentence.format(value), value) == ""


def _examples() -> list[tuple[str, str]]:
    files = sorted(path.stem for path in FOLDER.glob("*.toml"))
    return [
        (f"{name}.{row.name}", row.positive)
        for name in files
        for kind in ROWS
        for row in getattr(rule_file(name).table, kind)
    ]


@pytest.mark.parametrize(("row", "text"), _examples(), ids=lambda value: str(value)[:60])
def test_no_rule_cuts_a_word_or_a_number(row: str, text: str) -> None:
    """Whatever a rule finds, no letter or digit goes on behind what it labels."""
    labels = SCREENER.screen(({"text": text},)).labels
    for label in [lb for lb in labels if lb.type not in SIGNS]:
        after = text[label.end : label.end + 1]
        of_digits = label.type in (PAYMENT_CARD, PHONE)
        goes_on = after.isdigit() if of_digits else after.isascii() and after.isalnum()
        cut = text[label.end - 1].isalnum() and goes_on
        assert not cut, (row, label.type, text[label.start : label.end + 4])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("have the manager call me at 0494 92 82 32", "0494 92 82 32"),
        ("Desk: +41 (0)96 471 07 95\nFax: 9498777106", "+41 (0)96 471 07 95"),
        ("Desk: +447700 921 916", "+447700 921 916"),
        ("Fax: 345-899-3560x4587", "345-899-3560x4587"),
        ("Desk: +1-903-140-4508x769", "+1-903-140-4508x769"),
        ("mobile (898)666-3621x0135", "(898)666-3621x0135"),
    ],
)
def test_a_phone_number_in_a_signature_is_taken_whole(text: str, value: str) -> None:
    """What was left of these once: the last group, the country, the extension."""
    (label, *_) = [lb for lb in SCREENER.screen(({"text": text},)).labels if lb.type == "phone"]
    assert text[label.start : label.end] == value
