"""The policy set answers its example requests, and would miss any policy that is taken away."""

from __future__ import annotations

import re
import shutil
from itertools import groupby
from pathlib import Path

import pytest

from mc_platform.adapters.cedar.decision_point import CedarDecisionPoint, read_policy_files
from mc_platform.decide import failing

POLICY_DIR = Path(__file__).parents[4] / "policies"
ROWS = read_policy_files(POLICY_DIR).rows()
TABLES = {name: list(rows) for name, rows in groupby(ROWS, lambda row: row.label.partition(":")[0])}
POINT = CedarDecisionPoint.load(POLICY_DIR)


@pytest.mark.parametrize("table", TABLES)
def test_policy_set_answers_the_examples(table: str) -> None:
    """Each row is answered as its table says, for the reason that it says; if not, it is named."""
    assert failing(TABLES[table], POINT.decide) == []


@pytest.mark.parametrize("policy_id", sorted(POINT.policies))
def test_policy_is_exercised_both_ways(policy_id: str) -> None:
    """Every policy decides one row, and for the same action another row goes the other way."""
    decided = [row for row in ROWS if policy_id in row.policies]
    assert decided, f"no row is decided by {policy_id}"
    actions = {row.question.action for row in decided}
    assert {row.allow for row in ROWS if row.question.action in actions} == {True, False}


@pytest.mark.parametrize("policy_id", sorted(POINT.policies))
def test_tables_miss_a_policy_taken_away(policy_id: str, tmp_path: Path) -> None:
    """Removing any one policy makes at least one row fail."""
    mutant = tmp_path / "policies"
    shutil.copytree(POLICY_DIR, mutant)
    file = mutant / POINT.policies[policy_id].file
    statement = re.compile(rf'@id\("{re.escape(policy_id)}"\)[^;]*;')
    changed, count = statement.subn("", file.read_text())
    assert count == 1
    file.write_text(changed)
    point = CedarDecisionPoint.load(mutant)
    assert policy_id not in point.policies
    assert failing(ROWS, point.decide)
    # what `policy test --mutation` does, without files
    assert failing(ROWS, POINT.without(policy_id).decide)
