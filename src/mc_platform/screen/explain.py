"""Which rule, decoder and validator made each label of a text: for whoever writes rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mc_platform.model.label import NO_SCOPE, Label, Scope
from mc_platform.screen.detectors.recogniser import PatternRule, RuleGroup
from mc_platform.screen.detectors.registry import RECOGNISERS
from mc_platform.screen.findings import Budget, Finding
from mc_platform.screen.rules import compiled, rule_file
from mc_platform.screen.screener import LibraryScreener
from mc_platform.screen.text.decoded_text import DecodedText
from mc_platform.screen.text.normalise import normalise

_MANY = 1 << 30


@dataclass(frozen=True, slots=True)
class Explained:
    """One label and how it came about.

    Attributes:
        label: As it is shown.
        rules: The rows that find it, as `FILE.toml [[TABLE]] NAME`; empty: it is found by code.
        decoders: What was looked through before it showed, in order.
        validators: What let it count: a function that a row names, or a library's module.
    """

    label: Label
    rules: Sequence[str]
    decoders: Sequence[str]
    validators: Sequence[str]


@dataclass(frozen=True, slots=True)
class Refused:
    """What the pattern of a row finds and does not count: by its validator, or for want of its prefilter."""

    rule: str
    start: int
    end: int
    because: str


def explain(screener: LibraryScreener, text: str, scope: Scope = NO_SCOPE) -> tuple[Explained, ...]:
    """The labels of a text as a message's only string, each with how it came about."""
    screening, trace = screener.trace(({"text": text},), scope)
    return tuple(_explained(label, trace) for label in screening.labels)


def _explained(label: Label, trace: Sequence[tuple[DecodedText, Finding]]) -> Explained:
    for decoded, finding in trace:
        if _kind(finding) == _kind(label) and decoded.span(finding.start, finding.end) == (
            label.start,
            label.end,
        ):
            rows = list(_rows(decoded.text, finding))
            if rows:
                rules = [rule.source for rule in rows]
                validators = [rule.validated for rule in rows if rule.validated]
            else:
                rules, validators = list(_table_rows(finding.detector)), _library(finding.detector)
            return Explained(label, rules, decoded.names, list(dict.fromkeys(validators)))
    return Explained(label, (), (), ())


def refused(text: str) -> Iterator[Refused]:
    """What the pattern of a row finds in a text as it is seen, and does not count."""
    seen = normalise(text)
    for prefilter, rule in _pattern_rules():
        counted = _spans(rule, seen.text)
        occurs = compiled(prefilter).search(seen.text) is not None
        for start, end in sorted(_spans(replace(rule, validator=None), seen.text)):
            if (start, end) not in counted or not occurs:
                because = rule.validated if occurs else "prefilter"
                yield Refused(rule.source, *seen.span(start, end), because)


def _rows(text: str, finding: Finding) -> Iterator[PatternRule]:
    """The pattern rules that find exactly this."""
    for _, rule in _pattern_rules():
        kind = rule.label, rule.name, rule.confidence
        if kind == _kind(finding) and (finding.start, finding.end) in _spans(rule, text):
            yield rule


def _kind(found: Finding | Label) -> tuple[str, str, float]:
    return found.type, found.detector, found.confidence


def _pattern_rules() -> Iterator[tuple[str, PatternRule]]:
    for prefilter, recognise, _ in RECOGNISERS:
        owner = getattr(recognise, "__self__", None)
        for rule in owner.members if isinstance(owner, RuleGroup) else (owner,):
            if isinstance(rule, PatternRule):
                yield prefilter, rule


def _spans(rule: PatternRule, text: str) -> set[tuple[int, int]]:
    budget = Budget(per_leaf=_MANY, per_message=_MANY)
    return {(found.start, found.end) for found in rule.find(text, "", budget)}


_NATIONAL = (("national_ids", "digits"), ("national_ids", "lettered"))
_TABLES = {"form": (("keys", "key"),), "stdnum": _NATIONAL, "shape": _NATIONAL}
_WHOLE_TABLES = {
    "stdnum.luhn": "payment_cards.toml [[issuer]]",
    "context.address": "postal_addresses.toml [[street]]",
}


def _table_rows(detector: str) -> Iterator[str]:
    """The rows of tables that code reads: keys, identifiers by their form, issuers, streets."""
    kind, _, name = detector.partition(".")
    for file, table in _TABLES.get(kind, ()):
        rows = getattr(rule_file(file).table, table)
        yield from (f"{file}.toml [[{table}]] {name}" for row in rows if row.name == name)
    if detector in _WHOLE_TABLES:
        yield _WHOLE_TABLES[detector]


def _library(detector: str) -> list[str]:
    libraries = ("stdnum.", "detect-secrets.", "phonenumbers", "email-validator")
    return [detector] if detector.startswith(libraries) else []
