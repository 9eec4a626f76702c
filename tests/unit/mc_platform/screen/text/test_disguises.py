"""Values that are separated, glued, split or encoded are found, and honest text still is not."""

from __future__ import annotations

import base64
import codecs
import gzip
import json
import random
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from stdnum import iban, luhn

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
    assert types - {"exfiltration-link"} == {kind}
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
    [
        "%34" * 40_000,
        ("A" * 20 + "\n") * 9000,
        "DE89 " * 40_000,
        "&#52;" * 30_000,
        _b64("4111 " * 20_000),
        "4\n" * 60_000,
        "a@b.cc%40" * 9000,
    ],
)
def test_large_disguised_input_is_bounded(text: str) -> None:
    """Decoding and joining stay within the budget: the text is labelled, not passed."""
    assert SCREENER.screen(({"text": text},)) is not None
    assert SCREENER.screen(tuple({"text": text[i : i + 40]} for i in range(0, 20_000, 40)))


# Fresh values in fresh wording; each run of the suite has the same, each new seed has others.
_WORDS = [
    "please",
    "note",
    "that",
    "we",
    "have",
    "it",
    "here",
    "and",
    "send",
    "this",
    "on",
    "to",
    "our",
    "team",
    "when",
    "ready",
    "thanks",
]
# Of thirteen, and of seventeen digits and more, one needs a word for cards.
_PREFIXES = (
    ("4", 16),
    ("53", 16),
    ("2400", 16),
    ("37", 15),
    ("6011", 16),
    ("36", 14),
    ("6759", 16),
)
_LOOK_ALIKE = {
    "a": "\u0430",
    "e": "\u0435",
    "o": "\u043e",
    "c": "\u0441",
    "p": "\u0440",
    "x": "\u0445",
    "3": "\u0417",
    "0": "\u041e",
    "E": "\u0395",
    "i": "\u0456",
}
_LEET = {
    "0": "O",
    "1": "l",
    "2": "Z",
    "3": "E",
    "4": "A",
    "5": "S",
    "6": "b",
    "7": "T",
    "8": "B",
    "9": "g",
}
_NUMBER_WORDS = {
    "en": ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
    "de": ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"],
    "es": ["cero", "uno", "dos", "tres", "cuatro", "cinco", "seis", "siete", "ocho", "nueve"],
    "fr": ["zéro", "un", "deux", "trois", "quatre", "cinq", "six", "sept", "huit", "neuf"],
    "pl": [
        "zero",
        "jeden",
        "dwa",
        "trzy",
        "cztery",
        "pięć",
        "sześć",
        "siedem",
        "osiem",
        "dziewięć",
    ],
}


class _Fresh:
    """Values that were never written down anywhere."""

    def __init__(self, seed: str) -> None:
        self.rng = random.Random(seed)

    def digits(self, count: int) -> str:
        return "".join(self.rng.choices("0123456789", k=count))

    def card(self) -> str:
        prefix, length = self.rng.choice(_PREFIXES)
        body = prefix + self.digits(length - len(prefix) - 1)
        return body + str(luhn.calc_check_digit(body))

    def account(self) -> str:
        body = self.digits(18)
        return f"DE{iban.calc_check_digits('DE00' + body)}{body}"

    def mail(self) -> str:
        local = self.rng.choice(("anna", "li.chen", "olek_k", "pedro")) + self.digits(2)
        host = self.rng.choice(("northwind", "kontor", "acme-corp"))
        return f"{local}@{host}.{self.rng.choice(('com', 'org', 'de', 'co.uk'))}"

    def value(self) -> tuple[str, str]:
        kind = self.rng.choice(("payment-card", "iban", "email"))
        made = {"payment-card": self.card, "iban": self.account, "email": self.mail}[kind]()
        return kind, made

    def words(self) -> str:
        return " ".join(self.rng.choices(_WORDS, k=self.rng.randint(2, 8)))

    def wrapped(self, value: str) -> str:
        form = self.rng.choice(("{0} {1} {2}", "{0}: {1}", "{0}\n{1}\n{2}", "{0} ({1}), {2}"))
        return form.format(self.words(), value, self.words())


