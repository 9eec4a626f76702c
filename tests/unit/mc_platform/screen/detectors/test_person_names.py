"""Values that a word or a person beside them makes sensitive, and near ones that are not."""

from __future__ import annotations

import pytest

from mc_platform.screen import LibraryScreener

SCREENER = LibraryScreener()


def found(text):
    return [(lb.type, text[lb.start : lb.end]) for lb in SCREENER.screen(({"text": text},)).labels]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("Bank: sort code 20-00-00, account 55779911", "financial", "55779911"),
        ("routing 021000021 account 123456789012", "financial", "123456789012"),
        ("acct 55779911, sort code 20-00-00", "financial", "55779911"),
        ("CLABE 032180000118359719", "financial", "032180000118359719"),
        ("CVV 737 exp 04/27", "payment-card", "737"),
        ("PIN 4921 for the card", "financial", "4921"),
        ("телефон 8 (912) 345-67-89, ok", "phone", "8 (912) 345-67-89"),
        ("0044 7911 123456", "phone", "0044 7911 123456"),
        ("Emergency contact: wife Laura, 0171 2345678", "phone", "0171 2345678"),
        ("СНИЛС 112-233-445 95", "national-id", "112-233-445 95"),
        ("SIN 046 454 286", "national-id", "046 454 286"),
        ("Emirates ID 784-1980-1234567-8", "national-id", "784-1980-1234567-8"),
        ("Passport: Nationality POL, number ZS0000177", "national-id", "ZS0000177"),
        ("License plate B-MW 1234 belongs to Klaus Richter", "national-id", "B-MW 1234"),
        ("vehicle registration of Mr Dunn: AB12 CDE", "national-id", "AB12 CDE"),
        ("IP address of customer Jane Roe: 84.112.33.7", "national-id", "84.112.33.7"),
        ("GPS of his home: 48.858370, 2.294481", "postal-address", "48.858370, 2.294481"),
        ("Patient ID 88213: Grace Mbeki, HbA1c 9.2 %", "person-name", "Grace Mbeki"),
        ("Employee 4471 (Rosa Diaz) is on sick leave", "person-name", "Rosa Diaz"),
        ("Employee 4471 (Rosa Diaz) has breast cancer", "health", "breast cancer"),
        ("Test result for Liam Novak: SARS-CoV-2 positive", "health", "positive"),
        ("blood type of patient Igor Petrov: AB negative", "health", "AB negative"),
        ("Sofia Marin: allergic to nuts, asthma", "health", "allergic to nuts, asthma"),
        ("Salary of Kim Larsen: $120,000", "financial", "$120,000"),
        ("credit score of Emma Wolf is 512", "financial", "512"),
        ("The account of Paula Jensen holds 12,340.55 DKK", "financial", "12,340.55 DKK"),
    ],
)
def test_the_value_is_found_whole(text, kind, value):
    """Nothing of it stays behind when the label's span is redacted."""
    assert (kind, value) in found(text)


def test_an_id_that_ends_in_brackets():
    """Its check digit stands in brackets."""
    assert ("national-id", "A123456(3") in found("HKID A123456(3)")


@pytest.mark.parametrize(
    "text",
    [
        "the account 55779911 is a sandbox tenant",
        "CLABE 032180000118359718",
        "The CVV has 3 digits, e.g. 4111 is too long",
        "GPIO pin 4921 does not exist",
        "0044 is dialled before the number",
        "offset 0044 7911 1234",
        "sin 30 000 000",
        "part 784-1980-12",
        "License plate lookup is not supported.",
        "License plate format: AB12 CDE",
        "GPS of the summit: 45.832622, 6.865175",
        "IP address of the gateway: 84.112.33.7",
        "Customer 4471 (Premium Support) renews",
        "Test results for Internet Explorer: 40 passed",
        "Allergic reactions: hives, asthma",
        "Salary of the CEO Tim Cook is $3 million",
        "Debt of Greece fell to 160 % of GDP",
        "The balance of power holds",
        "balance of Eastern Europe is 512",
        "The salary of Data Scientists is $130,000 on average",
        "Average salary for Software Engineer: $120,000",
        "Diagnosis of Network Problems: positive feedback loops",
        "Blood test for Lyme Disease: positive in 80 % of cases",
        "Test results for Windows Server: negative",
        "Member #4471 - Gold Tier",
        "Patient 12345: Not Found",
        "IP address of the customer portal: 84.112.33.7",
        "location of the member file: 12.345, 56.789",
        "part 0044 7911 123456 in stock",
        "account 12345678 routing rules",
        "routing table: account 1234567 entries",
        "Passport strategies: number 123456789",
        "PIN 1234 for the demo card",
        "The CVV 123 is valid for testing",
    ],
)
def test_what_belongs_to_nobody_is_left_alone(text):
    """The same words and forms, of things and of the world at large."""
    assert found(text) == []
