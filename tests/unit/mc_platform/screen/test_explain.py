"""What explains a text: the rows that labelled it, and those that came near."""

from __future__ import annotations

import pytest

from mc_platform.screen import LibraryScreener, explain
from mc_platform.screen.detectors.recogniser import recognisers
from mc_platform.screen.rules import RuleFile, Rules

ROW = {
    "name": "context.badge",
    "label": "national-id",
    "pattern": r"(?i:\bbadge): (?P<value>\d{4})",
    "reason": "A word for badges announces it.",
    "positive": "badge: 1230",
    "negative": "badge: 12",
}


@pytest.mark.parametrize(
    ("more", "because"),
    [({"validator": "stdnum.luhn"}, "stdnum.luhn"), ({"prefilter": "gone"}, "prefilter"), ({}, "")],
)
def test_what_a_pattern_finds_and_does_not_count_is_told(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, str], because: str
) -> None:
    """Whoever writes a rule sees whether its pattern, its prefilter or its validator stops it."""
    table = RuleFile.model_validate({"recogniser": [ROW | more]})
    rows = [(*row, frozenset({""})) for row in recognisers(Rules("badges", table, {}))]
    monkeypatch.setattr(explain, "RECOGNISERS", rows)
    found = list(explain.refused("Badge: 1231"))
    if not because:
        assert found == []
        return
    (near,) = found
    assert near == explain.Refused("badges.toml [[recogniser]] 1 context.badge", 7, 11, because)


def test_issuers_and_national_identifiers_are_named_by_their_tables() -> None:
    """What code finds by a table names the table."""
    text = "4111 1111 1111 1111 and PESEL 44051401359"
    rules = [each.rules for each in explain.explain(LibraryScreener(), text)]
    assert rules == [
        ["payment_cards.toml [[issuer]]"],
        ["national_ids.toml [[digits]] pl.pesel"],
    ]


def test_labels_of_one_name_are_told_apart() -> None:
    """A street and a place that context words announce bear the same name; each names its own table."""
    text = "shipped to 12 Main Street, Springfield, IL 62704."
    rules = [
        each.rules
        for each in explain.explain(LibraryScreener(), text)
        if each.label.detector == "context.address"
    ]
    assert rules == [
        ["postal_addresses.toml [[street]]"],
        ["postal_addresses.toml [[recogniser]] 2 context.address"],
    ]
