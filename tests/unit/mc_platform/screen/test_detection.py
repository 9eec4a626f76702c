"""What is found, and what honest text is left alone."""

from __future__ import annotations

import random
import string

import pytest
from email_validator import validate_email
from stdnum import iban

from mc_platform.screen import LibraryScreener
from mc_platform.screen.detectors.alphanumeric_ids import ACCOUNT_LAYOUTS, is_account

SCREENER = LibraryScreener()
TOKEN = "mc_0123456789ab_" + "Ab-_" * 10 + "xyz"

FOUND = [
    ("email", "Write to ", "ann.lee@example.com", " today."),
    ("email", "mail (", "bob+tag@mail.example.co.uk", ")"),
    ("email", "", "jürgen@bücher.example", ""),
    ("email", "x" * 70 + " or ", "b\u200bob@example.com", ", please"),
    ("email", "full width: ", "bob\uff20example.com", ""),
    ("payment-card", "card ", "4111 1111 1111 1111", " exp 12/29"),
    ("payment-card", "", "4111-1111-1111-1111", ""),
    ("payment-card", "", "378282246310005", ""),
    ("payment-card", "", "3782 822463 10005", ""),
    ("payment-card", "maestro of 12: ", "501800000009", ""),
    ("payment-card", "card of 19: ", "6304000000000000000", ""),
    ("payment-card", "Diners ", "30569309025904", ""),
    ("payment-card", "spelled ", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", ""),
    ("payment-card", "C-1003 2026-12-01 ", "4111 1111 1111 1111", ""),
    ("payment-card", "", "\u0664\u0661\u0661\u0661 1111 1111 1111", ""),
    ("national-id", "DNI ", "12345678Z", ""),
    ("national-id", "NIE ", "X1234567L", ""),
    ("national-id", "CF ", "RSSMRA85T10A562S", ""),
    ("national-id", "NIR ", "2 95 10 99 126 111 93", ""),
    ("national-id", "my BSN is ", "123456782", ""),
    ("national-id", "", "44051401359", " is a PESEL"),
    ("national-id", "", "811228-9874", ""),
    ("national-id", "SSN: ", "536-90-4399", ""),
    ("national-id", "", "536-90-4399", ""),
    ("national-id", "social security number ", "536904399", ""),
    ("national-id", "NHS number ", "943 476 5919", ""),
    ("national-id", "", "AB 12 34 56 C", " is a NINO"),
    ("national-id", "", "36574261809", " (Steuer-ID)"),
    ("national-id", "CPF ", "390.533.447-05", ""),
    ("national-id", "", "85.07.30-033.28", ""),
    ("national-id", "", "131052-308T", ""),
    ("iban", "pay to ", "DE89 3704 0044 0532 0130 00", " by Friday"),
    ("iban", "", "GB82WEST12345698765432", ""),
    ("phone", "ring ", "+44 20 7946 0958", " now"),
    ("phone", "", "+1 (202) 555-0143", ""),
    ("phone", "", "(202) 555-0143", ""),
    ("phone", "phone: ", "030 901820", ""),
    ("secret-key", "key ", "AKIAIOSFODNN7EXAMPLE", ""),
    ("secret-key", "", "ghp_" + "a1B2" * 9, ""),
    ("secret-key", "", "xoxb-123456789012-abcdefABCDEF", ""),
    ("secret-key", "", "sk" + "_live_" + "a1" * 12, ""),
    ("secret-key", "token ", TOKEN, "."),
    (
        "secret-key",
        "",
        "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEI\n-----END EC PRIVATE KEY-----",
        "\nthanks",
    ),
    ("secret-key", "", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N", " ."),
]

HONEST = [
    "What is the status of order O-2001?",
    "Customer C-1002 ordered 3 items for 1,234.56 EUR on 2026-12-01 at 10:30:00.",
    "2026-12-01T10:30:00Z, 20261201103000, 1733011200, 1733011200000",
    "id 550e8400-e29b-41d4-a716-446655440000 and 00000000-0000-4000-8000-446655440000",
    "4111 1111 1111 1112 fails the checksum",
    "DE89 3704 0044 0532 0130 01 fails its check digits",
    "12345678A is no DNI, 44051401358 no PESEL",
    "pi is 3.14159265358979323846, e is 2.718281828459045",
    "host 192.168.100.200:8080, version 10.14.6-2, build 20261201.1",
    "import re; x = re.sub(r'\\d{4}-\\d{2}', '', s)  # @decorator",
    "pkg@1.2.3 and a@b and @mention and foo@localhost",
    "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "Order 123456782 weighs 987654321 g",
    "0000000000000000 and 1111111111111111",
    "tracking 1Z999AA10123456784, ISBN 978-3-16-148410-0",
    "lines 100-200, 300-400 and 500-600; sum 123 456 789",
    "Ada Lovelace was born on 10 December 1815.",
    "Le coût est de 12 500 €, soit 1 250 € par mois — voilà.",
]


@pytest.mark.parametrize(("kind", "before", "value", "after"), FOUND)
def test_sensitive_value_is_found_where_it_stands(
    kind: str, before: str, value: str, after: str
) -> None:
    """Each value is labelled with its type and with exactly its span in the original text."""
    text = before + value + after
    labels = SCREENER.screen(({"text": text},)).labels
    found = [(label.type, text[label.start : label.end]) for label in labels]
    assert (kind, value) in found
    assert {label.path for label in labels} == {(0, "text")}


@pytest.mark.parametrize("text", HONEST)
def test_honest_text_bears_no_label(text: str) -> None:
    """Order ids, dates, amounts, UUIDs, code and failed checksums are not sensitive."""
    assert SCREENER.screen(({"text": text},)).labels == ()


def test_key_of_an_object_gives_context() -> None:
    """`{"bsn": ...}` says what the digits are; `{"order": ...}` does not."""
    assert SCREENER.screen(({"data": {"bsn": "123456782"}},)).types == {"national-id"}
    assert SCREENER.screen(({"data": {"order": "123456782"}},)).types == set()


def test_label_names_its_detector() -> None:
    """A label tells which library said so, and how surely."""
    (label,) = SCREENER.screen(({"text": "card 4111111111111111"},)).labels
    assert label.detector == "stdnum.luhn"
    assert 0.9 < label.confidence <= 1.0


@pytest.mark.parametrize(
    "quick", ["a.b@c.de", "x_y+z@mail.example.org", "q@w-w.co.uk", "n-1@a1.io"]
)
def test_usual_address_is_judged_as_the_library_would(quick: str) -> None:
    """Addresses in their usual form are not handed to the library; its answer is the same."""
    assert validate_email(quick, check_deliverability=False, test_environment=True)
    assert SCREENER.screen(({"text": f"to {quick}!"},)).types == {"email"}
    assert SCREENER.screen(({"text": f"to {quick.rsplit('.', 1)[0]}.invalid!"},)).types == set()


@pytest.mark.parametrize("country", sorted(ACCOUNT_LAYOUTS))
def test_account_is_judged_as_the_library_would(country: str) -> None:
    """Structure and check digits give the answer of stdnum, right or wrong."""
    rng = random.Random(country)
    made = {
        "n": string.digits,
        "a": string.ascii_uppercase,
        "c": string.ascii_uppercase + "0123456789",
    }
    for _ in range(20):
        body = "".join(rng.choice(made[kind]) for kind in ACCOUNT_LAYOUTS[country][4:])
        for check in (iban.calc_check_digits(f"{country}00{body}"), "42"):
            account = f"{country}{check}{body}"
            assert is_account(account) == iban.is_valid(account, check_country=False)
