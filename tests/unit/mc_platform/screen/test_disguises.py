"""Values that are separated, glued, split or encoded are found, and honest text still is not."""

from __future__ import annotations

import base64
import random
from typing import Any
from urllib.parse import quote

import pytest

from mc_platform.screen import LibraryScreener

SCREENER = LibraryScreener()
CARD = "4111111111111111"
GROUPS = ["4111", "1111", "1111", "1111"]
MAIL = "bob@example.com"
UUID = "550e8400-e29b-41d4-a716-446655440000"


def _b64(text: str, encoding: str = "utf-8") -> str:
    return base64.b64encode(text.encode(encoding)).decode()


def _marked(parts: tuple[dict[str, Any], ...]) -> tuple[frozenset[str], tuple[dict[str, Any], ...]]:
    screening = SCREENER.screen(parts)
    redacted = SCREENER.redact(parts, screening)
    assert not SCREENER.screen(redacted).types & screening.types
    return screening.types, redacted


@pytest.mark.parametrize(
    "separator",
    [
        *("\n", "\t", "_", "\0", ".", "\r\n", "\u2003", "\u2028", "\u200b", "\x1f", ", ", " | "),
        *('","', "\u0301", "+", ":", "\u00a0\u00a0"),
    ],
)
def test_card_is_found_whatever_separates_its_groups(separator: str) -> None:
    """No white space, control, format or punctuation character hides a card."""
    types, redacted = _marked(({"text": f"see {separator.join(GROUPS)} ok"},))
    assert types == {"payment-card"}
    assert redacted == ({"text": "see [payment-card] ok"},)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("national-id", "my ssn: 536\t90\n4399"),
        ("national-id", "536_90_4399"),
        ("national-id", "ssn 536\x0090\x004399"),
        ("national-id", "85.07.30\u0301-033.28"),
        ("national-id", "AB_12_34_56_C"),
        ("iban", "DE89\n3704\n0044\n0532\n0130\n00"),
        ("iban", "DE89_3704_0044_0532_0130_00"),
        ("phone", "+44\n20\n7946\n0958"),
        ("phone", "phone: 030\t901820"),
        ("phone", "+44 20 7946 0958, +1 202 555 0143"),
        ("email", "bob\x00@exam\u0301ple.com"),
    ],
)
def test_separated_identifier_is_found(kind: str, text: str) -> None:
    """Other identifiers are seen through the same separators."""
    types, redacted = _marked(({"text": text},))
    assert types == {kind}
    assert not any(digits in str(redacted) for digits in ("4399", "0044", "7946", "0143", "1820"))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"card{CARD}x", "card[payment-card]x"),
        (f"abc{CARD}", "abc[payment-card]"),
        ("x4111 1111 1111 1111y", "x[payment-card]y"),
        (f"{CARD} {UUID}", f"[payment-card] {UUID}"),
        (f"{UUID}, {CARD}", f"{UUID}, [payment-card]"),
        ("4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1, 12/29", "[payment-card], 12/29"),
        (f"{CARD}.0", "[payment-card].0"),
        ("4.111111111111111e15", "[payment-card]"),
        ("4.111111111111111E+15 EUR", "[payment-card] EUR"),
    ],
)
def test_glued_or_dressed_card_is_found(text: str, left: str) -> None:
    """Letters, a UUID, a fraction or an exponent next to a card do not hide it."""
    types, redacted = _marked(({"text": text},))
    assert types == {"payment-card"}
    assert redacted == ({"text": left},)


@pytest.mark.parametrize("value", [4111111111111111.0, 4111111111111111.5])
def test_card_as_fractional_number_is_found(value: float) -> None:
    """A number's whole part is looked at even if it has a fraction."""
    types, redacted = _marked(({"data": {"n": value}},))
    assert types == {"payment-card"}
    assert "1111" not in str(redacted)


@pytest.mark.parametrize(
    "values",
    [GROUPS, [int(group) for group in GROUPS], ["4111-1111", "1111-1111"], [int(d) for d in CARD]],
)
def test_card_split_over_a_list_is_found(values: list[Any]) -> None:
    """Groups in neighbouring strings or numbers are read together, each replaced in its place."""
    types, redacted = _marked(({"data": {"v": ["a", *values, "b"]}},))
    assert types == {"payment-card"}
    assert redacted == ({"data": {"v": ["a", *["[payment-card]"] * len(values), "b"]}},)


