"""What a plain context word announces: names, addresses, documents; and what stands behind such a word in honest text."""

from __future__ import annotations

import pytest

from mc_platform.screen import LibraryScreener

SCREENER = LibraryScreener()
NAME = "Robert Muster"


@pytest.mark.parametrize(
    "text",
    [
        f"Customer: {NAME}",
        f"Account name: {NAME}",
        f"Passenger - {NAME}, seat 14C",
        f"Mr. {NAME} asked for a refund.",
        f"Frau {NAME} bittet um Rückruf.",
        f"The hotel needs {NAME}'s passport number.",
        f"Friends call me {NAME}.",
        f"Maybe it's under {NAME}",
        f"Which name is the booking under? It's {NAME}.",
        f"Bot: May I have your full name, please?\nUser: {NAME}",
        f"The name should be spelled {NAME}, not Mister.",
        f"Hello, this is Dr. {NAME}. Who are you?",
        f"Please find {NAME}' passport number.",
        f"I pay for my niece, {NAME}.",
        f"There is a reservation for {NAME}",
        f"Good morning. I am {NAME} and my card is gone.",
    ],
)
def test_a_context_word_announces_a_name(text: str) -> None:
    """The whole name is labelled."""
    labels = SCREENER.screen(({"text": text},)).labels
    assert ("person-name", NAME) in {(lb.type, text[lb.start : lb.end]) for lb in labels}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sometimes people call me roberta", "roberta"),
        ("my name is roberta and i lost my card", "roberta"),
        ("what's your last name? muster", "muster"),
        ("add roberta m. muster as a beneficiary to my account", "roberta m. muster"),
        ("roberta muster lives at the old mill", "roberta muster"),
        ("name: roberta muster\naddress: the old mill", "roberta muster"),
        ("hello, this is mrs. roberta muster. who are you?", "roberta muster"),
        ("What's your name? April Muster", "April Muster"),
    ],
)
def test_a_name_is_found_that_looks_like_other_words(text: str, name: str) -> None:
    """In small letters, alone, or beginning like a month: what stands before it leaves no doubt."""
    labels = SCREENER.screen(({"text": text},)).labels
    assert ("person-name", name) in {(lb.type, text[lb.start : lb.end]) for lb in labels}


@pytest.mark.parametrize(
    "text",
    [
        "Address: 65407 Harbor Forges Suite 071\nNew Lori, AZ 30132",
        "Billing address: 764 Fagradalsbraut 71\nEgilsstadir",
        "please update, my new address is PSC 2581, Box 0041",
        "Anna lives at 255 Hersnapvej 18, Copenhagen",
    ],
)
def test_a_field_for_addresses_holds_one(text: str) -> None:
    """Whatever the street is called."""
    assert "postal-address" in SCREENER.screen(({"text": text},)).types


@pytest.mark.parametrize(
    "text",
    [
        "MRN: 12345678",
        "Patient identifier 00412233",
        "NPI: 1234567893",
        "DEA number BB1388568",
        "MBI: 1EG4-TE5-MK73",
        "dowód osobisty: ABA300000",
        "nr dowodu osobistego ABA 300000",
        "carte nationale d'identité : 880692310285",
        "carte de identitate RX 123456",
        "Passport Number: 533401234",
        "Medicare ID 1EG4-TE5-MK73",
        "carta di identità CA12345AA",
        "her S.S.N. is 536904399",
        "Soc. Sec. No. 536.90.4399",
        "Alien number A123-456-789",
        "green card number ABC1234567890",
        "medicaid ID AB12345C",
        "health card 1234-567-897-AB",
        "título de eleitor 0043 5687 0906",
    ],
)
def test_a_document_is_found_behind_its_word(text: str) -> None:
    """By the form that its issuer gives to it."""
    assert "national-id" in SCREENER.screen(({"text": text},)).types


@pytest.mark.parametrize(
    ("word", "phone"),
    [
        ("text", "545-396-2476"),
        ("ring", "020 7946 0958"),
        ("ph", "03 9123 4567"),
        ("tél.", "06 12 34 56 78"),
    ],
)
def test_a_phone_is_found_whole_behind_a_short_word(word: str, phone: str) -> None:
    """By its groups, or the zero that is dialled before it."""
    text = f"{word} {phone} after six"
    [label] = SCREENER.screen(({"text": text},)).labels
    assert (label.type, text[label.start : label.end]) == ("phone", phone)


@pytest.mark.parametrize("account", ["NO9386011117947", "DE89370400440532013000"])
def test_an_account_is_found_whole_with_its_country_apart(account: str) -> None:
    """Check digits and account stand apart, too, or the account is one piece."""
    for apart in (f"{account[:2]} {account[2:4]} {account[4:]}", f"{account[:2]} {account[2:]}"):
        text = f"Please transfer to {apart} today"
        labels = SCREENER.screen(({"text": text},)).labels
        assert ("iban", apart) in {(lb.type, text[lb.start : lb.end]) for lb in labels}


def test_a_polish_account_is_found_whole() -> None:
    """All of its 26 digits."""
    text = "Nr rachunku: 61109010140000071219812874"
    [label] = SCREENER.screen(({"text": text},)).labels
    assert text[label.start : label.end] == "61109010140000071219812874"


@pytest.mark.parametrize(
    "text",
    [
        "Customer: Global Finance Group",
        "IP address: 10.0.0.1",
        "Address: 0x7fff5fbff8c0",
        "Bind address: 127.0.0.1:8080",
        "MAC Address: 00:1A:2B:3C:4D:5E",
        "Mr. President spoke first.",
        "Patient: N/A",
        "Claimant: I/O error",
        "Address - 12 bytes",
        "Address: port 8080",
        "pH 7.4 - 8.1",
        "text 2024-11-12 10:22:01",
        "text chunk 12 of 30, offset 1234567890",
        "ring buffer 4096 8192 16384",
        "UTF 16 1234 5678 9012",
        "rg 10.345.678 rows",
        "green card holders 2023",
        "Client: Apache HttpClient 4.5",
        "User: admin",
        "the chart shows 12345 rows",
        "my name is misspelled on the card",
        "Please enter your name? It is required.",
        "please call me back tomorrow, thanks",
        "hi, i'm locked out. call me asap",
        "your old friend lives at the sea",
        "add another person as a beneficiary to my account",
        "Contact: May I ask you something?",
        "name: web frontend\nversion: 2",
        "a reservation for New York",
        "It must be spelled exactly, as it should read.",
    ],
)
def test_a_context_word_without_a_person_is_left_alone(text: str) -> None:
    """Organisations, machines, programs."""
    assert SCREENER.screen(({"text": text},)).types == frozenset()


@pytest.mark.parametrize(
    ("before", "value"),
    [
        ("Address: ", "4521 Kessler Views\nPort Kyle, OH 44123"),
        ("Billing address - ", "12 Elm Street, Springfield"),
        ("住所: ", "東京都千代田区千代田1-1"),
        ("Passenger: ", "MUSTER/ROBERT MR"),
    ],
)
def test_a_field_is_labelled_to_its_end(before: str, value: str) -> None:
    """Nothing of the address or of the name stays behind the placeholder."""
    labels = SCREENER.screen(({"text": before + value},)).labels
    assert value in {(before + value)[lb.start : lb.end] for lb in labels}
