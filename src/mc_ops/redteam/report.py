"""The report of a red-team: figures out of the rows, in JSON, in words, and as a picture."""

from __future__ import annotations

import json
import os
import textwrap
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mc_contract.numbers import counted
from mc_contract.redteam import LEAST_BLOCKED, LEAST_BLOCKED_OF_A_FAMILY, THRESHOLDS, figures
from mc_contract.running import RELEASE_FACTS, Facts, Record, facts_of
from mc_ops.files import writing
from mc_ops.redteam.case import Row
from mc_ops.redteam.families import BY_NAME
from mc_ops.redteam.run import Result, Size

ROWS, REPORT, PICTURE = "redteam-rows.jsonl", "redteam.json", "redteam.png"
_WIDTH = 80


def as_lines(rows: Sequence[Row]) -> bytes:
    """The rows as they are kept, one JSON object a line."""
    return "".join(
        json.dumps(row.as_json(), sort_keys=True, ensure_ascii=True) + "\n" for row in rows
    ).encode()


def report(
    result: Result, size: Size, target: str, looks: Sequence[Sequence[Facts]] | None = None
) -> dict[str, Any]:
    """All that is told of a run; `figures` is what the rows give.

    Args:
        looks: What the replicas behind the target run, before and after; None asks who answered there.
    """
    told = figures(row.as_json() for row in result.rows)
    before, after = looks or [[facts_of(health)] for health in result.health]
    running = Record({"target": before}, {"target": after})
    problems = [f"channel {name} could not be read" for name in result.unread]
    for name in RELEASE_FACTS:
        then, now = ({one[name] for one in look} for look in (before, after))
        if then != now:
            problems.append(f"the {name.replace('_', ' ')} was changed during the run")
        elif len(now) > 1:
            problems.append(f"the {name.replace('_', ' ')} is not the same in all replicas")
    policy_sets = {one["policy_set"] for one in after}
    by_id = {row.id: row for row in result.rows}
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "target": target,
        "seed": size.seed,
        "versions": {
            "red_team": version("mc-platform"),
            "platform": result.health[1].get("version"),
        },
        "policy_set": policy_sets.pop() if len(policy_sets) == 1 else None,
        "running": running.as_dict(),
        "figures": told,
        "met": None if problems and told["met"] else told["met"],
        "problems": problems,
        "thresholds": dict(THRESHOLDS),
        "families": {
            name: {
                "tries": family.tries,
                "linddun": list(family.linddun),
                "owasp": list(family.owasp),
                "atlas": list(family.atlas),
            }
            for name, family in BY_NAME.items()
            if name in told["families"]
        },
        "channels": ["answer", "stream", *result.channels],
        "timing": result.timing,
        **{
            outcome: [_told(by_id[name]) for name in told[outcome]]
            for outcome in ("missed", "changed", "invalid")
        },
    }


def _told(row: Row) -> dict[str, str]:
    keys = ("id", "family", "form", "channel", "control", "why")
    return {key: str(getattr(row, key)) for key in keys}


