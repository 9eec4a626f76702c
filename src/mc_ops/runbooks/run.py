"""Begins and resumes runs: parameters checked, folder made, runbook's text kept beside its journal.

The three things a caller does: `begin` or `take_up` to get a `Prepared` run, print or carry out
its plan. Preparing changes nothing on disk; `Prepared.carry_out` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mc_ops.environments import KINDS
from mc_ops.errors import UnusableInput, Waiting
from mc_ops.runbooks.engine import Engine, Reporter
from mc_ops.runbooks.journal import Journal
from mc_ops.runbooks.model import Runbook
from mc_ops.runbooks.plan import Plan, make_plan
from mc_ops.runbooks.state import Outcome, RunState
from mc_ops.runbooks.store import RunStore
from mc_ops.runbooks.values import check_value

SNAPSHOT = "runbook.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run that could be carried out now.

    Attributes:
        first_event: What the journal gets first: `run_started` or `run_resumed`, with its fields.
    """

    runbook: Runbook
    run_id: str
    state: RunState
    plan: Plan
    root: Path
    first_event: tuple[str, Mapping[str, object]]

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.state.outcome is Outcome.passed

    def carry_out(
        self,
        store: RunStore,
        *,
        reporter: Reporter,
        confirm: Callable[[str], bool],
        clock: Callable[[], datetime],
        variables: Mapping[str, str],
    ) -> RunState:
        """Run the plan under the store's lock.

        Raises:
            Waiting: Another run holds the lock, or a step of one still runs without its engine.
        """
        with store.locked(self.run_id):
            others = [run for run in store.leftovers() if run != self.run_id]
            if others:
                raise Waiting(
                    f"a step of run {others[0]} still runs though its engine is gone",
                    hint=f"mcctl runbook run --resume {others[0]}",
                )
            folder = store.folder(self.run_id)
            if self.state.outcome is Outcome.pending:
                store.create(self.run_id)
            (folder / SNAPSHOT).write_bytes(self.runbook.source)
            journal = Journal(folder, clock=clock, environment=variables)
            name, fields = self.first_event
            self.state.take(journal.append(name, **fields))
            return Engine(
                runbook=self.runbook,
                state=self.state,
                run_id=self.run_id,
                root=self.root,
                folder=folder,
                home=store.home,
                variables=variables,
                journal=journal,
                reporter=reporter,
                confirm=confirm,
            ).run(self.plan)


def begin(
    runbook: Runbook, *, run_id: str, root: Path, environment: str, given: Mapping[str, str]
) -> Prepared:
    """Prepare a new run.

    Raises:
        UnusableInput: The environment is not supported, or a parameter is missing or wrong.
    """
    if environment not in KINDS:
        raise UnusableInput(
            f"environment {environment!r} is not supported",
            hint=f"supported: {', '.join(KINDS)}",
        )
    state = RunState()
    fields: dict[str, object] = {
        "run_id": run_id,
        "runbook": runbook.id,
        "runbook_path": runbook.path,
        "runbook_sha256": runbook.sha256,
        "root": str(root),
        "environment": environment,
        "parameters": initial_parameters(runbook, given),
    }
    return Prepared(
        runbook=runbook,
        run_id=run_id,
        state=state,
        plan=make_plan(runbook, state),
        root=root,
        first_event=("run_started", fields),
    )


def take_up(
    runbook: Runbook, store: RunStore, run_id: str, *, environment: str, accept_changes: bool
) -> Prepared:
    """Prepare to go on with a run that ended early; harmless for one that passed.

    Raises:
        UnusableInput: There is no such run, it belongs to another runbook or environment, or the
            runbook changed since.
    """
    state = store.state(run_id)
    if state.runbook != runbook.id:
        raise UnusableInput(f"run {run_id} is one of {state.runbook}, not of {runbook.id}")
    if state.environment != environment:
        raise UnusableInput(f"run {run_id} is in {state.environment}, got --env {environment}")
    changed = state.sha256 != runbook.sha256
    if changed and not accept_changes and state.outcome is not Outcome.passed:
        raise UnusableInput(
            f"runbook {runbook.id} changed since run {run_id} began "
            f"(sha256 {state.sha256[:12]}, now {runbook.sha256[:12]})",
            hint="start a new run, or go on with the changed file by --accept-changes",
        )
    fields = {"runbook_sha256": runbook.sha256, "accepted_changes": changed}
    return Prepared(
        runbook=runbook,
        run_id=run_id,
        state=state,
        plan=make_plan(runbook, state),
        root=Path(state.root),
        first_event=("run_resumed", fields),
    )


def initial_parameters(runbook: Runbook, given: Mapping[str, str]) -> dict[str, str]:
    """Defaults overlaid with what was given.

    Raises:
        UnusableInput: A value was given for an unknown parameter or for one that a step
            determines, does not match its pattern, or is missing.
    """
    by_step = {parameter.name: parameter.set_by for parameter in runbook.parameters}
    for name, value in given.items():
        check_value(runbook, name, value)
        if by_step[name]:
            raise UnusableInput(f"{name} is determined by step {by_step[name]}")
    values = {p.name: p.default for p in runbook.parameters if p.default is not None}
    values.update(given)
    missing = [
        f"{parameter.name} ({parameter.help})"
        for parameter in runbook.parameters
        if parameter.name not in values and not parameter.set_by
    ]
    if missing:
        raise UnusableInput(
            f"missing parameters: {', '.join(missing)}", hint="give each by --set NAME=VALUE"
        )
    return values