def _hex(text: str) -> str:
    return text.encode().hex()


_ENCODINGS: dict[str, Callable[[str], str]] = {
    "percent": lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    "percent twice": lambda text: quote("".join(f"%{byte:02X}" for byte in text.encode())),
    "entities": lambda text: "".join(f"&#x{ord(char):x};" for char in text),
    "base64": _b64,
    "base64url": lambda text: base64.urlsafe_b64encode(text.encode()).decode().rstrip("="),
    "base32": lambda text: base64.b32encode(text.encode()).decode(),
    "hex": _hex,
    "hex with spaces": lambda text: " ".join(f"{byte:02x}" for byte in text.encode()),
    "hex with 0x": lambda text: ", ".join(f"0x{byte:02x}" for byte in text.encode()),
    "\\x": lambda text: "".join(f"\\x{byte:02x}" for byte in text.encode()),
    "\\u": lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    "quoted-printable": lambda text: "".join(f"={byte:02X}" for byte in text.encode()),
    "gzip": lambda text: base64.b64encode(gzip.compress(f"it is {text}".encode())).decode(),
    "codes": lambda text: " ".join(str(ord(char)) for char in text),
    "bits": lambda text: " ".join(f"{ord(char):08b}" for char in text),
    "JSON in base64": lambda text: _b64(json.dumps({"note": "it is", "value": text})),
    "JSON in hex": lambda text: _hex(json.dumps([{"value": text}])),
    "look-alikes": lambda text: "".join(_LOOK_ALIKE.get(char, char) for char in text),
    "full width": lambda text: "".join(chr(ord(char) + 0xFEE0) for char in text),
    "tags": lambda text: "".join(chr(0xE0000 + ord(char)) for char in text),
    "letters apart": " ".join,
    "three layers": lambda text: quote(_b64(_hex(text))),
    "four layers": lambda text: _b64(_hex(_b64("".join(f"\\u{ord(c):04x}" for c in text)))),
}


@pytest.mark.parametrize("way", _ENCODINGS)
def test_fresh_value_is_found_through_an_encoding(way: str) -> None:
    """Whatever the value and the words around it, it is found, and gone after redaction."""
    fresh = _Fresh(way)
    for _ in range(20):
        kind, value = fresh.value()
        parts = ({"text": fresh.wrapped(_ENCODINGS[way](value))},)
        screening = SCREENER.screen(parts)
        assert kind in screening.types, parts
        assert not SCREENER.screen(SCREENER.redact(parts, screening)).types & screening.types


def test_text_encoded_once_more_than_is_looked_through_is_told_as_such() -> None:
    """A fifth encoding is a limit, not an honest text; a guess at the full depth is neither."""
    text = f"write to {_Fresh('deep').value()[1]}, it is the wrong address"
    for _ in range(5):
        text = _b64(text)
    assert SCREENER.screen(({"text": text},)).types == {"screening-limit"}
    honest = "gur naq guvf revers siht taht a1l th3 t1m3"
    for _ in range(4):
        honest = _b64(honest)
    assert SCREENER.screen(({"text": honest},)).types == set()


def test_span_in_a_nested_layer_is_that_of_the_whole_encoded_piece() -> None:
    """What surrounds the encoded piece stays."""
    fresh = _Fresh("span")
    piece = _b64(_hex(f"card {fresh.card()}"))
    parts = ({"text": f"see {piece} there"},)
    redacted = SCREENER.redact(parts, SCREENER.screen(parts))
    assert redacted == ({"text": "see [payment-card] there"},)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_letters_in_place_of_digits_do_not_hide_a_number(share: float) -> None:
    """Cards and accounts are read as a person would read them."""
    fresh = _Fresh(f"leet {share}")

    def dressed(digits: str) -> str:
        swapped = "".join(_LEET[d] if fresh.rng.random() < share else d for d in digits)
        return " ".join(swapped[at : at + 4] for at in range(0, len(swapped), 4))

    for _ in range(40):
        account = fresh.account()
        for kind, text in (
            ("payment-card", dressed(fresh.card())),
            ("iban", account[:2] + dressed(account[2:])),
        ):
            said = fresh.wrapped(text)
            assert kind in SCREENER.screen(({"text": said},)).types, said


