"""`python -m mc_platform policy ...`: what can be done with a policy set without a service.

    check    --dir DIR                      does it parse and validate? every problem at once
    test     --dir DIR [--mutation]         do its tables hold? would they miss any policy?
    diff     OLD NEW [--exit-code]          policies added, removed, changed; the schema's changes
    simulate --dir NEW [--old OLD] --from FILE [--catalogue FILE] [--exit-code]
                                            recorded questions asked again: whose answers change?
    explain-set --dir DIR [--catalogue FILE] < RECORDED
                                            policies with reason and text; with a recorded question
                                            on standard input, the answer that it gets now

Each prints one JSON object. 0: it holds, or nothing differs; 1: it does not, or (with --exit-code)
something differs; 2: usage, or an input that cannot be used. `mcctl policy` stands in front.

What is read from FILE: a ledger export, or JSON lines that are ledger entries, lines of the backup
file, or objects with `asked`, `allowed` and `policies`. Nothing is verified here.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import difflib
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from mc_platform.adapters.cedar.decision_point import (
    CedarDecisionPoint,
    PolicyFiles,
    PolicySetRefused,
    PolicyText,
    read_policy_files,
)
from mc_platform.decide import NotRestorable, failing, restore_question
from mc_platform.errors import Misconfigured
from mc_platform.model.catalogue import Catalogue
from mc_platform.model.verdict import Decision, Question

_MAX_LINE_CHARS = 4 * 1024 * 1024
_CHANGES_SHOWN = 10_000
_NO_RECORD = (ValueError, KeyError, TypeError, AttributeError)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Recorded:
    """A decision as it was recorded.

    Attributes:
        decision: Its id; empty if the record does not tell.
        asked: What `decide.record_question` wrote.
        policies: Those that determined it.
        digest: Of the set that answered; empty if the record does not tell.
    """

    decision: str
    asked: Mapping[str, Any]
    policies: tuple[str, ...]
    digest: str


def run(arguments: Sequence[str]) -> int:
    """Run one command; see the module's text.

    Raises:
        Misconfigured: an input cannot be used.
    """
    given = _parser().parse_args(arguments)
    report, code = given.command(given)
    sys.stdout.write(json.dumps(report, indent=1) + "\n")
    return int(code)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mc_platform policy")
    verbs = parser.add_subparsers(required=True, metavar="check|test|diff|simulate|explain-set")
    check = verbs.add_parser("check")
    check.add_argument("--dir", type=Path, required=True)
    check.set_defaults(command=_check)
    test = verbs.add_parser("test")
    test.add_argument("--dir", type=Path, required=True)
    test.add_argument("--mutation", action="store_true")
    test.set_defaults(command=_test)
    diff = verbs.add_parser("diff")
    diff.add_argument("old", type=Path)
    diff.add_argument("new", type=Path)
    diff.add_argument("--exit-code", action="store_true")
    diff.set_defaults(command=_diff)
    simulate = verbs.add_parser("simulate")
    simulate.add_argument("--dir", type=Path, required=True, help="the changed set")
    simulate.add_argument("--old", type=Path, help="default: MC_POLICY_DIR, else policies")
    simulate.add_argument("--from", dest="source", type=Path, required=True)
    simulate.add_argument("--catalogue", type=Path, help="default: MC_CATALOGUE")
    simulate.add_argument("--exit-code", action="store_true")
    simulate.set_defaults(command=_simulate)
    explain = verbs.add_parser("explain-set")
    explain.add_argument("--dir", type=Path, required=True)
    explain.add_argument("--catalogue", type=Path, help="default: MC_CATALOGUE")
    explain.set_defaults(command=_explain_set)
    return parser


# -- the commands -------------------------------------------------------------------------------


def _check(given: argparse.Namespace) -> tuple[Json, int]:
    files = _files(given.dir)
    problems: list[str] = []
    policies = rows = 0
    try:
        policies = len(CedarDecisionPoint.from_files(files).policies)
    except PolicySetRefused as error:
        problems += error.problems
    try:
        rows = len(files.rows())
    except PolicySetRefused as error:
        problems += error.problems
    report = {"digest": files.digest, "policies": policies, "rows": rows, "problems": problems}
    return report, 1 if problems else 0


def _test(given: argparse.Namespace) -> tuple[Json, int]:
    files = _files(given.dir)
    point = CedarDecisionPoint.from_files(files)
    rows = files.rows()
    if not rows:
        raise Misconfigured(
            f"{given.dir} has no tables", hint="write example questions: docs/how-to/policies.md"
        )
    wrong = failing(rows, point.decide)
    report: Json = {
        "digest": files.digest,
        "policies": len(point.policies),
        "rows": len(rows),
        "failing": wrong,
    }
    if given.mutation:
        # A row that fails anyhow would seem to notice every policy
        holding = [row for row in rows if not failing([row], point.decide)]
        unnoticed = [
            name
            for name in sorted(point.policies)
            if not failing(holding, point.without(name).decide)
        ]
        report["mutation"] = {"taken_away": len(point.policies), "unnoticed": unnoticed}
        wrong = [*wrong, *unnoticed]
    return report, 1 if wrong else 0


def _diff(given: argparse.Namespace) -> tuple[Json, int]:
    files = {"old": _files(given.old), "new": _files(given.new)}
    old = CedarDecisionPoint.from_files(files["old"]).policies
    new = CedarDecisionPoint.from_files(files["new"]).policies
    schema = list(
        difflib.unified_diff(
            files["old"].schema.split("\n"),
            files["new"].schema.split("\n"),
            "old/schema.cedarschema",
            "new/schema.cedarschema",
            lineterm="",
            n=1,
        )
    )
    report: Json = {
        "old": files["old"].digest,
        "new": files["new"].digest,
        "added": [_shown(new[name]) for name in sorted(set(new) - set(old))],
        "removed": [_shown(old[name]) for name in sorted(set(old) - set(new))],
        "changed": [
            {"id": name, "old": _shown(old[name]), "new": _shown(new[name])}
            for name in sorted(set(old) & set(new))
            if old[name].meaning != new[name].meaning
        ],
        "schema": schema,
    }
    differs = bool(report["added"] or report["removed"] or report["changed"] or schema)
    report = {"same": not differs, **report}
    return report, 1 if differs and given.exit_code else 0


def _simulate(given: argparse.Namespace) -> tuple[Json, int]:
    catalogue, unset = _catalogue(given.catalogue)
    old_dir = given.old or Path(os.environ.get("MC_POLICY_DIR") or "policies")
    old = CedarDecisionPoint.from_files(_files(old_dir))
    new = CedarDecisionPoint.from_files(_files(given.dir))
    changes: list[Json] = []
    skipped: Counter[str] = Counter()
    tenants: Counter[str] = Counter()
    replayed = drifted = 0
    for record in _records(given.source, skipped):
        try:
            question = restore_question(record.asked, catalogue)
        except NotRestorable as error:
            skipped[str(error)[:200]] += 1
            continue
        replayed += 1
        before, after = old.decide(question), new.decide(question)
        # Recorded by the old set, and answered otherwise by it now: the catalogue has changed
        drifted += record.digest == old.digest and before.policy_ids != record.policies
        if (before.allowed, before.policy_ids) == (after.allowed, after.policy_ids):
            continue
        tenants[question.tenant.id] += 1
        if len(changes) < _CHANGES_SHOWN:
            changes.append(_change(record, question, before, after))
    if replayed == 0:
        raise Misconfigured(
            f"{given.source} holds no recorded question that could be asked again"
            + (f": {skipped.most_common(1)[0][0]}" if skipped else ""),
            hint="export what was decided: mcctl audit export --tenant TENANT --since 7d --out FILE",
        )
    report = {
        "old": old.digest,
        "new": new.digest,
        "replayed": replayed,
        "changed": sum(tenants.values()),
        "by_tenant": dict(sorted(tenants.items())),
        "changes": changes,
        "skipped": dict(skipped),
        "drifted": drifted,
        "unset_variables": unset,
    }
    return report, 1 if tenants and given.exit_code else 0


def _explain_set(given: argparse.Namespace) -> tuple[Json, int]:
    point = CedarDecisionPoint.from_files(_files(given.dir))
    report: Json = {
        "digest": point.digest,
        "policies": {name: _shown(text) for name, text in sorted(point.policies.items())},
    }
    asked = "" if sys.stdin.isatty() else sys.stdin.read()
    if not asked.strip():
        return report, 0
    try:
        recorded = json.loads(asked)
    except ValueError as error:
        raise Misconfigured("standard input must be a recorded question in JSON") from error
    catalogue, report["unset_variables"] = _catalogue(given.catalogue)
    try:
        decision = point.decide(restore_question(recorded, catalogue))
    except NotRestorable as error:
        report["now"] = {"not_restorable": str(error)}
        return report, 0
    report["now"] = {**_answer(decision), "reason": decision.reason}
    return report, 0


# -- what they read -----------------------------------------------------------------------------


def _files(policy_dir: Path) -> PolicyFiles:
    if not policy_dir.is_dir():
        raise Misconfigured(f"{policy_dir} is no directory", hint="name that of a policy set")
    return read_policy_files(policy_dir)


def _catalogue(given: Path | None) -> tuple[Catalogue, list[str]]:
    """The catalogue, and the variables in it that are not set here.

    Those are addresses of agents, in the catalogues that we ship; no question is about them.
    """
    path = given or Path(os.environ.get("MC_CATALOGUE") or "deploy/local/catalogue.toml")
    # only some commands need the settings' libraries
    from mc_platform.settings import load_catalogue, read_catalogue, unset_variables

    raw = read_catalogue(path)
    return load_catalogue(path, unset="http://unset.invalid", raw=raw), unset_variables(raw)


def _records(path: Path, skipped: Counter[str]) -> Iterator[Recorded]:
    """The recorded decisions of a file; other events are passed over, damaged ones counted."""
    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline()
            if '"mc-ledger-export"' in first:
                yield from filter(None, map(_recorded, json.loads(first + file.read())["entries"]))
                return
            for number, line in enumerate(chain([first], file), 1):
                if len(line) > _MAX_LINE_CHARS:
                    raise Misconfigured(f"a line has more than {_MAX_LINE_CHARS} characters")
                try:
                    found = _recorded(json.loads(line)) if line.strip() else None
                except _NO_RECORD:
                    if number == 1:
                        raise
                    skipped["a line is no record"] += 1
                    continue
                if found is not None:
                    yield found
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}") from error
    except _NO_RECORD as error:
        raise Misconfigured(
            f"{path} is neither a ledger export nor JSON lines of recorded decisions",
            hint="mcctl audit export writes one",
        ) from error


def _recorded(value: Mapping[str, Any]) -> Recorded | None:
    """The decision in a record; None: it is about something else, or older than such records."""
    leaf = value.get("leaf")
    if isinstance(leaf, str):
        try:
            leaf = json.loads(base64.b64decode(leaf, validate=True))
        except binascii.Error as error:
            raise ValueError("a leaf is no base64") from error
    said = leaf if isinstance(leaf, Mapping) else value
    detail = said.get("detail", said)
    asked = detail.get("asked")
    if not isinstance(asked, Mapping):
        return None
    return Recorded(
        decision=str(detail.get("decision", "")),
        asked=asked,
        policies=tuple(sorted(detail.get("policies", ()))),
        digest=str(detail.get("policy_set", "")),
    )


# -- what they print ----------------------------------------------------------------------------


def _shown(text: PolicyText) -> Json:
    shown = asdict(text)
    del shown["meaning"]
    return shown


def _answer(decision: Decision) -> Json:
    return {"allowed": decision.allowed, "policies": list(decision.policy_ids)}


def _change(record: Recorded, question: Question, before: Decision, after: Decision) -> Json:
    return {
        "decision": record.decision,
        "tenant": question.tenant.id,
        "principal": question.principal.id,
        "action": question.action.value,
        "resource": f"{question.resource_type} {question.resource_id}",
        "old": _answer(before),
        "new": _answer(after),
        "answer_changes": before.allowed != after.allowed,
    }
