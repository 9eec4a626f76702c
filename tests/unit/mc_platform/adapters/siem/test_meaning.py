"""The table of meanings is data: it names every kind, and what is wrong in it is told."""

from __future__ import annotations

import pytest

from mc_contract.configuration import FileProblems
from mc_platform.adapters.siem.meaning import MEANINGS, Group, Outcome, meaning_of, read_table
from mc_platform.model.event import Kind


def test_every_kind_has_a_sentence():
    """The table has a row for each kind that the ledger records, and no other."""
    assert set(MEANINGS) == {kind.value for kind in Kind}
    assert all(meaning.text for meaning in MEANINGS.values())


def test_a_kind_that_is_not_known_is_unknown():
    """Nothing is claimed of an event of another version."""
    meaning = meaning_of("order.shipped")
    assert (meaning.outcome, meaning.severity) == (Outcome.unknown, "unknown")
    assert meaning.group is Group.activity


@pytest.mark.parametrize(
    "kind,row,problem",
    [
        (
            "step.done",
            {"text": "x", "severity": "hihg"},
            "did you mean high",
        ),
        ("step.done", {"text": "x", "outcom": "failure"}, "did you mean outcome"),
        ("step.dome", {"text": "x"}, "did you mean step.done"),
        ("step.done", {}, "text is missing"),
    ],
)
def test_a_wrong_row_is_told(kind, row, problem):
    """A row with a misspelt word or key, or of no known kind, is refused with the known ones."""
    with pytest.raises(FileProblems, match=problem):
        read_table(
            {"severities": {"high": {"ocsf": 4, "syslog": 3, "cef": 9}}, "kinds": {kind: row}}
        )