def test_values_split_over_an_object_are_found() -> None:
    """Keys between the groups do not hide them."""
    data = dict(zip("abcd", GROUPS, strict=True))
    assert _marked(({"data": data},))[0] == {"payment-card"}


@pytest.mark.parametrize(
    ("texts", "kind", "left"),
    [
        (("card 4111 11", "11 1111 1111 ok"), "payment-card", ("card [payment-card]", " ok")),
        (("41111111", "11111111"), "payment-card", None),
        (tuple(GROUPS), "payment-card", ("[payment-card]", *[""] * 3)),
        (("write to bob@exam", "ple.com!"), "email", ("write to [email]", "!")),
        (("x" * 500 + " 4111 1111", "1111 1111 " + "y" * 500), "payment-card", None),
    ],
)
def test_value_split_over_text_parts_is_found(
    texts: tuple[str, ...], kind: str, left: tuple[str, ...] | None
) -> None:
    """What a reader sees by putting the parts together is seen here, too."""
    types, redacted = _marked(tuple({"text": text} for text in texts))
    assert types == {kind}
    assert "1111" not in str(redacted)
    if left is not None:
        shown = [part["text"].replace("[" + kind + "]", "*") for part in redacted]
        assert "".join(shown).replace("*", "") == "".join(left).replace(f"[{kind}]", "")


def test_whole_value_at_the_end_of_a_part_leaves_the_next_part_alone() -> None:
    """A value that ends with its part is not stretched into the next."""
    parts = ({"text": f"mail {MAIL}"}, {"text": "Hello"}, {"text": "order 1234"}, {"text": "5678"})
    _, redacted = _marked(parts)
    assert redacted == ({"text": "mail [email]"}, *parts[1:])


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"url": "https://x.example/?q=bob%40example.com&a=1"}, "email"),
        ({"url": "https://x.example/?q=" + "".join(f"%{ord(c):02x}" for c in MAIL)}, "email"),
        ({"text": "%34111%201111%201111%201111"}, "payment-card"),
        ({"text": quote("jürgen@bücher.example", safe="")}, "email"),
        ({"text": f"see {_b64('write to ' + MAIL)} now"}, "email"),
        ({"text": f"https://x.example/a/b/{_b64('card ' + CARD)}"}, "payment-card"),
        ({"data": {"v": _b64("jürgen: " + MAIL).rstrip("=")}}, "email"),
        ({"text": "bob&#64;example&period;com"}, "email"),
        ({"raw": _b64("<p>bob&#x40;example.com</p>"), "mediaType": "text/html"}, "email"),
    ],
)
def test_encoded_value_is_found(part: dict[str, Any], kind: str) -> None:
    """One layer of percent-encoding, HTML entities or base64 is looked through."""
    types, redacted = _marked((part,))
    assert types == {kind}
    assert redacted != (part,)


def test_encoded_value_is_replaced_where_it_stands() -> None:
    """The span is that of the encoded characters, no more."""
    parts = ({"text": f"a %20 b: bob%40example.com&amp; {_b64('to ' + MAIL)}, c"},)
    assert _marked(parts)[1] == ({"text": "a %20 b: [email]&amp; [email], c"},)


@pytest.mark.parametrize(
    ("media_type", "content"),
    [
        ("text/plain; charset=utf-7", b"bob+AEA-example.com"),
        ("text/plain;charset='ISO-8859-1'", b"x"),
        ("text/plain; a=b; CHARSET = x-own", b"x"),
        ("text/plain; charset=utf-8; charset=utf-7", b"x"),
        ("text/plain", b"+/v8-bob+AEA-example.com"),
        ("text/html", b"<meta charset=utf-7>bob+AEA-example.com"),
    ],
)
def test_text_file_in_another_charset_is_opaque(media_type: str, content: bytes) -> None:
    """Bytes that a reader decodes otherwise than the screener are not passed as text."""
    part = {"raw": base64.b64encode(content).decode(), "mediaType": media_type}
    assert _marked((part,))[0] == {"opaque-file"}


