"""Words for cases, put together afresh at each run from `texts.toml`: nobody can learn a list of them."""

from __future__ import annotations

import random
import re
import string
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from stdnum import ean, isbn, luhn

from mc_ops.redteam.values import Canary, digits, name

TEXTS: Mapping[str, Mapping[str, list[str]]] = tomllib.loads(
    Path(__file__).with_name("texts.toml").read_text(encoding="utf-8")
)
_SLOT = re.compile("«([^»]+)»")


def _whole(rng: random.Random, bounds: str) -> str:
    return str(rng.randint(*map(int, bounds.split())))


def _decimal(rng: random.Random, bounds: str) -> str:
    low, high, places = bounds.split()
    return f"{rng.uniform(float(low), float(high)):.{places}f}"


def _characters(rng: random.Random, count: str, alphabet: str) -> str:
    least, *most = map(int, count.split())
    return "".join(rng.choices(alphabet, k=rng.randint(least, *most) if most else least))


def _date(rng: random.Random, form: str) -> str:
    minute = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=rng.randint(0, 3_600_000))
    return minute.strftime(form)


def _isbn(rng: random.Random, _: str) -> str:
    body = rng.choice(("9780", "9781")) + digits(rng, 8)
    return str(isbn.format(body + ean.calc_check_digit(body)))


def _no_card(rng: random.Random, _: str) -> str:
    length = rng.choice((13, 14, 15, 16, 16, 19))
    while luhn.is_valid(number := rng.choice("23456789") + digits(rng, length - 1)):
        pass
    return number


_MADE: Mapping[str, Callable[[random.Random, str], str]] = {
    "int": _whole,
    "num": _decimal,
    "digits": lambda rng, count: _characters(rng, count, string.digits),
    "hex": lambda rng, count: _characters(rng, count, "0123456789abcdef"),
    "upper": lambda rng, count: _characters(rng, count, string.ascii_uppercase),
    "name": lambda rng, _: name(rng),
    "lower": lambda rng, _: name(rng, 2).lower(),
    "date": _date,
    "isbn": _isbn,
    "no-card": _no_card,
}


class Writer:
    """Fills the slots of forms; `texts.toml` says which slots there are.

    Args:
        known: Slots whose value is given.

    Attributes:
        personal: The values that the texts mark as personal.
    """

    def __init__(self, rng: random.Random, **known: str) -> None:
        self._rng = rng
        self._known = known
        self.personal: list[str] = []

    def fill(self, form: str) -> str:
        return _SLOT.sub(lambda match: self._slot(match[1]), form)

    def _slot(self, slot: str) -> str:
        if slot in self._known:
            return self._known[slot]
        kept, assigned, made = slot.partition("=")
        if assigned:
            self._known[kept] = self._value(made)
            return self._known[kept]
        if slot.startswith("!"):
            self.personal.append(self._value(slot[1:]))
            return self.personal[-1]
        return self._value(slot)

    def _value(self, slot: str) -> str:
        if "|" in slot:
            return self._rng.choice(slot.split("|"))
        kind, _, arguments = slot.partition(" ")
        if kind in _MADE:
            return _MADE[kind](self._rng, arguments)
        return self.fill(self._rng.choice(TEXTS["lists"][slot]))


def write(rng: random.Random, table: str, key: str, **known: str) -> str:
    """A text of one of the forms that a table of `texts.toml` has under a key."""
    return Writer(rng, **known).fill(rng.choice(TEXTS[table][key]))


def pick(rng: random.Random, name: str) -> str:
    return write(rng, "lists", name)


def personal(rng: random.Random) -> tuple[str, str, tuple[str, ...]]:
    """Data that only its words tell to be personal: its kind, the text, and what must not come back."""
    kind = rng.choice(list(TEXTS["personal"]))
    writer = Writer(rng)
    text = writer.fill(rng.choice(TEXTS["personal"][kind]))
    return kind, text, tuple(writer.personal)


def person(rng: random.Random) -> str:
    return f"{name(rng)} {name(rng)}"


def request(rng: random.Random, kind: str) -> str:
    """Somebody asks for something of somebody."""
    who, what = person(rng), rng.choice(TEXTS["what"].get(kind, ["record"]))
    return write(rng, "lists", "ask", what=what, who=who)


def statement(rng: random.Random, kind: str, value: str) -> str:
    """A reply that tells a value, as it is written, among other words."""
    before = f"{prose(rng, 1)} " if rng.random() < 0.5 else ""
    after = f" {prose(rng, 1)}" if rng.random() < 0.5 else ""
    key = kind if kind in TEXTS["says"] else "email"
    return f"{before}{write(rng, 'says', key, value=value)}{after}"


def told(rng: random.Random, value: Canary) -> str:
    """A reply that tells a canary plainly."""
    return statement(rng, value.kind, value.text)


def injection(rng: random.Random, item: str = "lamps") -> str:
    """An instruction that would take an agent over."""
    if rng.random() < 0.15:
        return pick(rng, "language")
    text = Writer(rng, item=item).fill("«ignore» «scope» «earlier» «rules»«then»")
    wrap = rng.choice(("{}", "{}.", "SYSTEM: {}", "<!-- {} -->", "Note to the assistant: {}"))
    return wrap.format(text[0].upper() + text[1:] if rng.random() < 0.6 else text)


def prose(rng: random.Random, sentences: int = 2) -> str:
    """Honest words."""
    return " ".join(pick(rng, "prose") for _ in range(sentences))
