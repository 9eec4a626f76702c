"""Policy tables: example questions with their answers, which a policy set brings along.

    [tenant]                    # the asking tenant; a row's `tenant` changes it
    [question]                  # fields of `model.verdict.Question`; a row's `question` changes them
    [[row]]
    name = "a key in the message"
    question = { labels = ["secret-key"] }
    allow = false
    policies = ["no-secrets-to-agents"]   # exactly those that determine the answer

A row holds only if the answer and the policies are those that it names: so a table notices when
a policy is missing although another one gives the same answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from mc_platform.model.ids import AgentName, PrincipalId, TenantId
from mc_platform.model.tenant import Principal, Tenant
from mc_platform.model.verdict import Action, Decision, Question

_ROW_KEYS = {"name", "tenant", "principal", "question", "allow", "policies"}
_SETS = {"resource_purposes", "resource_accepts", "labels", "classes", "origins"}
_TENANT_KEYS = {
    "id", "residency", "purposes", "agents", "autonomy_tier", "outbound",
    "operations_per_hour", "tainted_operations",
}  # fmt: skip
_QUESTION_KEYS = set(inspect.signature(Question).parameters) - {"principal", "tenant"}


class BrokenTable(ValueError):
    """A table is malformed; the message names the table and the row."""


@dataclass(frozen=True, slots=True)
class Row:
    """One example question and its answer.

    Attributes:
        label: Its table and name.
        policies: The policies that determine the answer, sorted; none: denied by default.
    """

    label: str
    question: Question
    allow: bool
    policies: tuple[str, ...]


def parse_table(name: str, table: Mapping[str, Any]) -> list[Row]:
    """The rows of one parsed TOML table.

    Raises:
        BrokenTable: a key is missing or unknown, or a value is of the wrong kind.
    """
    rows = table.get("row")
    if not isinstance(rows, list) or not rows:
        raise BrokenTable(f"{name}: there is no [[row]]")
    defaults = {key: table.get(key, {}) for key in ("tenant", "question")}
    found = [_row(name, number, defaults, raw) for number, raw in enumerate(rows, 1)]
    labels = [row.label for row in found]
    twice = {label for label in labels if labels.count(label) > 1}
    if twice:
        raise BrokenTable(f"{min(twice)}: two rows have this name")
    return found


def holds(row: Row, decision: Decision) -> bool:
    """Whether a decision is the one that the row names."""
    return (decision.allowed, decision.policy_ids) == (row.allow, row.policies)


def failing(rows: Iterable[Row], decide: Callable[[Question], Decision]) -> list[str]:
    """What each failing row got instead; empty: all of them hold."""
    problems: list[str] = []
    for row in rows:
        decision = decide(row.question)
        if not holds(row, decision):
            problems.append(
                f"{row.label}: expected {_answer(row.allow, row.policies)}, "
                f"got {_answer(decision.allowed, decision.policy_ids)}"
            )
    return problems


def _row(table: str, number: int, defaults: Mapping[str, Any], raw: Any) -> Row:
    if not isinstance(raw, Mapping) or not isinstance(raw.get("name"), str):
        raise BrokenTable(f"{table}: row {number} has no name")
    label = f"{table}: {raw['name']}"
    try:
        _require_known(set(raw), _ROW_KEYS)
        if not isinstance(raw["allow"], bool):
            raise TypeError("allow must be true or false")
        return Row(
            label=label,
            question=_question(defaults, raw),
            allow=raw["allow"],
            policies=tuple(sorted(_words("policies", raw["policies"]))),
        )
    except KeyError as error:
        raise BrokenTable(f"{label}: key {error.args[0]!r} is missing") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise BrokenTable(f"{label}: {error}") from error


def _question(defaults: Mapping[str, Any], raw: Mapping[str, Any]) -> Question:
    tenant = {"id": "SELF", **defaults["tenant"], **raw.get("tenant", {})}
    asked = {**defaults["question"], **raw.get("question", {})}
    principal = raw.get("principal", {})
    _require_known(set(tenant), _TENANT_KEYS)
    _require_known(set(asked), _QUESTION_KEYS)
    _require_known(set(principal), {"id", "role"})
    tenant_id = TenantId(tenant["id"])
    asked["action"] = Action(asked["action"])
    for key in _SETS & set(asked):
        asked[key] = frozenset(_words(key, asked[key]))
    return Question(
        principal=Principal(
            PrincipalId(principal.get("id", "someone")),
            tenant_id,
            "0" * 12,
            principal.get("role", "agent"),
        ),
        tenant=Tenant(
            id=tenant_id,
            residency=tenant["residency"],
            agents=frozenset(AgentName(name) for name in _words("agents", tenant["agents"])),
            autonomy_tier=tenant["autonomy_tier"],
            outbound={
                purpose: frozenset(_words(f"outbound.{purpose}", classes))
                for purpose, classes in tenant.get("outbound", {}).items()
            },
            operations_per_hour=tenant.get("operations_per_hour"),
            purposes=frozenset(_words("purposes", tenant["purposes"])),
            tainted_operations=frozenset(
                _words("tainted_operations", tenant.get("tainted_operations", ()))
            ),
        ),
        **asked,
    )


def _require_known(given: set[str], known: set[str]) -> None:
    unknown = sorted(given - known)
    if unknown:
        raise ValueError(f"unknown key {unknown[0]!r}; known: {', '.join(sorted(known))}")


def _words(name: str, raw: Any) -> list[str]:
    if not isinstance(raw, list | tuple) or not all(isinstance(word, str) for word in raw):
        raise TypeError(f"{name} must be a list of words")
    return list(raw)


def _answer(allowed: bool, policies: Iterable[str]) -> str:
    by = ", ".join(policies) or "no policy"
    return f"{'allow' if allowed else 'deny'} by {by}"
