"""`python -m mc_platform scan`: texts judged as a reply would be, without a service.

    scan --policies DIR [--purpose P] [--catalogue FILE --tenant T] [--explain] < ROWS.jsonl > RESULTS.jsonl

A row is a JSON object with `id` (a string or a whole number) and `text`; other keys are ignored. Each gets one line,
in the order of the rows:

    {"id", "verdict": "block" | "allow", "labels": [{"type", "class", "start", "end", "confidence",
     "detector", "reason"}], "policies": ["..."]}

With `--explain` each label also has `rules`, `decoders` and `validators`: which rows found it, through
which encodings and disguises, and what let it count; `refused` has what the pattern of a row finds and its
validator does not let count, or its prefilter does not lead to (`screen/explain.py`).

`block` means that policy does not let the text out as it is, in a reply, for that purpose; it may
still let it out redacted. `start` and `end` count characters of the text. Without `--tenant` the
tenant is one that declares nothing. `MC_NER_PIPELINE` counts as it does for a replica. A row that cannot be read is told on standard error by its
number, the others are answered, and the exit code is 2. `mcctl privacy scan` stands in front.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn, TextIO

from mc_platform.adapters.cedar.decision_point import CedarDecisionPoint
from mc_platform.adapters.spacy_pipeline import SETTING, load_recogniser
from mc_platform.errors import Misconfigured
from mc_platform.model.ids import AgentName, PrincipalId, TenantId
from mc_platform.model.label import NO_SCOPE, Label, Scope
from mc_platform.model.tenant import Principal, Tenant
from mc_platform.model.verdict import Action, Question
from mc_platform.ports import EntityRecogniser
from mc_platform.screen import LibraryScreener
from mc_platform.screen.explain import explain, refused
from mc_platform.settings import load_catalogue

_AGENT = AgentName("scanned")
_FLUSH_EVERY = 64


class Scanner:
    """Screening and policy over single texts."""

    def __init__(
        self,
        *,
        policies: CedarDecisionPoint,
        tenant: Tenant,
        scope: Scope,
        purpose: str,
        explained: bool = False,
        entities: EntityRecogniser | None = None,
    ) -> None:
        self._screener = LibraryScreener(entities=entities)
        self._policies = policies
        self._scope = scope
        self._explained = explained
        self._tenant = tenant
        self._purpose = purpose
        self._principal = Principal(PrincipalId("scan"), tenant.id, "")

    def judge(self, text: str) -> dict[str, Any]:
        """`{"verdict", "labels", "policies"}` of one text."""
        screening = self._screener.screen(({"text": text},), self._scope)
        labels = [_told(label) for label in screening.labels]
        refusals: dict[str, Any] = {}
        if self._explained:
            for shown, each in zip(labels, explain(self._screener, text, self._scope), strict=True):
                shown |= {
                    "rules": list(each.rules),
                    "decoders": list(each.decoders),
                    "validators": list(each.validators),
                }
            refusals = {"refused": [asdict(each) for each in refused(text)]}
        decision = self._policies.decide(
            Question(
                principal=self._principal,
                tenant=self._tenant,
                action=Action.release_reply,
                resource_type="Agent",
                resource_id=_AGENT,
                resource_residency=self._tenant.residency,
                purpose=self._purpose,
                labels=screening.types,
                classes=screening.classes,
            )
        )
        return {
            "verdict": "allow" if decision.allowed else "block",
            "labels": labels,
            "policies": list(decision.policy_ids),
            **refusals,
        }

    def scan(self, lines: Iterable[bytes], out: TextIO, err: TextIO) -> int:
        """Judge each line's row; returns how many rows could not be read."""
        broken = 0
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = _row(line)
            except RowProblem as error:
                broken += 1
                err.write(f"error: line {number}: {error}\n")
                continue
            told = {"id": row["id"], **self.judge(row["text"])}
            out.write(json.dumps(told, ensure_ascii=True) + "\n")
            if number % _FLUSH_EVERY == 0:
                out.flush()
        out.flush()
        return broken


def _row(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except RecursionError as error:
        raise RowProblem("it is nested too deep") from error
    except UnicodeDecodeError as error:
        raise RowProblem("it is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise RowProblem(f"it is no JSON ({error.msg} at column {error.colno})") from error
    except ValueError as error:  # a number of thousands of digits, which Python does not convert
        raise RowProblem("it holds a number that is too long to read") from error
    if not isinstance(row, dict):
        raise RowProblem("it is no JSON object")
    for key, kinds, told in (
        ("id", (str, int), "a string or a whole number"),
        ("text", (str,), "a string"),
    ):
        if key not in row:
            raise RowProblem(f"key {key!r} is missing")
        if not isinstance(row[key], kinds) or isinstance(row[key], bool):
            raise RowProblem(f"{key!r} must be {told}, is {type(row[key]).__name__}")
    return row


def _told(label: Label) -> dict[str, Any]:
    return {
        "type": label.type,
        "class": label.data_class,
        "start": label.start,
        "end": label.end,
        "confidence": round(label.confidence, 3),
        "detector": label.detector,
        "reason": label.reason,
    }


class RowProblem(Exception):
    """A row that cannot be read; the message says why."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise Misconfigured(f"scan: {message}", hint="see `mcctl privacy scan --help`")


def run(arguments: Sequence[str]) -> int:
    """The command; 0, or 2 if a row could not be read.

    Raises:
        Misconfigured: the arguments, the policy set or the catalogue cannot be used.
    """
    parser = _Parser(prog="scan", add_help=False)
    parser.add_argument("--policies", type=Path, required=True)
    parser.add_argument("--purpose", default="support")
    parser.add_argument("--catalogue", default="")
    parser.add_argument("--tenant", default="")
    parser.add_argument("--explain", action="store_true")
    given = parser.parse_args(arguments)
    tenant, scope = _tenant(given.catalogue, given.tenant, given.purpose)
    if given.purpose not in tenant.purposes:
        raise Misconfigured(
            f"tenant {tenant.id} does not declare purpose {given.purpose!r}",
            hint=f"its purposes: {', '.join(sorted(tenant.purposes))}",
        )
    scanner = Scanner(
        policies=CedarDecisionPoint.load(given.policies),
        tenant=tenant,
        scope=scope,
        purpose=given.purpose,
        explained=given.explain,
        entities=load_recogniser(os.environ.get(SETTING, "")),
    )
    return 2 if scanner.scan(sys.stdin.buffer, sys.stdout, sys.stderr) else 0


def _tenant(catalogue_file: str, name: str, purpose: str) -> tuple[Tenant, Scope]:
    if bool(catalogue_file) != bool(name):
        raise Misconfigured("scan: --catalogue and --tenant go together")
    if not name:
        neutral = Tenant(TenantId("SCAN"), "eu", frozenset({purpose}), frozenset({_AGENT}), 0)
        return neutral, NO_SCOPE
    catalogue = load_catalogue(Path(catalogue_file))
    tenant = catalogue.tenants.get(TenantId(name))
    if tenant is None:
        raise Misconfigured(
            f"unknown tenant {name!r}", hint=f"known: {', '.join(sorted(catalogue.tenants))}"
        )
    return tenant, catalogue.scope_of(tenant)