def prepare(folder: Path) -> None:
    """Make the folder, before anything is attacked.

    Raises:
        CouldNotTell: it cannot be written to.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()


def write(folder: Path, told: Mapping[str, Any], rows: Sequence[Row]) -> None:
    """Write rows, report and picture; no canary and no text of a case is in them.

    Raises:
        CouldNotTell: the folder cannot be written.
    """
    with writing(folder):
        (folder / ROWS).write_bytes(as_lines(rows))
        text = json.dumps(told, indent=1, ensure_ascii=True) + "\n"
        (folder / REPORT).write_text(text, encoding="ascii")
        picture(told, folder / PICTURE)


def picture(told: Mapping[str, Any], path: Path) -> None:
    """Each family's block rate with its lower bound, and what passed of honest work."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    from matplotlib.figure import Figure

    rates = told["figures"]
    bars = [
        (name, one["rate"], one["lower"], "#2b6cb0")
        for name, one in sorted(rates["families"].items(), reverse=True)
        if one["rate"] is not None
    ]
    whole, honest = rates["attacks"], rates["benign"]
    if whole["rate"] is not None:
        bars.append(("all attacks: blocked", whole["rate"], whole["lower"], "#1a365d"))
    if honest["rate"] is not None:
        bound = 1 - honest["false_positives_upper"]
        bars.append(("honest work: passed", honest["rate"], bound, "#2f855a"))
    if not bars:
        return
    least = min(0.96, *(bound for _, _, bound, _ in bars)) - 0.005
    figure = Figure(figsize=(9, 1.4 + 0.32 * len(bars)), layout="constrained")
    axes = figure.subplots()
    names = [name for name, _, _, _ in bars]
    axes.barh(
        names,
        [rate - least for _, rate, _, _ in bars],
        left=least,
        height=0.6,
        color=[colour for _, _, _, colour in bars],
    )
    for place, (_, rate, bound, _) in enumerate(bars):
        axes.plot([bound, bound], [place - 0.3, place + 0.3], color="#f6ad55", linewidth=3)
        axes.text(1.0005, place, f"{rate:.2%}", va="center", fontsize=8)
    axes.axvline(LEAST_BLOCKED, color="#c53030", linestyle="--", linewidth=1)
    axes.axvline(LEAST_BLOCKED_OF_A_FAMILY, color="#c53030", linestyle=":", linewidth=1)
    axes.set_xlim(max(0.0, least), 1.0)
    axes.set_xlabel("rate; orange: 95 % lower bound; red: 99.5 % of all, dotted 98 % of a family")
    verdict = {True: "met", False: "not met"}.get(told["met"], "could not tell")
    axes.set_title(
        f"Privacy red-team: {verdict}; {counted(whole['n'], 'attack')}, {counted(honest['n'], 'honest case')},"
        f" seed {told['seed']}, {told['at'][:16]}",
        fontsize=10,
    )
    figure.savefig(path, dpi=120)


def lines(told: Mapping[str, Any]) -> list[str]:
    """The report for a terminal of 80 columns."""
    rates = told["figures"]
    whole, honest, worded = rates["attacks"], rates["benign"], rates["wording"]
    rows = [
        f"{'family':<24}{'cases':>7}{'blocked':>9}{'missed':>8}{'invalid':>9}{'lower 95 %':>12}"
    ]
    for name, one in rates["families"].items():
        rows.append(_line(name, one))
    rows += [_line("all attacks", whole), ""]
    passed = f"honest work: {honest['passed']} of {honest['n']} passed unchanged ({_percent(honest['rate'])})"
    rows += [
        passed,
        f"  {honest['invalid']} invalid; false positives at most {_percent(honest['false_positives_upper'])} (95 %)",
        f"injection wording, without a promise: {worded['labelled']} of {worded['n']} labelled",
    ]
    controls = sorted(rates["controls"].items(), key=lambda item: -item[1])
    acted = ", ".join(f"{name} {count}" for name, count in controls)
    rows += _wrapped(f"controls that acted: {acted or 'none'}")
    rows += _wrapped(f"looked through: {', '.join(told['channels'])}")
    for form, one in told["timing"].items():
        rows.append(
            f"timing, existence of a {form}: slower in {one['slower']} of {one['pairs']} pairs,"
            f" p = {one['p_value']:.3g}"
            + (f"; once more: p = {one['again']['p_value']:.3g}" if "again" in one else "")
        )
    for kind in ("missed", "changed", "invalid"):
        for one in told[kind][:5]:
            why = one["channel"] or one["control"] or one["why"]
            rows += _wrapped(f"{kind}: {one['id']} ({one['form']}): {why}")
    if told["met"] is None:
        for doubt in [*told["problems"], *rates["doubts"]]:
            rows += _wrapped(f"could not tell: {doubt}")
    return rows


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, subsequent_indent="  ")


def _line(name: str, one: Mapping[str, Any]) -> str:
    return (
        f"{name[:23]:<24}{one['n']:>7}{one['blocked']:>9}{one['missed']:>8}{one['invalid']:>9}"
        f"{_percent(one['lower']):>12}"
    )


def _percent(rate: float | None) -> str:
    return "-" if rate is None else f"{rate:.2%}"
