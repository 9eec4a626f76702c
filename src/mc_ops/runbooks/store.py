"""Where runs live: `<home>/runs/<run id>/`, one at a time under a lock.

The lock is the kernel's, so that it dies with its holder, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from mc_ops.errors import CouldNotTell, UnusableInput, Waiting
from mc_ops.files import lock
from mc_ops.runbooks import journal
from mc_ops.runbooks.process import left_over
from mc_ops.runbooks.state import Outcome, RunState

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
PATIENCE_S = 0.3  # `running` holds the lock, shared, while it looks


class RunStore:
    """The runs of one state directory."""

    def __init__(self, home: Path) -> None:
        self.home = home.absolute()
        self._runs = self.home / "runs"
        self._lock = self._runs / ".lock"

    def create(self, run_id: str) -> Path:
        """Make the folder of a new run.

        Raises:
            CouldNotTell: It cannot be made.
        """
        folder = self.folder(run_id)
        try:
            folder.mkdir(mode=0o700, parents=True)
        except OSError as error:
            raise CouldNotTell(f"run {run_id} has no folder: {error.strerror}") from error
        return folder

    def folder(self, run_id: str) -> Path:
        """The folder of a run; it need not exist.

        Raises:
            UnusableInput: No run has such an id: it would lead elsewhere.
        """
        if not _ID.fullmatch(run_id):
            raise UnusableInput(f"{run_id[:80]!r} is no id of a run", hint="mcctl runbook status")
        return self._runs / run_id

    def ids(self, runbook_id: str = "") -> list[str]:
        """Known runs, oldest first, of one runbook or of all."""
        found = [
            (state.started_at, path.parent.name)
            for path in self._runs.glob(f"*/{journal.FILE}")
            if (state := self._peek(path.parent)) and runbook_id in ("", state.runbook)
        ]
        return [run_id for _, run_id in sorted(found)]

    def newest(self, runbook_id: str = "") -> str:
        """The last run that was started.

        Raises:
            UnusableInput: There is none.
        """
        known = self.ids(runbook_id)
        if not known:
            what = f"run of {runbook_id}" if runbook_id else "run"
            raise UnusableInput(f"no {what} in {self._runs}", hint="mcctl runbook run NAME")
        return known[-1]

    def state(self, run_id: str) -> RunState:
        """Where a run stands.

        Raises:
            UnusableInput: There is no such run, or its journal is damaged.
        """
        if not (self.folder(run_id) / journal.FILE).is_file():
            raise UnusableInput(f"no run {run_id!r} in {self._runs}", hint="mcctl runbook status")
        try:
            state = RunState.of(journal.read(self.folder(run_id)))
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise UnusableInput(
                f"the journal of run {run_id} is damaged: {type(error).__name__}",
                hint="start a new run",
            ) from error
        if not state.run_id:
            raise UnusableInput(f"run {run_id} never began", hint="start a new one")
        return state

    def running(self) -> str:
        """The id of the run that holds the lock now; empty if none does."""
        try:
            with self._lock.open("r") as held:
                try:
                    fcntl.flock(held, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return _holder(self._lock)
        except FileNotFoundError:
            pass
        return ""

    def leftovers(self) -> list[str]:
        """Runs whose engine is gone while a process of theirs still runs."""
        found = []
        for run_id in self.ids():
            state = self.state(run_id)
            if state.outcome is Outcome.started and any(
                step.pid and left_over(step.pid, run_id) for step in state.steps.values()
            ):
                found.append(run_id)
        return found

    @contextlib.contextmanager
    def locked(self, label: str) -> Iterator[None]:
        """Hold the lock; `label` tells others who has it.

        Raises:
            Waiting: Another run holds it.
        """
        self._runs.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._lock.open("a+") as held:
            if not lock(held, PATIENCE_S):
                raise Waiting(
                    f"another run is in progress: {_holder(self._lock)}",
                    hint="mcctl runbook status; try again when it has ended",
                )
            held.truncate(0)
            held.write(json.dumps({"run": label, "pid": os.getpid()}))
            held.flush()
            yield

    def _peek(self, folder: Path) -> RunState | None:
        """A run's state, or None when its journal cannot be used; others must still be found."""
        try:
            return self.state(folder.name)
        except UnusableInput:
            return None


def new_run_id(runbook_id: str, now: datetime, suffix: str) -> str:
    """The id of a new run: runbook, UTC second, and four hex digits for runs of one second."""
    return f"{runbook_id}-{now:%Y%m%dT%H%M%SZ}-{suffix}"


def _holder(lock: Path) -> str:
    try:
        return str(json.loads(lock.read_text())["run"])
    except (OSError, ValueError, KeyError):
        return "unknown"
