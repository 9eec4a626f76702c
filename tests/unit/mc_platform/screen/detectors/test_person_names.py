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


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("Cardholder name Kevin J. Compton", "person-name", "Kevin J. Compton"),
        ("The caller is Randall A Cooper.", "person-name", "Randall A Cooper"),
        ("This is Jean Van der Sommen calling about a bill", "person-name", "Jean Van der Sommen"),
        ("Hello, I am Siobhán O'Brien-Łęcka and", "person-name", "Siobhán O'Brien-Łęcka"),
        ("Name: Stern, Eve, phone 555-0100", "person-name", "Stern, Eve"),
        ("Customer: Jason (Jingsheng) Cong", "person-name", "Jason (Jingsheng) Cong"),
        ("Štefan Kaučič's passport number", "person-name", "Štefan Kaučič"),
        ("Ticket opened by Λύσανδρος Βελεντζάς", "person-name", "Λύσανδρος Βελεντζάς"),
        ("My name is 斌 李", "person-name", "斌 李"),
        ("Employee: דורון לוי", "person-name", "דורון לוי"),
        ("Customer: თამარ ელიზბარაშვილი", "person-name", "თამარ ელიზბარაშვილი"),
        ("Passenger name: demetrios stavrianos, seat 4A", "person-name", "demetrios stavrianos"),
        ("add Eva Szabo as a beneficiary", "person-name", "Eva Szabo"),
        ("a loan of resident Ananya Sharma", "person-name", "Ananya Sharma"),
        ("I live at 7 Oak Rd N, Springfield", "postal-address", "7 Oak Rd N, Springfield"),
        (
            "Address: 13603 marina pointe dr apt c312",
            "postal-address",
            "13603 marina pointe dr apt c312",
        ),
        ("My address is P.O. Box 104", "postal-address", "P.O. Box 104"),
        (
            "Please ship it to PSC 0725, Box 6031\nAPO AP 99241 today",
            "postal-address",
            "PSC 0725, Box 6031\nAPO AP 99241",
        ),
        ("Home address: Wesselényi u. 94.", "postal-address", "Wesselényi u. 94."),
        ("my new address is ул. Ленина д. 10 кв. 4", "postal-address", "ул. Ленина д. 10 кв. 4"),
        ("address: 山东省青岛市香港东路6号", "postal-address", "山东省青岛市香港东路6号"),
        ("deliver it to Cra 18 #63-64, Bogotá", "postal-address", "Cra 18 #63-64, Bogotá"),
        ("return it to Kiannonkatu 98 Apt. 105", "postal-address", "Kiannonkatu 98 Apt. 105"),
    ],
)
def test_a_name_or_an_address_behind_plain_words_is_found_whole(text, kind, value):
    """Initials, particles, nicknames, marks, scripts without capitals; streets of other countries."""
    assert (kind, value) in found(text)


@pytest.mark.parametrize(
    "text",
    [
        "Customer: Bethany Animal Hospital",
        "Please contact Elston Telephone Company about the order",
        "Supplier: Global Motors Ltd",
        "I am Using Windows and it crashes",
        "This is New York calling for change, as the song has it",
        "the customer Data Platform",
        "passenger name: see below",
        "Please ship it to 300 customers",
        "we moved to version 12 of the library, and to port 8080",
        "the server address is 10.0.0.1, its port 8080",
        "Moved rounding to VariationModel, 3 more deltas (#2214)",
        "sent back to the client in 5 steps",
        "The library is at 12 Oak Street",
    ],
)
def test_organisations_hosts_and_counts_behind_the_same_words_are_left_alone(text):
    """What the words announce is somebody's, and has the form of a name or an address."""
    assert not {kind for kind, _ in found(text)} & {"person-name", "postal-address"}
