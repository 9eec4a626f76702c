"""The privacy block rate, out of the rows of the newest red-team, done again and not believed.

A result is a folder with `redteam-rows.jsonl` and `redteam.json`, as `mcctl redteam privacy`
writes it. The rates come from the rows; the report gives the time, the target and what the run
itself doubted. Neither is signed here: an evidence pack signs them.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mc_contract.canonical import same_value
from mc_contract.redteam import LEAST_BLOCKED, RedTeamRows, figures
from mc_ops.errors import UnusableInput
from mc_ops.files import json_object, read_limited
from mc_ops.slo.figure import Figure, Verdict
from mc_ops.slo.source import Window, span_of

ROWS, REPORT = "redteam-rows.jsonl", "redteam.json"
OLDEST = Window.parse("8d")
"""A weekly suite, and a day of grace."""
_CLOCKS_DIFFER = timedelta(minutes=5)
_NAME, _TITLE = "privacy-block-rate", "privacy block rate"


def newest(runs: Path) -> Path | None:
    """The folder of the latest red-team below `runs`, by when its report says it ended."""
    found = []
    for report in (*runs.glob(f"*/{REPORT}"), *runs.glob(f"*/redteam/{REPORT}")):
        with suppress(UnusableInput):
            found.append((_time(_report(report)), report.parent))
    return max(found, default=(None, None))[1]


def block_rate(folder: Path | None, *, now: datetime, oldest: Window = OLDEST) -> Figure:
    """The block rate of the red-team in `folder`; its verdict is the suite's own, recomputed.

    Never raises: what is missing, damaged, too old, or does not follow from its rows leaves the
    figure unknown, with the reason.
    """
    blank = Figure(
        _NAME,
        _TITLE,
        None,
        "ratio",
        f">= {100 * LEAST_BLOCKED:g} %",
        Verdict.unknown,
        "-",
        "red-team",
    )
    if folder is None:
        return replace(blank, reason="no red-team was run: mcctl redteam privacy")
    try:
        report = _report(folder / REPORT)
        at = _time(report)
        age = now - at
        if age < -_CLOCKS_DIFFER:
            raise UnusableInput(f"it says it was made in the future, {at:%Y-%m-%d %H:%MZ}")
        window = f"{at:%Y-%m-%d}, {span_of(max(0.0, age.total_seconds()))} ago"
        blank = replace(blank, window=window)
        if age.total_seconds() > oldest.seconds:
            raise UnusableInput(f"it is {span_of(age.total_seconds())} old, over {oldest.text}")
        told = _recomputed(folder / ROWS)
    except UnusableInput as error:
        return replace(blank, reason=f"the red-team cannot be used: {error.message}")
    if not same_value(report.get("figures"), told):
        return replace(
            blank, reason="the red-team cannot be used: its report does not follow from its rows"
        )
    return _figure(blank, told, report)


def _figure(blank: Figure, told: dict[str, Any], report: dict[str, Any]) -> Figure:
    attacks = told["attacks"]
    if not attacks["n"]:
        return replace(blank, reason="the red-team tried no attack", few=True)
    doubts = [*(report.get("problems") or []), *told["doubts"]]
    verdict, reason = Verdict.met, ""
    if told["met"] is False:
        verdict, reason = Verdict.missed, f"{attacks['missed']} missed, or honest work was changed"
    elif told["met"] is None or doubts:
        verdict, reason = Verdict.unknown, "; ".join(str(one)[:200] for one in doubts[:3])
    return replace(
        blank,
        value=attacks["rate"],
        verdict=verdict,
        reason=reason,
        events=attacks["n"],
        detail={
            "lower_95": attacks["lower"],
            "honest_work_passed": told["benign"]["rate"],
            "families": len(told["families"]),
            "target": report.get("target"),
            "policy_set": report.get("policy_set"),
            "at": report["at"],
        },
    )


def _report(path: Path) -> dict[str, Any]:
    return json_object(path, read_limited(path))


def _time(report: dict[str, Any]) -> datetime:
    try:
        at = datetime.fromisoformat(report["at"])
    except (KeyError, TypeError, ValueError) as error:
        raise UnusableInput("its report does not say when it was made") from error
    if at.tzinfo is None:
        raise UnusableInput("its report's time has no zone")
    return at.astimezone(UTC)


def _recomputed(path: Path) -> dict[str, Any]:
    try:
        return figures(json.loads(line) for line in read_limited(path).splitlines() if line.strip())
    except RedTeamRows as error:
        raise UnusableInput(str(error)) from error
    except (ValueError, RecursionError) as error:
        raise UnusableInput(f"{path.name} has a line that is not JSON") from error
