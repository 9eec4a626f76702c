"""Numbers in messages: with what is counted in singular or plural, and times in words."""

from __future__ import annotations

import pytest

from mc_contract.numbers import counted, duration


@pytest.mark.parametrize(
    ("number", "noun", "told"),
    [
        (0, "event", "0 events"),
        (1, "event", "1 event"),
        (1.0, "open log", "1 open log"),
        (2, "ledger entry", "2 ledger entries"),
        (3, "reply", "3 replies"),
        (2, "day", "2 days"),
        (2, "process", "2 processes"),
        (30_000, "pair", "30,000 pairs"),
    ],
)
def test_what_is_counted_agrees_with_its_number(number: float, noun: str, told: str) -> None:
    """One is one; a noun in -y has its own plural."""
    assert counted(number, noun) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(4.24, "4.2 s"), (59.6, "1 min 0 s"), (90, "1 min 30 s"), (7500, "2 h 5 min")],
)
def test_a_time_is_told_in_the_units_of_its_size(seconds: float, told: str) -> None:
    """Never sixty seconds."""
    assert duration(seconds) == told
