"""What a request may say of itself."""

from __future__ import annotations

from typing import Any

import pytest

from mc_contract.governance import GOVERNANCE_URI, Governance, GovernanceError, parse_governance


def test_what_is_left_out_has_its_default() -> None:
    """No metadata at all is a question to the records agent, for support."""
    assert parse_governance({}) == Governance(agent="records", purpose="support")


def test_destinations_are_a_list_of_agents() -> None:
    """Further agents that the conversation may reach."""
    said = {GOVERNANCE_URI: {"agent": "a", "destinations": ["b", "c"]}}
    assert parse_governance(said).destinations == ("b", "c")


@pytest.mark.parametrize(
    "destinations", ["records", [1], [""], ["a b"], {"a": 1}, ["a"] * 17, None, [["a"]]]
)
def test_other_destinations_are_told_by_name(destinations: Any) -> None:
    """A text is no list, and an agent's name is a word."""
    with pytest.raises(GovernanceError, match="'destinations'"):
        parse_governance({GOVERNANCE_URI: {"destinations": destinations}})
