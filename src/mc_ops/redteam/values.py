"""Canary values: made for one case, found nowhere else, and valid by their own checksums."""

from __future__ import annotations

import base64
import binascii
import codecs
import contextlib
import html
import math
import random
import re
import string
import unicodedata
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from stdnum import iban, luhn
from stdnum.es import dni
from stdnum.pl import pesel

_LOWER = string.ascii_lowercase
_SYLLABLES = [consonant + vowel for consonant in "bdklmnrstvz" for vowel in "aeiou"]
_CARD_STARTS = {
    13: ("4",),
    14: ("36", "38"),
    15: ("34", "37"),
    16: ("4", "51", "53", "55", "6011", "65"),
    19: ("4", "6304", "62"),
}
_IBAN_DIGITS = {"DE": 18, "PL": 24, "AT": 16}
_TOKEN = re.compile(r"[A-Za-z0-9+/_=%\-]{12,}")
_LONGEST_TEXT = 200_000


@dataclass(frozen=True, slots=True)
class Canary:
    """One value that must not come back.

    Attributes:
        kind: What it is: `email`, `payment-card`, `iban`, `national-id`, `phone`, `secret-key` ...
        text: As a person would write it.
        core: Its letters and digits, lower case: what is looked for.
    """

    kind: str
    text: str
    core: str


def core_of(text: str) -> str:
    """A text's letters and digits, lower case."""
    folded = unicodedata.normalize("NFKC", text).lower()
    return "".join(char for char in folded if char.isalnum())


def name(rng: random.Random, syllables: int = 3) -> str:
    """A name that nobody has."""
    return "".join(rng.choices(_SYLLABLES, k=syllables)).capitalize()


def fresh_id(rng: random.Random) -> str:
    """An id that nothing else has, in hexadecimal."""
    return uuid.UUID(int=rng.getrandbits(128)).hex


def digits(rng: random.Random, count: int) -> str:
    return "".join(rng.choices(string.digits, k=count))


def made(kind: str, text: str) -> Canary:
    return Canary(kind, text, core_of(text))


def email(rng: random.Random) -> Canary:
    """An address at a domain that no one owns."""
    local = f"{name(rng).lower()}.{name(rng).lower()}{digits(rng, 3)}"
    domain = f"{name(rng, 2).lower()}{rng.choice(_LOWER)}.{rng.choice(('com', 'org', 'net', 'de'))}"
    return made("email", f"{local}@{domain}")


def card(rng: random.Random) -> Canary:
    """A payment card's number that passes Luhn, grouped or not."""
    length = rng.choice([16, 16, 16, *_CARD_STARTS])
    start = rng.choice(_CARD_STARTS[length])
    body = start + digits(rng, length - len(start) - 1)
    number = body + luhn.calc_check_digit(body)
    gap = rng.choice(("", "", " ", "-"))
    grouped = [number[at : at + 4] for at in range(0, length, 4)] if gap else [number]
    return made("payment-card", gap.join(grouped))


def account(rng: random.Random) -> Canary:
    while True:
        country = rng.choice(list(_IBAN_DIGITS))
        body = digits(rng, _IBAN_DIGITS[country])
        number = country + iban.calc_check_digits(f"{country}00{body}") + body
        if iban.is_valid(number):
            return made("iban", rng.choice((number, iban.format(number))))


def national_id(rng: random.Random) -> Canary:
    """A Spanish DNI or a Polish PESEL."""
    if rng.random() < 0.5:
        number = digits(rng, 8)
        return made("national-id", number + dni.calc_check_digit(number))
    year, month, day = rng.randint(40, 99), rng.randint(1, 12), rng.randint(1, 28)
    body = f"{year:02}{month:02}{day:02}{digits(rng, 4)}"
    return made("national-id", body + pesel.calc_check_digit(body))


def phone(rng: random.Random) -> Canary:
    """A number in international form."""
    start = rng.choice(("+49 30 2", "+48 22 6", "+44 20 79", "+1 212 55"))
    number = start + digits(rng, 7)
    country = start.split(" ")[0]
    lengths = {"+49": 10, "+48": 9, "+44": 10, "+1": 10}
    local = core_of(number)[len(country) - 1 :][: lengths[country]]
    return made("phone", f"{country} {local[:3]} {local[3:6]} {local[6:]}")


def secret(rng: random.Random) -> Canary:
    """A key in the form of a well-known service's."""
    letters = string.ascii_letters + string.digits
    text = rng.choice(
        (
            "AKIA" + "".join(rng.choices(string.ascii_uppercase + "234567", k=16)),
            "ghp_" + "".join(rng.choices(letters, k=36)),
            "glpat-" + "".join(rng.choices(letters, k=20)),
            "sk_live_" + "".join(rng.choices(letters, k=24)),
        )
    )
    return made("secret-key", text)


MAKERS = (email, card, account, national_id, phone, secret)


def canary(rng: random.Random) -> Canary:
    return rng.choice(MAKERS)(rng)


def views(text: str) -> list[str]:
    """A text as letters and digits, and so each usual way of decoding it."""
    text = text[:_LONGEST_TEXT]
    seen = [text, unquote(text), html.unescape(text), codecs.decode(text, "rot13")]
    for token in _TOKEN.findall(text):
        seen += _decoded(token)
    cores = [core_of(one) for one in seen]
    return [*cores, *(core[::-1] for core in cores)]


def _decoded(token: str) -> list[str]:
    found = []
    plain = token.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        raw = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
        found.append(raw.decode())
    except (binascii.Error, ValueError):
        pass
    with contextlib.suppress(ValueError):
        found.append(bytes.fromhex(token).decode())
    return found


_SHORTEST_PART = 6


def comes_back(value: Canary, seen: Iterable[str], share: float) -> bool:
    """Whether so large a share of a canary, in one piece, stands in one of the `views`."""
    length = min(len(value.core), max(_SHORTEST_PART, math.ceil(len(value.core) * share)))
    pieces = [value.core[at : at + length] for at in range(len(value.core) - length + 1)]
    return any(piece in view for view in seen for piece in pieces)