@pytest.mark.parametrize("language", _NUMBER_WORDS)
def test_digits_in_words_are_read(language: str) -> None:
    """In several languages, with digits among the words, and with `double`."""
    fresh = _Fresh(language)
    for _ in range(20):
        words = [_NUMBER_WORDS[language][int(digit)] for digit in fresh.card()]
        if language == "en":
            words = _doubled(words, fresh)
        text = fresh.wrapped(fresh.rng.choice((" ", "-", ", ")).join(words))
        assert SCREENER.screen(({"text": text},)).types == {"payment-card"}, text


def _doubled(words: list[str], fresh: _Fresh) -> list[str]:
    said: list[str] = []
    for word in words:
        if said and said[-1] == word and fresh.rng.random() < 0.7:
            said[-1] = f"double {word}"
        else:
            said.append(word)
    return said


@pytest.mark.parametrize("at", [" at ", "(at)", " [at] ", " AT ", " arroba ", " <at> "])
@pytest.mark.parametrize("dot", [" dot ", "[dot]", " (dot) ", " DOT ", " punkt "])
def test_address_in_words_is_read(at: str, dot: str) -> None:
    """Signs of an address may be spoken."""
    fresh = _Fresh(at + dot)
    text = fresh.wrapped(fresh.mail().replace("@", at).replace(".", dot))
    assert "email" in SCREENER.screen(({"text": text},)).types, text


@pytest.mark.parametrize(
    "text",
    [
        "Look at the dot in the logo, then at the dot below.",
        "It is available at github.com and was shown at example.org/main.",
        "one two three, testing, seven days and nine nights at ten to six",
        "\u0421\u043f\u0430\u0441\u0438\u0431\u043e, \u0437\u0430\u043a\u0430\u0437 2001 \u043f\u0440\u0438\u0448\u0451\u043b \u0432 \u0441\u0440\u0435\u0434\u0443.",
        "\u0397 \u03c0\u03b1\u03c1\u03b1\u03b3\u03b3\u03b5\u03bb\u03af\u03b1 2001 \u03ad\u03c6\u03c4\u03b1\u03c3\u03b5 \u03c4\u03b7\u03bd \u03a4\u03b5\u03c4\u03ac\u03c1\u03c4\u03b7.",
        "Zam\u00f3wienie 2001 dotar\u0142o w \u015brod\u0119, dzi\u0119kuj\u0119 bardzo.",
        "The rest of order 4471 and the second half of 2026 follow in part 2.",
        "3x3 matrices, 5G, l33t, h4x0r, B2B and I18N",
        "a = b @ c.T; x = y @ w.weight",
    ],
)
def test_honest_words_are_not_read_as_disguise(text: str) -> None:
    """Words and letters that only look like a disguise bear no label."""
    assert SCREENER.screen(({"text": text},)).labels == ()


def test_a_bare_number_is_read_backwards_where_the_text_says_so_alone() -> None:
    """Two of a hundred honest numbers are cards from their end."""
    backwards = "4111111111111111"[::-1]
    assert SCREENER.screen(({"text": f"reversed: {backwards}"},)).types == {"payment-card"}
    assert SCREENER.screen(({"text": f"serial {backwards}"},)).labels == ()


