"""What detects: recognisers, made from the rows of a rule file, and detectors with means of their own.

All patterns run in RE2; what stands between a context word and its value is bounded, so that a
recogniser is linear in the text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import re2

from mc_platform.screen.findings import Budget, Finding
from mc_platform.screen.rules import Rules, compiled, unusable

Finder = Callable[[str, str, Budget], Iterator[Finding]]
"""From a normalised string, the key under which it stands (or empty) and the budget: findings."""

Shaped = tuple[str, Finder]
"""An RE2 pattern that must occur in a string, and the recogniser that is asked if it does."""

Reader = Callable[[str, int], tuple[int, int] | None]
"""From the text and the end of what matched: where the value stands that it announces."""

Validator = Callable[[str, int, int], bool]
"""From the text and the span of the value: whether it counts."""

_T = TypeVar("_T")
_VALUE = "value"
_GROUP_MEMORY_BYTES = 16 << 20


class Detector(Protocol):
    """Something that looks at a whole text by means of its own, such as a model.

    It is asked once for each string and must not raise; it has no budget, so its own bound on
    length and time is part of it.
    """

    def find(self, text: str) -> Iterator[Finding]:
        """What it finds in one normalised string."""
        ...  # pragma: no cover - a protocol


@dataclass(frozen=True, slots=True)
class PatternRule:
    """A pattern with the group `value`, or a reader that says where the value behind it stands."""

    label: str
    name: str
    pattern: str
    reason: str
    confidence: float
    validator: Validator | None = None
    reader: Reader | None = None

    def recogniser(self) -> Finder:
        """The recogniser of what the pattern finds and the validator lets count."""
        pattern = compiled(self.pattern)
        group = pattern.groupindex.get(_VALUE, 0)
        reader, validator = self.reader, self.validator

        def find(text: str, _: str, budget: Budget) -> Iterator[Finding]:
            for match in pattern.finditer(text):
                budget.spend()
                span = match.span(group) if reader is None else reader(text, match.end())
                if span is None or span[0] < 0 or span[0] >= span[1]:
                    continue
                start, end = span
                if validator is None or validator(text, start, end):
                    yield Finding(self.label, start, end, self.confidence, self.name, self.reason)

        return find


def recognisers(
    rules: Rules,
    validators: Mapping[str, Validator] | None = None,
    readers: Mapping[str, Reader] | None = None,
) -> Iterator[Shaped]:
    """The recognisers of a rule file, each with its prefilter pattern; those of a group as one.

    Raises:
        Misconfigured: a row names a validator or a reader that is not among these.
    """
    groups: dict[str, list[PatternRule]] = {}
    for row in rules.table.recogniser:
        rule = PatternRule(
            label=row.label,
            name=row.name,
            pattern=rules.expand(row.pattern),
            reason=row.reason,
            confidence=row.confidence,
            validator=_named(rules, row.name, "validator", row.validator, validators or {}),
            reader=_named(rules, row.name, "reader", row.reader, readers or {}),
        )
        if row.group:
            groups.setdefault(row.group, []).append(rule)
        else:
            yield rules.expand(row.prefilter) or rule.pattern, rule.recogniser()
    for name, members in groups.items():
        yield rules.expand(rules.table.groups[name].prefilter), _any_of(members)


def _named(rules: Rules, row: str, kind: str, name: str, known: Mapping[str, _T]) -> _T | None:
    if name and name not in known:
        raise unusable(
            rules, row, f"unknown {kind} {name!r}; known: {', '.join(sorted(known)) or 'none'}"
        )
    return known[name] if name else None


def _any_of(members: Sequence[PatternRule]) -> Finder:
    """One recogniser for several; a pass for all of their patterns ends most texts."""
    options = re2.Options()
    options.max_mem = _GROUP_MEMORY_BYTES
    any_pattern = re2.compile("|".join(f"(?:{rule.pattern})" for rule in members), options)
    asked = [rule.recogniser() for rule in members]

    def find(text: str, key: str, budget: Budget) -> Iterator[Finding]:
        if any_pattern.search(text) is None:
            return
        for recognise in asked:
            yield from recognise(text, key, budget)

    return find
