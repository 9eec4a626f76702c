"""A platform for one run: real processes under a temporary `MC_HOME`, gone when the run is.

The tool-chain's own environment starts it. After that a killed process is started again alone,
from the same specification, which takes milliseconds where a whole `mcctl up` takes seconds.

Invariants: only processes of this platform are signalled, by a record of pid and creation time;
on every way out each of them is stopped (paused ones are woken first) and the folder removed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Mapping
from pathlib import Path

import psycopg
from tests.ports import take_block

from mc_ops.environments import UpRequest, credentials
from mc_ops.environments.faults import Faults
from mc_ops.environments.interface import Colour
from mc_ops.environments.local import keyring, postgres
from mc_ops.environments.local.environment import LocalEnvironment
from mc_ops.environments.local.layout import Layout, colour_of, replica_name
from mc_ops.environments.local.processes import ProcessSpec, ProcessTable, Started
from mc_ops.environments.local.specs import Specs
from mc_ops.errors import OpsError

POSTGRES, SIEM = "postgres", "siem"
_NOT_OURS = ("MC_DATABASE_URL", "SLACK_WEBHOOK_URL", "AUDIT_SIEM_URL", "AUDIT_SIEM_KEY")
_LEDGER_KEY = "ledger.pub"


class CrashPlatform:
    """Processes, files and database of one platform.

    Args:
        replicas: How many workbench replicas it has.
        settings: Environment variables for all of it, beside the inherited ones.
    """

    def __init__(self, *, replicas: int, settings: Mapping[str, str]) -> None:
        # The processes inherit this process's environment, as they would mcctl's.
        for name in _NOT_OURS:
            os.environ.pop(name, None)
        self.home = Path(tempfile.mkdtemp(prefix="mc-crash-"))
        os.environ.update(settings)
        os.environ["MC_HOME"] = str(self.home)
        self.layout = Layout(self.home.resolve(), take_block())
        self.replicas = tuple(replica_name(Colour.blue, n + 1) for n in range(replicas))
        self._environment = LocalEnvironment(self.layout)
        self._table = ProcessTable(self.layout.home / "run", self.layout.home / "log")
        self._children: dict[str, Started] = {}
        self._paused: set[str] = set()

    def up(self) -> None:
        """Start all of it, as `mcctl up --replicas N` does.

        Raises:
            OpsError: it does not come up.
        """
        self._environment.up(UpRequest(replicas=len(self.replicas)))

    def remove(self, *, keep: bool = False) -> None:
        """Stop every process; remove the folder, unless it is to be kept for a look."""
        for name in tuple(self._paused):
            self.wake(name)
        with contextlib.suppress(OpsError):
            self._environment.down()
        if not keep:
            with contextlib.suppress(OSError):
                shutil.rmtree(postgres.data_home(self.layout), ignore_errors=True)
            shutil.rmtree(self.home, ignore_errors=True)

    # -- processes ----------------------------------------------------------------------------

    def alive(self, name: str) -> bool:
        """Whether it lives; a paused process does."""
        started = self._children.get(name)
        if started is not None:
            started.child.poll()  # reap it, if it is dead
        return self._table.alive(name) is not None

    def ready(self, name: str) -> bool:
        """Whether it lives and serves."""
        record = self._table.alive(name)
        return record is not None and self._spec(name).ready(record.pid)

    def kill(self, name: str) -> bool:
        """`kill -9`; False if it was dead already."""
        return self._signal(name, signal.SIGKILL)

    def pause(self, name: str) -> bool:
        """SIGSTOP: it keeps its connections and locks, and does nothing."""
        self._paused.add(name)
        return self._signal(name, signal.SIGSTOP)

    def wake(self, name: str) -> bool:
        """SIGCONT."""
        self._paused.discard(name)
        return self._signal(name, signal.SIGCONT)

    def start(self, name: str) -> None:
        """Start a dead process again; does not wait until it serves.

        Raises:
            OpsError: not now (its port is still held, say); try again.
        """
        self._table.stop([name], 0.0)  # what is left of its session
        if name == POSTGRES:
            postgres.clear_stale_pid(postgres.locate(self.layout))
        self._children[name] = self._table.start(self._spec(name))

    def _signal(self, name: str, number: signal.Signals) -> bool:
        record = self._table.alive(name)
        process = record.process() if record else None
        if process is None:
            return False
        process.send_signal(number)
        return True

    def _spec(self, name: str) -> ProcessSpec:
        if name == POSTGRES:
            return postgres.specification(self.layout, postgres.locate(self.layout))
        specs = Specs(self.layout, keyring.database_urls(self.layout, None))
        return specs.workbench(name, Faults()) if colour_of(name) else specs.neighbour(name)

    # -- what it holds ------------------------------------------------------------------------

    def url_of(self, name: str) -> str:
        """Where a process is asked directly."""
        return self.layout.url_of(name)

    def token(self, tenant: str) -> str:
        """A tenant's bearer token."""
        return credentials.tenant_token(self.layout, tenant)

    def database(self) -> psycopg.Connection[tuple[object, ...]]:
        """A connection as the superuser, to read the service's database.

        Raises:
            psycopg.OperationalError: the server is not up.
        """
        admin = keyring.database_urls(self.layout, None).admin
        return psycopg.connect(admin, dbname=keyring.SERVICE_DATABASE, connect_timeout=2)

    @property
    def siem_events(self) -> Path:
        """What the SIEM has on disk."""
        return self.layout.home / "siem" / "events.jsonl"

    @property
    def audit_folder(self) -> Path:
        """Where the file backup is, with what was rotated out of it."""
        return self.layout.home / "audit"

    @property
    def ledger_public_key(self) -> Path:
        """The key that checkpoints are checked with."""
        return self.layout.home / "trust" / _LEDGER_KEY

    def crashes(self) -> list[str]:
        """Requests that ended in an error that is not the service's own, by its type and place."""
        found = []
        for name in self.replicas:
            lines = self.layout.log_of(name).read_text("utf-8", "replace").splitlines()
            crashed = [line for line in lines if '"request_crashed"' in line]
            found += [f"{name}: {_last_lines_of(line)}" for line in crashed]
        return found

    def last_words(self, name: str) -> str:
        """The end of a process's log."""
        return self._table.tail(name)


def _last_lines_of(line: str) -> str:
    """The end of a traceback in a log line: the place and the error."""
    try:
        told = str(json.loads(line).get("exception", ""))
    except ValueError:
        told = line
    return " | ".join(part.strip() for part in told.strip().splitlines()[-3:])[-400:]