@pytest.mark.parametrize("charset", ["utf-8", '"UTF8"', "us-ascii", "ascii"])
def test_text_file_in_a_known_charset_is_read(charset: str) -> None:
    """UTF-8 and ASCII, however spelled, are looked into."""
    part = {"raw": _b64(MAIL), "mediaType": f"text/plain; charset={charset}"}
    assert _marked((part,))[0] == {"email"}


def _honest() -> list[str]:
    rng = random.Random(7)
    noise = base64.b64encode(bytes(rng.randrange(256) for _ in range(3000))).decode()
    return [
        "2026-12-01\t10:30:00\n2026-12-02\t11:45:10\n2026-12-03\t12:00:00",
        "O-2001\nO-2002\nO-2003\nO-2004 and ORD20261201103000, evt1733011200000",
        "IMG_20261201_103000.jpg, backup_2026_12_01_10_30",
        f"data:image/png;base64,{noise}",
        *("".join(rng.choices("0123456789abcdef", k=64)) for _ in range(50)),
        f"{UUID},{UUID};{UUID}",
        "https://example.com/search?q=order%20O-2001%26page=2&amp;lang=en",
        "Tom &amp; Jerry &copy; 2026; 100% of 20% &gt; 5",
        '{"qty": [1, 2, 3, 4], "years": [2021, 2022, 2023, 2024], "ids": [40012345, 51012346]}',
        "10.0.0.1, 192.168.100.200, 172.16.254.1: 8080, 443",
        _b64("a harmless sentence about order O-2001"),
        "Sozialversicherungsfachangestellte/Kundenbetreuung_Niederlassung",
        "x\u0301 e\u0301t\u0301e\u0301 2026",
    ]


@pytest.mark.parametrize("text", _honest())
def test_honest_text_in_many_forms_bears_no_label(text: str) -> None:
    """Tables, file names, images, digests, lists, escapes and addresses are not sensitive."""
    assert SCREENER.screen(({"text": text},)).labels == ()


def test_series_of_figures_is_no_card_but_two_cards_in_a_row_are() -> None:
    """A long list of four-digit figures passes Luhn here and there; cards stand side by side."""
    rng = random.Random(3)
    figures = [rng.randrange(4000, 5000) for _ in range(3000)]
    assert len(SCREENER.screen(({"data": {"sales": figures}},)).labels) <= 3000 * 0.1
    table = "\n".join(str(figure) for figure in figures[:40])
    assert SCREENER.screen(({"text": table}, {"data": {"sales": figures[:40]}})).labels == ()
    groups = [*GROUPS, "5500", "0000", "0000", "0004"]
    types, redacted = _marked(({"data": {"v": groups}},))
    assert types == {"payment-card"}
    assert redacted == ({"data": {"v": ["[payment-card]"] * 8}},)


def test_digits_in_a_digest_are_no_card() -> None:
    """A digest may hold a card's digits by chance; another word of letters may not."""
    digest = "ab" * 12 + CARD
    assert SCREENER.screen(({"text": f"md5 {digest[-32:]} sha1 {digest}"},)).labels == ()
    assert SCREENER.screen(({"text": digest[1:]},)).types == {"payment-card"}


def test_honest_lists_bear_no_label() -> None:
    """Years, quantities and order numbers in neighbouring values are not read as cards."""
    data = {"years": [2021, 2022, 2023, 2024], "n": [1, 2, 3] * 9, "o": [40012345, 51012346, 7.5]}
    assert SCREENER.screen(({"data": data}, {"text": "12"}, {"text": "34"})).labels == ()


@pytest.mark.parametrize(
    "text",
    ["%34" * 40_000, "&#52;" * 30_000, _b64("4111 " * 20_000), "4\n" * 60_000, "a@b.cc%40" * 9000],
)
def test_large_disguised_input_is_bounded(text: str) -> None:
    """Decoding and joining stay within the budget: the text is labelled, not passed."""
    assert SCREENER.screen(({"text": text},)) is not None
    assert SCREENER.screen(tuple({"text": text[i : i + 40]} for i in range(0, 20_000, 40)))
