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

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

from pydantic import Field, create_model

from mc_contract.configuration import FileProblems, SetOf, Several, Strict, Text, among, check
from mc_platform.model.ids import PrincipalId
from mc_platform.model.tenant import Principal, Role, Tenant
from mc_platform.model.verdict import Action, Decision, Question


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
        BrokenTable: with every key that is missing or unknown, and every value of another kind.
    """
    try:
        read = check(_File, table)
    except FileProblems as error:
        raise BrokenTable("; ".join(f"{name}: {problem}" for problem in error.problems)) from error
    labels = [f"{name}: {row.name}" for row in read.row]
    problems = [f"{label}: two rows have this name" for label in labels if labels.count(label) > 1]
    rows = []
    for label, row in zip(labels, read.row, strict=True):
        try:
            rows.append(_row(label, read, row))
        except FileProblems as error:
            problems += [f"{label}: {problem}" for problem in error.problems]
    if problems:
        raise BrokenTable("; ".join(dict.fromkeys(problems)))
    return rows


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


def _row(label: str, table: _File, row: _Row) -> Row:
    asked = {
        "tenant": {"id": "SELF", **table.tenant, **row.tenant},
        "question": {**table.question, **row.question},
    }
    read = check(_Asked, asked)
    tenant, question = Tenant(**dict(read.tenant)), dict(read.question)
    return Row(
        label=label,
        question=Question(
            principal=Principal(
                PrincipalId(row.principal.id), tenant.id, "0" * 12, row.principal.role
            ),
            tenant=tenant,
            action=Action(question.pop("action")),
            **question,
        ),
        allow=row.allow,
        policies=tuple(sorted(row.policies)),
    )


def _answer(allowed: bool, policies: Iterable[str]) -> str:
    by = ", ".join(policies) or "no policy"
    return f"{'allow' if allowed else 'deny'} by {by}"


# -- the file's form ----------------------------------------------------------------------------


class _Principal(Strict):
    id: str = "someone"
    role: str = Role.agent.value


class _Row(Strict):
    name: Text
    tenant: dict[str, Any] = Field(default_factory=dict)
    principal: _Principal = _Principal()
    question: dict[str, Any] = Field(default_factory=dict)
    allow: bool
    policies: Several[str]


class _File(Strict):
    tenant: dict[str, Any] = Field(default_factory=dict)
    question: dict[str, Any] = Field(default_factory=dict)
    row: Annotated[tuple[_Row, ...], Field(strict=False, min_length=1)]


class _Tenant(Strict):
    id: str
    residency: str
    purposes: SetOf[str]
    agents: SetOf[str]
    autonomy_tier: int
    outbound: dict[str, SetOf[str]] = Field(default_factory=dict)
    operations_per_hour: int | None = None
    tainted_operations: SetOf[str] = frozenset()


def _question_form() -> type[Strict]:
    """The fields of `Question`, as a file may give them."""
    hints = get_type_hints(Question)
    forms: dict[Any, Any] = {
        Action: Annotated[str, among(action.value for action in Action)],
        frozenset[str]: SetOf[str],
    }
    fields: dict[str, Any] = {}
    for field in dataclasses.fields(Question):
        if field.name not in ("principal", "tenant"):
            needed = field.default is dataclasses.MISSING
            default: Any = ... if needed else field.default
            if callable(field.default_factory):
                default = field.default_factory()
            fields[field.name] = (forms.get(hints[field.name], hints[field.name]), default)
    return create_model("_Question", __base__=Strict, **fields)


class _Asked(Strict):
    tenant: _Tenant
    question: _question_form()  # type: ignore[valid-type] # made of the dataclass
