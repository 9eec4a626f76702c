"""Keyed pseudonyms: joinable, reversible with the key, of no use without it."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tests.fakes import pseudonym_keys

from mc_platform.screen import LibraryScreener
from mc_platform.screen.pseudonyms import REVERSIBLE, Pseudonymiser

MAKER = Pseudonymiser(pseudonym_keys(bytes(range(32))))
KINDS = st.sampled_from(sorted(REVERSIBLE))
VALUES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(KINDS, VALUES)
def test_what_was_replaced_comes_back(kind: str, value: str) -> None:
    """The same value gets the same pseudonym, and the key opens it, wherever it stands."""
    assume(value.strip())
    made = MAKER.pseudonym("T1", kind, value)
    assert made == MAKER.pseudonym("T1", kind, value)
    text, opened = MAKER.reveal("T1", f"before {made} after")
    assert text == f"before {value.strip()} after"
    assert opened == {kind: 1}


@given(KINDS, VALUES, st.integers(0, 200))
def test_nobody_else_opens_it_and_nobody_makes_one_up(kind: str, value: str, at: int) -> None:
    """Another tenant, another key, a changed letter: all stay as they are."""
    assume(value.strip())
    made = MAKER.pseudonym("T1", kind, value)
    assert MAKER.reveal("T2", made) == (made, {})
    assert Pseudonymiser(pseudonym_keys(bytes(32))).reveal("T1", made) == (made, {})
    start = made.index(":") + 1
    place = start + at % (len(made) - 1 - start)
    other = "a" if made[place] != "a" else "b"
    changed = made[:place] + other + made[place + 1 :]
    assert MAKER.reveal("T1", changed) == (changed, {})


def test_a_pseudonym_does_not_carry_over_to_another_type() -> None:
    """The type is part of what is authenticated."""
    made = MAKER.pseudonym("T1", "email", "a@b.example")
    moved = made.replace("email", "phone")
    assert MAKER.reveal("T1", moved) == (moved, {})


@given(VALUES)
def test_screening_finds_nothing_in_a_pseudonym(value: str) -> None:
    """Else a redacted reply would be redacted for ever."""
    assume(value.strip())
    text = f"The value is {MAKER.pseudonym('T1', 'email', value)}."
    assert LibraryScreener().screen(({"text": text},)).labels == ()


@pytest.mark.parametrize("kind", ["secret-key", "payment-card", "cross-tenant-id", "tool-call"])
def test_keys_and_cards_never_come_back(kind: str) -> None:
    """They get the placeholder alone."""
    assert MAKER.pseudonym("T1", kind, "4111 1111 1111 1111") == f"[{kind}]"


def test_a_redacted_reply_holds_pseudonyms() -> None:
    """The screener takes the replacer; what it leaves can be opened again."""
    screener = LibraryScreener()
    parts = ({"text": "write to jane.doe@example.com"},)
    redacted = screener.redact(parts, screener.screen(parts), replacer=MAKER.replacer("T1"))
    assert "jane" not in redacted[0]["text"]
    assert MAKER.reveal("T1", redacted[0]["text"])[0] == parts[0]["text"]