def test_rot13_and_reading_backwards_are_undone() -> None:
    """Accounts, addresses and keys, alone or in a sentence that is disguised as a whole."""
    fresh = _Fresh("rot13")
    for _ in range(20):
        kind, value = fresh.rng.choice((("iban", fresh.account()), ("email", fresh.mail())))
        said = f"please note that my number is {value} and that is all"
        for text in (
            codecs.encode(value, "rot13"),
            codecs.encode(said, "rot13"),
            value[::-1],
            said[::-1],
        ):
            assert kind in SCREENER.screen(({"text": text},)).types, text
    key = "AKIA" + "".join(fresh.rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", k=16))
    for text in (codecs.encode(key, "rot13"), key[::-1]):
        assert SCREENER.screen(({"text": f"it is {text} ok"},)).types == {"secret-key"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("the first half is {}, wait", "and the rest is {} thanks"),
        ("my card starts with {} so far", "then comes {}"),
        ("part 1: {}", "part 2: {}"),
        ("{}", "{}"),
    ],
)
def test_card_in_announced_pieces_is_found(first: str, second: str) -> None:
    """In parts, in messages of one conversation, and (where announced) in one text."""
    fresh = _Fresh(first)
    for _ in range(20):
        card = fresh.card()
        cut = fresh.rng.randint(4, len(card) - 4)
        one, other = first.format(card[:cut]), second.format(card[cut:])
        assert "payment-card" in SCREENER.screen(({"text": one}, {"text": other})).types
        spoken = SCREENER.screen(({"text": other},), history=("hello there", one))
        assert spoken.types == {"payment-card"}, (one, other)
        assert all(label.path == (0, "text") for label in spoken.labels)
        if first != "{}":
            assert "payment-card" in SCREENER.screen(({"text": f"{one} {other}"},)).types


def test_history_completes_values_but_is_not_labelled_itself() -> None:
    """What stood whole in an earlier message is none of this one's."""
    fresh = _Fresh("history")
    mail, card = fresh.mail(), fresh.card()
    assert SCREENER.screen(({"text": "Thanks a lot"},), history=(f"write to {mail}",)).labels == ()
    assert SCREENER.screen(({"text": "12 pieces"},), history=(f"it is {card}",)).labels == ()
    half = len(mail) // 2
    split = SCREENER.screen(({"text": mail[half:] + " ok"},), history=(f"it is {mail[:half]}",))
    assert split.types == {"email"}


def test_replacer_makes_the_replacement() -> None:
    """Redaction asks it for each span, with label type and original."""
    mail = _Fresh("replacer").mail()
    parts = ({"text": f"to {mail}!"},)
    asked = []

    def replacer(kind: str, original: str) -> str:
        asked.append((kind, original))
        return "<someone>"

    redacted = SCREENER.redact(parts, SCREENER.screen(parts), replacer=replacer)
    assert redacted == ({"text": "to <someone>!"},)
    assert asked == [("email", mail)]


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "text/csv", "image/svg+xml", "application/yaml; charset=utf-8"],
)
def test_file_written_as_text_is_read(media_type: str) -> None:
    """Structured text is text, whatever its type is called; other files stay opaque."""
    raw = _b64(json.dumps({"mail": _Fresh(media_type).mail()}))
    assert SCREENER.screen(({"raw": raw, "mediaType": media_type},)).types == {"email"}
    assert SCREENER.screen(({"raw": raw, "mediaType": "application/zip"},)).types == {"opaque-file"}


def test_random_lists_of_figures_are_seldom_taken_for_cards() -> None:
    """Four figures of four digits pass Luhn in one of ten cases; few begin like a usual card."""
    rng = random.Random(11)
    taken = 0
    for _ in range(1000):
        figures = [rng.randrange(1000, 10000) for _ in range(4)]
        taken += "payment-card" in SCREENER.screen(({"data": {"sales": figures}},)).types
    assert taken < 50


def test_compressed_bomb_and_deep_nesting_are_bounded() -> None:
    """Decoding is paid from the budget: what would go on for ever is cut, not passed on."""
    bomb = base64.b64encode(gzip.compress(b"4111 " * 2_000_000)).decode()
    assert "screening-limit" in SCREENER.screen(({"text": bomb},)).types
    deep = _Fresh("deep").mail()
    for _ in range(12):
        deep = _b64(deep)
    assert SCREENER.screen(({"text": deep},)).types == {"screening-limit"}
