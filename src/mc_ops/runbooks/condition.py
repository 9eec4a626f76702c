"""`when=`: the condition under which a step runs, in a small closed grammar.

    ENV=kubernetes                    one value
    VERDICT!=none                     any other
    ENV=local|kubernetes and PUSH=1   one of several; every clause must hold

A value has letters, digits and `. _ : / @ + -`, or is empty. There is no `or` between names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_CLAUSE = re.compile(r"(?P<name>[A-Z][A-Z0-9_]*)(?P<sign>!?=)(?P<values>[A-Za-z0-9._:/@+|-]*)")


@dataclass(frozen=True, slots=True)
class Clause:
    """One comparison: a name's value is one of these, or (`equal` False) none of them."""

    name: str
    values: frozenset[str]
    equal: bool
    text: str

    def holds(self, values: Mapping[str, str]) -> bool:
        """Whether it holds; raises KeyError if the name has no value."""
        return (values[self.name] in self.values) is self.equal


@dataclass(frozen=True, slots=True)
class Condition:
    """Clauses that must all hold."""

    clauses: tuple[Clause, ...]

    def __str__(self) -> str:
        return " and ".join(clause.text for clause in self.clauses)

    @property
    def names(self) -> frozenset[str]:
        """The names that are compared."""
        return frozenset(clause.name for clause in self.clauses)

    def refusal(self, values: Mapping[str, str]) -> str:
        """Why it does not hold, in words; empty if it does. Raises KeyError as `holds`."""
        for clause in self.clauses:
            if not clause.holds(values):
                return f"only when {clause.text}; {clause.name} is {values[clause.name]!r}"
        return ""

    def implies(self, other: Condition) -> bool:
        """Whether `other` is sure to hold where this does, by the clauses as they are written."""
        return set(other.clauses) <= set(self.clauses)


def condition(text: str) -> Condition:
    """Read a condition.

    Raises:
        ValueError: it is not one.
    """
    clauses = []
    for part in text.split(" and "):
        match = _CLAUSE.fullmatch(part.strip())
        if match is None:
            raise ValueError("")
        values = frozenset(match["values"].split("|"))
        clauses.append(Clause(match["name"], values, match["sign"] == "=", match[0]))
    return Condition(tuple(clauses))
