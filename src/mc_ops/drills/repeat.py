"""The same drill several times: of two regions each time the one that took over is broken next.

Homes are left where they moved between two drills, and put back at the end, whatever happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from mc_contract.numbers import duration
from mc_ops.drills.plan import Plan
from mc_ops.drills.report import Finished
from mc_ops.drills.run import run_drill
from mc_ops.drills.two_regions import homes_of, put_back, turned
from mc_ops.environments import Startable

_PARTS = ("rto_s", "detection_s", "lease_s", "move_s")


def run_drills(
    regions: Sequence[Startable], plan: Plan, folder: Path, times: int, say: Callable[[str], None]
) -> list[Finished]:
    """Carry out a drill so many times, each in a folder of its own; raises as `run_drill`."""
    before = homes_of(regions[0], plan.operator) if plan.home else {}
    finished = []
    began_s = time.monotonic()
    try:
        for number in range(1, times + 1):
            now = turned(plan, regions) if plan.home else plan
            told = f"drill {number} of {times}{f': {now.home} is the home' if now.home else ''}"
            if number > 1:
                each_s = (time.monotonic() - began_s) / (number - 1)
                told += f", about {duration(each_s * (times - number + 1))} left"
            say(told)
            finished.append(run_drill(regions, now, folder / f"{number:02}", say))
    finally:
        if before:
            put_back(regions[0], plan.operator, before, say)
    return finished


def summary(finished: Sequence[Finished]) -> dict[str, Any]:
    """Of each tenant the median and the greatest RTO with its parts, all that was lost, and all that was wrong.

    Returns:
        `drills`, `tenants`, `problems`, and `met`: None where one of the drills has no verdict.
    """
    verdicts = {one.figures["met"] for one in finished}
    return {
        "drills": len(finished),
        "tenants": {
            tenant: _of([one.figures["tenants"][tenant] for one in finished])
            for tenant in finished[0].figures["tenants"]
        },
        "problems": [
            f"{number}: {one.problem}" for number, one in enumerate(finished, 1) if one.problem
        ],
        "met": False if False in verdicts else None if None in verdicts else True,
    }


def _of(measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    flat = [{**one, **one.get("parts", {})} for one in measured]
    told: dict[str, Any] = {name: _spread(one.get(name) for one in flat) for name in _PARTS}
    return {
        **told,
        "never": sum(one["rto_s"] is None for one in flat),
        **{name: sum(one[name] for one in flat) for name in ("acknowledged", "lost")},
        "lost_for_good": sum(one.get("lost_for_good", one["lost"]) for one in flat),
        "rpo_s": max(one["rpo_s"] for one in flat),
    }


def _spread(values: Iterable[float | None]) -> dict[str, float] | None:
    known = [value for value in values if value is not None]
    return {"median": round(median(known), 3), "max": max(known)} if known else None
