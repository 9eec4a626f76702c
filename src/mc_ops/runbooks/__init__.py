"""Runbooks: Markdown that people read and machines run (docs/how-to/runbooks.md).

    runbook = load(find("day-0", Path.cwd()))
    run_id = new_run_id(runbook.id, datetime.now(UTC), "1a2b")
    prepared = begin(runbook, run_id=run_id, root=Path.cwd(), environment="local", given={})
    for planned in prepared.plan.steps:
        ...

Steps reach everything else by running `mcctl`; this room imports no other room.
"""

from __future__ import annotations

from mc_ops.runbooks.engine import Reporter
from mc_ops.runbooks.lint import find, known_files, load, read, root_of
from mc_ops.runbooks.model import Parameter, Problem, Runbook, Step
from mc_ops.runbooks.plan import Action, Plan, PlannedStep, make_plan
from mc_ops.runbooks.process import Finished
from mc_ops.runbooks.run import Prepared, begin, take_up
from mc_ops.runbooks.state import Outcome, RunState
from mc_ops.runbooks.store import RunStore, new_run_id

__all__ = [
    "Action",
    "Finished",
    "Outcome",
    "Parameter",
    "Plan",
    "PlannedStep",
    "Prepared",
    "Problem",
    "Reporter",
    "RunState",
    "RunStore",
    "Runbook",
    "Step",
    "begin",
    "find",
    "known_files",
    "load",
    "make_plan",
    "new_run_id",
    "read",
    "root_of",
    "take_up",
]
