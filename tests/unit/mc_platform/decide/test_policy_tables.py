"""The policy set answers its example requests, and would miss any policy that is taken away."""

from __future__ import annotations

import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mc_platform.adapters.cedar import CedarDecisionPoint
from mc_platform.model.ids import AgentName, PrincipalId, TenantId
from mc_platform.model.tenant import Principal, Tenant
from mc_platform.model.verdict import Action, Question

POLICY_DIR = Path(__file__).parents[4] / "policies"
SETS = {"resource_purposes", "labels"}


@dataclass(frozen=True)
class Row:
    """One example request and its answer."""

    label: str
    question: Question
    allow: bool
    policies: tuple[str, ...]


def _row(table: str, defaults: dict[str, Any], raw: dict[str, Any]) -> Row:
    unknown = set(raw) - {"name", "tenant", "principal", "question", "allow", "policies"}
    assert not unknown, f"{table}: unknown keys {unknown}"
    tenant = {**defaults["tenant"], **raw.get("tenant", {})}
    asked = {**defaults["question"], **raw.get("question", {})}
    asked["action"] = Action(asked["action"])
    asked = {key: frozenset(value) if key in SETS else value for key, value in asked.items()}
    tenant_id = TenantId(tenant.get("id", "SELF"))
    return Row(
        label=f"{table}: {raw['name']}",
        question=Question(
            principal=Principal(
                PrincipalId("someone"), tenant_id, "0" * 12, **raw.get("principal", {})
            ),
            tenant=Tenant(
                id=tenant_id,
                residency=tenant["residency"],
                purposes=frozenset(tenant["purposes"]),
                agents=frozenset(AgentName(name) for name in tenant["agents"]),
                autonomy_tier=tenant["autonomy_tier"],
            ),
            **asked,
        ),
        allow=raw["allow"],
        policies=tuple(sorted(raw["policies"])),
    )


def _rows() -> list[Row]:
    rows: list[Row] = []
    for path in sorted((POLICY_DIR / "tests").glob("*.toml")):
        table = tomllib.loads(path.read_text())
        rows += [_row(path.stem, table, raw) for raw in table["row"]]
    return rows


ROWS = _rows()
POINT = CedarDecisionPoint.load(POLICY_DIR)


def _holds(point: CedarDecisionPoint, row: Row) -> bool:
    decision = point.decide(row.question)
    return (decision.allowed, decision.policy_ids) == (row.allow, row.policies)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.label)
def test_policy_set_answers_the_example(row: Row) -> None:
    """Each row is answered as the table says, for the reason that the table says."""
    decision = POINT.decide(row.question)
    assert (decision.allowed, decision.policy_ids) == (row.allow, row.policies), decision.reason


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
    assert [row.label for row in ROWS if not _holds(point, row)]
