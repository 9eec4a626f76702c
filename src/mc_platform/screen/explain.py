"""Which rule, decoder and validator made each label of a text: for whoever writes rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mc_platform.model.label import NO_SCOPE, Label, Scope
from mc_platform.screen.detectors.recogniser import PatternRule, RuleGroup
from mc_platform.screen.detectors.registry import RECOGNISERS
from mc_platform.screen.findings import Budget, Finding
from mc_platform.screen.rules import rule_file
from mc_platform.screen.screener import LibraryScreener
from mc_platform.screen.text.decoded_text import DecodedText

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


def explain(screener: LibraryScreener, text: str, scope: Scope = NO_SCOPE) -> tuple[Explained, ...]:
    """The labels of a text as a message's only string, each with how it came about."""
    screening, trace = screener.trace(({"text": text},), scope)
    return tuple(_explained(label, trace) for label in screening.labels)


def _explained(label: Label, trace: Sequence[tuple[DecodedText, Finding]]) -> Explained:
    for decoded, finding in trace:
        same = (finding.type, finding.detector) == (label.type, label.detector)
        if same and decoded.span(finding.start, finding.end) == (label.start, label.end):
            rows = list(_rows(decoded.text, finding))
            if rows:
                rules = [rule.source for rule in rows]
                validators = [rule.validated for rule in rows if rule.validated]
            else:
                rules, validators = list(_table_rows(finding.detector)), _library(finding.detector)
            return Explained(label, rules, decoded.names, list(dict.fromkeys(validators)))
    return Explained(label, (), (), ())


def _rows(text: str, finding: Finding) -> Iterator[PatternRule]:
    """The pattern rules that find exactly this."""
    for _, recognise, _ in RECOGNISERS:
        owner = getattr(recognise, "__self__", None)
        members = owner.members if isinstance(owner, RuleGroup) else (owner,)
        for rule in members:
            if not isinstance(rule, PatternRule) or rule.name != finding.detector:
                continue
            budget = Budget(per_leaf=_MANY, per_message=_MANY)
            if any(
                (one.start, one.end) == (finding.start, finding.end)
                for one in rule.find(text, "", budget)
            ):
                yield rule


def _table_rows(detector: str) -> Iterator[str]:
    """The rows of tables that code reads: keys, identifiers by their form, streets."""
    kind, _, name = detector.partition(".")
    if kind == "form":
        yield from (
            f"keys.toml [[key]] {row.name}"
            for row in rule_file("keys").table.key
            if row.name == name
        )
    elif kind in ("stdnum", "shape"):
        table = rule_file("national_ids").table
        yield from (
            f"national_ids.toml [[digits]] {r.name}" for r in table.digits if r.name == name
        )
        yield from (
            f"national_ids.toml [[lettered]] {r.name}" for r in table.lettered if r.name == name
        )
    elif detector == "stdnum.luhn":
        yield "payment_cards.toml [[issuer]]"
    elif detector == "context.address":
        yield "postal_addresses.toml [[street]]"


def _library(detector: str) -> list[str]:
    libraries = ("stdnum.", "detect-secrets.", "phonenumbers", "email-validator")
    return [detector] if detector.startswith(libraries) else []
