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
from mc_ops.runbooks.blocks import Blocks, Reporter
from mc_ops.runbooks.engine import Engine
from mc_ops.runbooks.gates import Ask
from mc_ops.runbooks.journal import Journal
from mc_ops.runbooks.model import Runbook
from mc_ops.runbooks.plan import Plan, make_plan
from mc_ops.runbooks.record import Record
from mc_ops.runbooks.secret_values import Reference, Sources
from mc_ops.runbooks.state import Outcome, RunState
from mc_ops.runbooks.store import RunStore
from mc_ops.runbooks.values import check_value

SNAPSHOT = "runbook.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A run that could be carried out now.

    Attributes:
        first_event: What the journal gets first: `run_started` or `run_resumed`, with its fields.
        references: Where the secret parameters are; read when the run is carried out.
    """

    runbook: Runbook
    run_id: str
    state: RunState
    plan: Plan
    root: Path
    first_event: tuple[str, Mapping[str, object]]
    references: Mapping[str, Reference]

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
        ask: Ask,
        clock: Callable[[], datetime],
        sources: Sources,
    ) -> RunState:
        """Run the plan under the store's lock.

        The plan is made again under it: a gate may have been decided since this was prepared.

        Args:
            sources: The environment that steps inherit, and where secrets are read.

        Raises:
            Waiting: Another run holds the lock, or a step of one still runs without its engine.
            UnusableInput, CouldNotTell: A secret is not where its reference leads.
        """
        secrets = {
            name: self._secret(name, reference, sources)
            for name, reference in self.references.items()
        }
        with store.locked(self.run_id):
            others = [run for run in store.leftovers() if run != self.run_id]
            if others:
                raise Waiting(
                    f"a step of run {others[0]} still runs though its engine is gone",
                    hint=f"mcctl runbook status {others[0]}",
                )
            folder = store.folder(self.run_id)
            if self.first_event[0] == "run_started":
                store.create(self.run_id)
            (folder / SNAPSHOT).write_bytes(self.runbook.source)
            values = tuple(secrets.values())
            journal = Journal(folder, clock=clock, environment=sources.variables, secrets=values)
            record = Record(journal, RunState())  # as the journal has it by now
            name, fields = self.first_event
            record.write(name, **fields)
            blocks = Blocks(
                runbook=self.runbook,
                record=record,
                root=self.root,
                folder=folder,
                home=store.home,
                variables=sources.variables,
                secrets=secrets,
                reporter=reporter,
            )
            engine = Engine(runbook=self.runbook, blocks=blocks, confirm=confirm, ask=ask)
            return engine.run(make_plan(self.runbook, record.state))

    def _secret(self, name: str, reference: Reference, sources: Sources) -> str:
        value = sources.value(name, reference)
        parameter = next(one for one in self.runbook.parameters if one.name == name)
        if not parameter.allows(value):
            raise UnusableInput(f"the secret {name} does not match {parameter.pattern}")
        return value


def begin(
    runbook: Runbook,
    *,
    run_id: str,
    root: Path,
    environment: str,
    given: Mapping[str, str],
    by: Mapping[str, str],
) -> Prepared:
    """Prepare a new run.

    Args:
        given: Values of parameters; of secret ones references.
        by: Who starts it (`people`).

    Raises:
        UnusableInput: The environment is not supported, or a parameter is missing or wrong.
    """
    if environment not in KINDS:
        raise UnusableInput(
            f"environment {environment!r} is not supported",
            hint=f"supported: {', '.join(KINDS)}",
        )
    references = secret_references(runbook, given)
    secret = {one.name for one in runbook.parameters if one.secret}
    plain = {name: value for name, value in given.items() if name not in secret}
    parameters = initial_parameters(runbook, plain)
    # As the journal will have it, so that a dry run's plan is that of the run
    state = RunState(run_id=run_id, environment=environment, parameters=dict(parameters))
    fields: dict[str, object] = {
        "run_id": run_id,
        "runbook": runbook.id,
        "runbook_path": runbook.path,
        "runbook_sha256": runbook.sha256,
        "root": str(root),
        "environment": environment,
        "by": dict(by),
        **_outline(runbook),
        "parameters": parameters,
        "secrets": sorted(secret),
    }
    return Prepared(
        runbook=runbook,
        run_id=run_id,
        state=state,
        plan=make_plan(runbook, state),
        root=root,
        first_event=("run_started", fields),
        references=references,
    )


def take_up(
    runbook: Runbook,
    store: RunStore,
    run_id: str,
    *,
    environment: str,
    accept_changes: bool,
    given: Mapping[str, str],
    by: Mapping[str, str],
) -> Prepared:
    """Prepare to go on with a run that ended early; harmless for one that passed.

    Args:
        given: References of secret parameters, which no journal keeps; nothing else.
        by: Who goes on with it.

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
    secret = {one.name for one in runbook.parameters if one.secret}
    if not set(given) <= secret:
        raise UnusableInput(
            "a resumed run keeps its parameters", hint="give references of secrets alone"
        )
    finished = state.outcome is Outcome.passed
    fields: dict[str, object] = {
        "runbook_sha256": runbook.sha256,
        "accepted_changes": changed,
        "by": dict(by),
        **_outline(runbook),
    }
    return Prepared(
        runbook=runbook,
        run_id=run_id,
        state=state,
        plan=make_plan(runbook, state),
        root=Path(state.root),
        first_event=("run_resumed", fields),
        references={} if finished else secret_references(runbook, given),
    )


def _outline(runbook: Runbook) -> dict[str, list[str]]:
    """What evidence needs to know of a runbook: the order of its steps, and which are gates."""
    return {
        "steps": [step.id for step in runbook.steps],
        "gates": [step.id for step in runbook.steps if step.gate],
    }


def secret_references(runbook: Runbook, given: Mapping[str, str]) -> dict[str, Reference]:
    """Where each secret parameter is; one with an empty default need not be given.

    Raises:
        UnusableInput: One is missing, or what was given is no reference (it is not shown: it may
            be the secret).
    """
    found = {}
    for parameter in (one for one in runbook.parameters if one.secret):
        text = given.get(parameter.name, parameter.default)
        reference = Reference.of(text or "")
        if reference:
            found[parameter.name] = reference
        elif text != "":
            what = "is missing" if text is None else "must be given by reference"
            raise UnusableInput(
                f"the secret {parameter.name} {what}: {Reference.FORM}",
                hint=f"--set {parameter.name}=env:NAME; a value itself is never given here",
            )
    return found


def initial_parameters(runbook: Runbook, given: Mapping[str, str]) -> dict[str, str]:
    """Defaults of what is not secret, overlaid with what was given.

    Raises:
        UnusableInput: A value was given for an unknown parameter or for one that a step
            determines, does not match its pattern, or is missing.
    """
    by_step = {parameter.name: parameter.set_by for parameter in runbook.parameters}
    for name, value in given.items():
        check_value(runbook, name, value)
        if by_step[name]:
            raise UnusableInput(f"{name} is determined by step {by_step[name]}")
    plain = [one for one in runbook.parameters if not one.secret]
    values = {one.name: one.default for one in plain if one.default is not None}
    values.update(given)
    missing = [
        f"{parameter.name} ({parameter.help})"
        for parameter in plain
        if parameter.name not in values and not parameter.set_by
    ]
    if missing:
        raise UnusableInput(
            f"missing parameters: {', '.join(missing)}", hint="give each by --set NAME=VALUE"
        )
    return values
