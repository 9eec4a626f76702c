"""What detects: recognisers, made from the rows of a rule file.

All patterns run in RE2; what stands between a context word and its value is bounded, so that a
recogniser is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import TypeVar

import re2

from mc_platform.screen.findings import Budget, Finding
from mc_platform.screen.prefilter import Prefilter
from mc_platform.screen.rules import Rules, compiled, rule_file, unusable

Recogniser = Callable[[str, str, Budget], Iterator[Finding]]
"""From a normalised string, the key under which it stands (or empty) and the budget: findings."""

Prefiltered = tuple[str, Recogniser]
"""An RE2 pattern that must occur in a string, and the recogniser that is asked if it does."""

Reader = Callable[[str, int], tuple[int, int] | None]
"""From the text and the end of what matched: where the value stands that it announces."""

Validator = Callable[[str, int, int], bool]
"""From the text and the span of the value: whether it counts."""

LIBRARY = "stdnum."
"""How the names of validators begin that are modules of python-stdnum: `stdnum.us.rtn`."""

_T = TypeVar("_T")
_WINDOW_CHARS = 240
_RECORD, _COMMON = rule_file("common").re2("record"), rule_file("common").words("common")
_LETTERS = re.compile(r"[^\W\d_]+")
_VALUE = "value"
_GROUP_MEMORY_BYTES = 16 << 20


@dataclass(slots=True)
class PatternRule:
    """One row: a pattern, a reader that says where its value stands, a validator that lets it count.

    Attributes:
        source: The file and the row.
        validated: The validator's name; empty: none.
        group: Of the pattern, the value's; 0: all of it.
    """

    label: str
    name: str
    pattern: re2._Regexp
    reason: str
    confidence: float
    source: str
    validator: Validator | None = None
    reader: Reader | None = None
    validated: str = ""
    group: int = field(init=False)

    def __post_init__(self) -> None:
        """Look the group up once."""
        self.group = self.pattern.groupindex.get(_VALUE, 0)

    def find(self, text: str, _: str, budget: Budget) -> Iterator[Finding]:
        """What the pattern finds and the validator lets count."""
        for match in self.pattern.finditer(text):
            budget.spend()
            span = match.span(self.group) if self.reader is None else self.reader(text, match.end())
            if span is None or span[0] < 0 or span[0] >= span[1]:
                continue
            start, end = span
            if self.validator is None or self.validator(text, start, end):
                yield Finding(self.label, start, end, self.confidence, self.name, self.reason)


@dataclass(frozen=True, slots=True)
class RuleGroup:
    """Several rules behind one prefilter pattern; a pass for all of their patterns ends most texts.

    Attributes:
        any_pattern: Occurs where one of theirs does; None: it is not asked.
        anchors: Of each rule a pattern without which its own does not occur; None: all are asked.
    """

    members: Sequence[PatternRule]
    any_pattern: re2._Regexp | None = None
    anchors: Prefilter | None = None

    def find(self, text: str, key: str, budget: Budget) -> Iterator[Finding]:
        """What any of the rules finds."""
        if self.any_pattern is not None and self.any_pattern.search(text) is None:
            return
        members = self.members
        if self.anchors is not None:
            members = [members[hit] for hit in self.anchors.hits(text)]
        for rule in members:
            yield from rule.find(text, key, budget)


def recognisers(
    rules: Rules,
    validators: Mapping[str, Validator] | None = None,
    readers: Mapping[str, Reader] | None = None,
) -> Iterator[Prefiltered]:
    """The recognisers of a rule file, each with its prefilter pattern; those of a group as one.

    Args:
        rules: The file.
        validators: Those that its rows may name, beside `in-record` and modules of python-stdnum.
        readers: Those that its rows may name.

    Raises:
        Misconfigured: a row names a validator or a reader that is not among these.
    """
    known: Mapping[str, Validator] = {"in-record": in_record, **(validators or {})}
    groups: dict[str, list[PatternRule]] = {}
    for number, row in enumerate(rules.table.recogniser, 1):
        pattern = rules.expand(row.pattern)
        validator = (
            library_validator(rules, row.name, row.validator)
            if row.validator.startswith(LIBRARY)
            else _named(rules, row.name, "validator", row.validator, known)
        )
        rule = PatternRule(
            row.label,
            row.name,
            compiled(pattern),
            row.reason,
            row.confidence,
            rules.source("recogniser", number, row.name),
            validator=validator,
            reader=_named(rules, row.name, "reader", row.reader, readers or {}),
            validated=row.validator,
        )
        if row.group:
            groups.setdefault(row.group, []).append(rule)
        else:
            yield rules.expand(row.prefilter) or pattern, rule.find
    for name, members in groups.items():
        any_pattern = "|".join(f"(?:{rule.pattern.pattern})" for rule in members)
        group = RuleGroup(members, compiled(any_pattern, _GROUP_MEMORY_BYTES))
        yield rules.expand(rules.table.groups[name].prefilter), group.find


def library_check(rules: Rules, row: str, name: str) -> Callable[[str], bool]:
    """What a module of python-stdnum says of a value; `name` begins with `LIBRARY`.

    Raises:
        Misconfigured: there is no such module.
    """
    try:
        is_valid = import_module(name).is_valid
    except (ImportError, AttributeError):
        raise unusable(rules.name, row, f"python-stdnum has no {name!r} that validates") from None

    def valid(value: str) -> bool:
        try:
            return bool(is_valid(value))
        except Exception:  # noqa: BLE001 - e.g. stdnum.cn.ric raises KeyError for some places
            return False

    return valid


def library_validator(rules: Rules, row: str, name: str) -> Validator:
    """As `library_check`, of a value within a text."""
    valid = library_check(rules, row, name)
    return lambda text, start, end: valid(text[start:end])


def _named(rules: Rules, row: str, kind: str, name: str, known: Mapping[str, _T]) -> _T | None:
    if name and name not in known:
        listed = ", ".join([*sorted(known), *(["stdnum.MODULE"] if kind == "validator" else [])])
        raise unusable(rules.name, row, f"unknown {kind} {name!r}; known: {listed or 'none'}")
    return known[name] if name else None


def in_record(text: str, start: int, end: int, *, chars: int = _WINDOW_CHARS) -> bool:
    """Whether something near a span belongs to somebody's record: an id, a contact, a context word."""
    return (
        _RECORD.search(text[end : end + chars]) is not None
        or _RECORD.search(text[max(0, start - chars) : start]) is not None
    )


def is_common(phrase: str) -> bool:
    """Whether one of a phrase's words is a common one, so that its capitals make no name of it."""
    return any(word.lower() in _COMMON for word in _LETTERS.findall(phrase))
