"""Drills: break a running platform for real, under load, and measure RTO and RPO as clients see them.

plan.py            what a drill is asked for, and what it will lose, said before anything is broken
clients.py         the load: open loop, each tenant's requests and what became of them
faults.py          what is broken of one region, and how it is mended
two_regions.py     the same of two: the home of the tenants, and the other one that takes over
restored.py        a region whose disk counts as lost: its backup before the fault, its restore after it
control_store.py   a store that acknowledges before it writes: what a drill must see lose
repeat.py          the same drill several times, alternating sides, and the table of all
run.py             the order of a drill; whatever happens, it ends with the platform up
lookup.py          looks each acknowledged write up afterwards
report.py          the files of a drill: rows, report, picture, the runbook's results file
picture.py         requests on a time line, with the fault, the decision and the recovery
"""

from __future__ import annotations

from mc_ops.drills.plan import Plan
from mc_ops.drills.repeat import run_drills, summary
from mc_ops.drills.report import FILES, Finished, append_results
from mc_ops.drills.run import run_drill
from mc_ops.drills.two_regions import between_regions

__all__ = [
    "FILES",
    "Finished",
    "Plan",
    "append_results",
    "between_regions",
    "run_drill",
    "run_drills",
    "summary",
]
