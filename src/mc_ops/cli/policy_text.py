"""What `mcctl policy` prints of the reports that the service's own `policy` command makes."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.text import Text

from mc_contract.numbers import counted
from mc_ops import policies
from mc_ops.cli.output import Format, columns, note, ok, show

CHANGES_SHOWN = 20


def set_line(where: Path, report: Mapping[str, Any]) -> str:
    return f"{where}  {counted(report['policies'], 'policy')}  {counted(report['rows'], 'row')}  {report['digest']}"


def diff_lines(report: Mapping[str, Any]) -> Iterator[str]:
    for sign, name in (("+", "added"), ("-", "removed")):
        for policy in report[name]:
            yield f"{sign} {policy['id']}  {policy['effect']}: {policy['reason']}"
    for policy in report["changed"]:
        yield f"~ {policy['id']}"
        old, new = (policy[side]["text"].split("\n") for side in ("old", "new"))
        lines = difflib.unified_diff(old, new, lineterm="", n=1)
        yield from (f"    {line}" for line in itertools.islice(lines, 2, None))
    yield from report["schema"]


def note_plan(report: Mapping[str, Any]) -> None:
    for sign, name in (("+", "added"), ("-", "removed"), ("~", "changed")):
        for policy in report[name]:
            note(escape(f"{sign} {policy['id']}"))
    if report["schema"]:
        note("~ the schema")


def simulation_lines(report: Mapping[str, Any]) -> Iterator[str]:
    yield f"{report['replayed']} replayed, {report['changed']} change"
    for tenant, count in report["by_tenant"].items():
        yield f"  {tenant}  {count}"
    for change in report["changes"][:CHANGES_SHOWN]:
        line = f"{change['decision']}  {change['tenant']}  {change['principal']}  "
        line += f"{change['action']} {change['resource']}  "
        yield f"{line}{_answer(change['old'])} -> {_answer(change['new'])}"


def _answer(answer: Mapping[str, Any]) -> str:
    by = ", ".join(answer["policies"]) or "no policy"
    return f"{'allow' if answer['allowed'] else 'deny'} ({by})"


def explanation_lines(report: Mapping[str, Any]) -> list[Text]:
    today = "the one in force" if report["same_set_today"] else "not the one in force"
    rows = [
        ("decision", report["decision"]),
        ("event", f"{report['kind']} {report['event']} at {report['occurred_at']}"),
        ("tenant", report["tenant"]),
        ("answer", "allow" if report["allowed"] else "deny"),
        ("reason", report["reason"]),
        *(("asked", f"{name}: {_words(value)}") for name, value in (report["asked"] or {}).items()),
        ("set", f"{report['policy_set']} ({today})"),
    ]
    for policy in report["policies"]:
        rows += [("policy", policy["id"])]
        rows += [("", text) for text in policy.get("text", "").split("\n")]
    now = report["now"]
    if now is not None and "allowed" in now:
        rows += [("today", f"{_answer(now)}: {now['reason']}")]
    return columns(rows)


def _words(value: Any) -> str:
    parts = list(value.values()) if isinstance(value, dict) else value
    return ", ".join(map(str, parts)) if isinstance(parts, list) else str(value)


def print_applied(applied: policies.Applied, before: str, by: str, output: Format) -> None:
    told = {"digest": applied.digest, "before": before, "replicas": list(applied.replicas)}
    show(output, {**told, "principal": by}, ())
    if applied.replicas:
        ok(f"{', '.join(applied.replicas)}: {applied.digest[:12]} is in force")
    else:
        ok(f"{applied.digest[:12]} is in place; nothing runs, the next `mcctl up` begins with it")
