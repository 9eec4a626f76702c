"""What `mcctl policy` prints of the reports that the service's own `policy` command makes."""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.markup import escape

from mc_ops import policies
from mc_ops.cli.output import Format, emit_json, note, ok, stdout

_CHANGES_SHOWN = 20


def print_set(where: Path, report: Mapping[str, Any]) -> None:
    line = f"{where}  {report['policies']} policies  {report['rows']} rows  {report['digest']}"
    stdout.print(line, markup=False)


def print_diff(report: Mapping[str, Any]) -> None:
    for sign, name in (("+", "added"), ("-", "removed")):
        for policy in report[name]:
            line = f"{sign} {policy['id']}  {policy['effect']}: {policy['reason']}"
            stdout.print(line, markup=False)
    for policy in report["changed"]:
        stdout.print(f"~ {policy['id']}", markup=False)
        old, new = (policy[side]["text"].splitlines() for side in ("old", "new"))
        lines = difflib.unified_diff(old, new, lineterm="", n=1)
        for line in itertools.islice(lines, 2, None):
            stdout.print(f"    {line}", markup=False)
    for line in report["schema"]:
        stdout.print(line, markup=False)


def note_plan(report: Mapping[str, Any]) -> None:
    for sign, name in (("+", "added"), ("-", "removed"), ("~", "changed")):
        for policy in report[name]:
            note(escape(f"{sign} {policy['id']}"))
    if report["schema"]:
        note("~ the schema")


def print_simulation(report: Mapping[str, Any]) -> None:
    stdout.print(f"{report['replayed']} asked again, {report['changed']} change", markup=False)
    for tenant, count in report["by_tenant"].items():
        stdout.print(f"  {tenant}  {count}", markup=False)
    for change in report["changes"][:_CHANGES_SHOWN]:
        line = f"{change['decision']}  {change['tenant']}  {change['principal']}  "
        line += f"{change['action']} {change['resource']}  "
        line += f"{_answer(change['old'])} -> {_answer(change['new'])}"
        stdout.print(line, markup=False)
    if report["changed"] > _CHANGES_SHOWN:
        note(f"{report['changed'] - _CHANGES_SHOWN} more: --output json")


def _answer(answer: Mapping[str, Any]) -> str:
    by = ", ".join(answer["policies"]) or "no policy"
    return f"{'allow' if answer['allowed'] else 'deny'} ({by})"


def print_explanation(report: Mapping[str, Any]) -> None:
    def line(name: str, value: object) -> None:
        stdout.print(f"{name:<10} {value}", markup=False)

    line("decision", report["decision"])
    line("event", f"{report['kind']} {report['event']} at {report['occurred_at']}")
    line("tenant", report["tenant"])
    line("answer", "allow" if report["allowed"] else "deny")
    line("reason", report["reason"])
    for name, value in (report["asked"] or {}).items():
        parts = list(value.values()) if isinstance(value, dict) else value
        line("asked", f"{name}: {', '.join(map(str, parts)) if isinstance(parts, list) else value}")
    today = "the one in force" if report["same_set_today"] else "not the one in force"
    line("set", f"{report['policy_set']} ({today})")
    for policy in report["policies"]:
        line("policy", policy["id"])
        for text in policy.get("text", "").splitlines():
            stdout.print(f"           {text}", markup=False)
    now = report["now"]
    if now is not None and "allowed" in now:
        line("today", f"{_answer(now)}: {now['reason']}")


def print_applied(applied: policies.Applied, before: str, by: str, output: Format) -> None:
    if output is Format.json:
        told = {"digest": applied.digest, "before": before, "replicas": list(applied.replicas)}
        emit_json({**told, "principal": by})
    if applied.replicas:
        ok(f"{', '.join(applied.replicas)}: {applied.digest[:12]} is in force")
    else:
        ok(f"{applied.digest[:12]} is in place; nothing runs, the next `mcctl up` begins with it")
