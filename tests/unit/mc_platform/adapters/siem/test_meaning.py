"""The table of meanings is data: it names every kind, and what is wrong in it is told."""

from __future__ import annotations

import pytest

from mc_contract.configuration import FileProblems, check
from mc_platform.adapters.siem.meaning import MEANINGS, Group, Outcome, Severity, Table, meaning_of
from mc_platform.model.event import Kind


def test_every_kind_has_a_sentence():
    """The table has a row for each kind that the ledger records, and no other."""
    assert set(MEANINGS) == {kind.value for kind in Kind}
    assert all(meaning.text for meaning in MEANINGS.values())


def test_a_kind_that_is_not_known_is_unknown():
    """Nothing is claimed of an event of another version."""
    meaning = meaning_of("order.shipped")
    assert (meaning.outcome, meaning.severity) == (Outcome.unknown, Severity.unknown)
    assert meaning.group is Group.activity


def test_severities_are_numbered_as_in_ocsf():
    """`severity_id`: 0 is unknown, 4 is high."""
    assert [severity.number for severity in Severity] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "kind,row,problem",
    [
        (
            "step.done",
            {"text": "x", "severity": "hihg"},
            "must be unknown or informational or low or medium or high",
        ),
        ("step.done", {"text": "x", "outcom": "failure"}, "did you mean outcome"),
        ("step.dome", {"text": "x"}, "did you mean step.done"),
        ("step.done", {}, "text is missing"),
    ],
)
def test_a_wrong_row_is_told(kind, row, problem):
    """A row with a misspelt word or key, or of no known kind, is refused with the known ones."""
    with pytest.raises(FileProblems, match=problem):
        check(Table, {"kinds": {kind: row}})
