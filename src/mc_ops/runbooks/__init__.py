"""Runbooks: Markdown that people read and machines run (docs/how-to/runbooks.md).

    runbook = load(find("day-0", Path.cwd()))
    run_id = new_run_id(runbook.id, datetime.now(UTC), "1a2b")
    prepared = begin(runbook, run_id=run_id, root=Path.cwd(), environment="local", given={})
    for planned in prepared.plan.steps:
        ...

Steps reach everything else by running `mcctl`; this room imports no other room.
"""

from __future__ import annotations

from mc_ops.runbooks.blocks import Reporter
from mc_ops.runbooks.gates import Decision, Opened, decide, said, waiting
from mc_ops.runbooks.journal import Journal
from mc_ops.runbooks.lint import find, known_files, load, read, root_of
from mc_ops.runbooks.model import Parameter, Problem, Runbook, Step
from mc_ops.runbooks.people import person, shown
from mc_ops.runbooks.plan import Action, Plan, PlannedStep, make_plan
from mc_ops.runbooks.process import Finished
from mc_ops.runbooks.record import Record
from mc_ops.runbooks.run import Prepared, begin, take_up
from mc_ops.runbooks.secret_values import Reference, Sources, no_cluster
from mc_ops.runbooks.state import Outcome, RunState, StepState
from mc_ops.runbooks.store import RunStore, new_run_id

__all__ = [
    "Action",
    "Decision",
    "Finished",
    "Journal",
    "Opened",
    "Outcome",
    "Parameter",
    "Plan",
    "PlannedStep",
    "Prepared",
    "Problem",
    "Record",
    "Reference",
    "Reporter",
    "RunState",
    "RunStore",
    "Runbook",
    "Sources",
    "Step",
    "StepState",
    "begin",
    "decide",
    "find",
    "known_files",
    "load",
    "make_plan",
    "new_run_id",
    "no_cluster",
    "person",
    "read",
    "root_of",
    "said",
    "shown",
    "take_up",
    "waiting",
]
