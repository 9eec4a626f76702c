"""Twenty synthetic customers and forty orders; nobody in it exists.

Cards pass Luhn, Spanish DNI and Polish PESEL numbers pass their checks: the gateway is to find
them by validating, so the sample must be valid. Addresses end in example.com (RFC 2606), phone
numbers are from ranges kept for fiction (Ofcom 020 7946 0xxx).
"""

from __future__ import annotations

from dataclasses import dataclass

from stdnum import luhn
from stdnum.es import dni
from stdnum.pl import pesel

_NAMES = (
    "Ada Lindgren", "Bruno Keller", "Carla Moreau", "Dmitri Hansen", "Elena Rossi",
    "Farid Novak", "Greta Olsen", "Hugo Marin", "Ines Duarte", "Jonas Weber",
    "Katja Horvat", "Liam Byrne", "Marta Nowak", "Nils Berg", "Olga Petrova",
    "Pablo Serra", "Quinn Adler", "Rosa Fabbri", "Sven Dahl", "Tilda Aalto",
)  # fmt: skip
_STATES = (
    ("shipped", "expected 2026-12-01"),
    ("being packed", "expected 2026-12-04"),
    ("delivered", "signed for on 2026-11-20"),
    ("awaiting payment", "reserved until 2026-12-02"),
)


@dataclass(frozen=True, slots=True)
class Customer:
    """One synthetic person."""

    id: str
    name: str
    email: str
    phone: str
    card: str
    national_id: str


@dataclass(frozen=True, slots=True)
class Order:
    """One order; `outlook` is what a customer would want to know next."""

    id: str
    customer_id: str
    state: str
    outlook: str


def _card(index: int) -> str:
    digits = f"411111{index * 7_919:09d}"
    number = digits + luhn.calc_check_digit(digits)
    return " ".join(number[i : i + 4] for i in range(0, 16, 4))


def _national_id(index: int) -> str:
    if index % 2:
        number = str(12_345_000 + index * 617)
        return number + dni.calc_check_digit(number)
    digits = f"{60 + index}0{1 + index % 9}1{index % 9}{1_000 + index * 37}"
    return digits + pesel.calc_check_digit(digits)


def _customer(index: int) -> Customer:
    name = _NAMES[index - 1]
    return Customer(
        id=f"C-{1000 + index}",
        name=name,
        email=f"{name.lower().replace(' ', '.')}@example.com",
        phone=f"+44 20 7946 {index * 47 % 1000:04d}",
        card=_card(index),
        national_id=_national_id(index),
    )


def _order(index: int) -> Order:
    state, outlook = _STATES[(index - 1) % len(_STATES)]
    return Order(f"O-{2000 + index}", f"C-{1001 + (index - 1) % len(_NAMES)}", state, outlook)


CUSTOMERS = {c.id: c for c in (_customer(i + 1) for i in range(len(_NAMES)))}
ORDERS = {o.id: o for o in (_order(i + 1) for i in range(2 * len(_NAMES)))}
