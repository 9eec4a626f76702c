"""What a tenant declares is found as declared, and only that."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_platform.errors import Misconfigured
from mc_platform.model.label import Scope
from mc_platform.screen.detectors.tenant_terms import check_patterns, scope_recognisers
from mc_platform.screen.findings import Budget

SCOPE = Scope(
    customer_ids=(r"C-\d{4}",),
    dictionary=("Projekt Königsblau", "Blue Fin", "x+1"),
    foreign_ids=(r"ACME-\d+",),
)


def _found(scope: Scope, text: str) -> list[tuple[str, str]]:
    budget = Budget(per_leaf=1000, per_message=1000)
    return [
        (finding.type, text[finding.start : finding.end])
        for _, find in scope_recognisers(scope)
        for finding in find(text, "", budget)
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see C-1003.", [("customer-id", "C-1003")]),
        ("AC-1003 and C-10031 are others", []),
        ("ACME-33 is theirs", [("cross-tenant-id", "ACME-33")]),
        ("projekt konigsblau", [("tenant-term", "projekt konigsblau")]),
        ("PROJEKT-KÖNIGSBLAU", [("tenant-term", "PROJEKT-KÖNIGSBLAU")]),
        (
            "blue  fin, bluefin, bluefinch",
            [("tenant-term", "blue  fin"), ("tenant-term", "bluefin")],
        ),
        ("let x+1 be y", [("tenant-term", "x+1")]),
        ("nothing of it", []),
    ],
)
def test_declared_value_is_found_as_a_whole(text: str, found: list[tuple[str, str]]) -> None:
    """Ids stand alone; terms are found in any case, with any separator and diacritics."""
    assert _found(SCOPE, text) == found


def test_empty_scope_finds_nothing() -> None:
    """Who declares nothing gets no finders."""
    assert scope_recognisers(Scope()) == ()


@pytest.mark.parametrize("pattern", ["(a", "(?=x)", r"(a)\1", "a*", "", "x" * 600])
def test_unusable_pattern_is_named(pattern: str) -> None:
    """What RE2 does not know, matches nothing at all, or is too long, is named in the problem."""
    (problem,) = check_patterns([r"C-\d+", pattern])
    assert repr(pattern[:60]) in problem
    with pytest.raises(Misconfigured, match="pattern"):
        scope_recognisers(Scope(customer_ids=(pattern,)))


PLAIN_LETTERS = st.characters(categories=["Lu", "Ll"]).filter(
    lambda char: unicodedata.normalize("NFKC", char) == char
)


@given(st.text(alphabet=PLAIN_LETTERS, min_size=3, max_size=20))
def test_term_is_found_in_every_case(term: str) -> None:
    """A word of letters is found as it was declared, whatever the letters (texts come normalised)."""
    assert ("tenant-term", term) in _found(Scope(dictionary=(term,)), f"a {term} b")
