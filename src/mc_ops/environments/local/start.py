"""One start: what a call begins, in order, and undoes if it fails or is interrupted."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import psutil

from mc_ops.environments import credentials
from mc_ops.environments.interface import Colour, Say
from mc_ops.environments.local import applied, keyring, postgres, releases
from mc_ops.environments.local.health import PATIENCE_S, Health, health_of
from mc_ops.environments.local.layout import ARCHIVER, Layout
from mc_ops.environments.local.logs import open_log
from mc_ops.environments.local.processes import ProcessSpec, ProcessTable, Started
from mc_ops.environments.local.records import url_of
from mc_ops.environments.local.specs import Specs
from mc_ops.environments.local.traffic import Traffic
from mc_ops.environments.signals import uninterrupted
from mc_ops.environments.workspace import HOST
from mc_ops.errors import CouldNotTell, UnusableInput

_START_TIMEOUT_S = 60.0
_MIGRATE_TIMEOUT_S = 120.0
_POLL_S = 0.1


class Start:
    """What one call has begun. Left by an exception, it stops all of it, last begun first.

    Attributes:
        begun: The processes, in the order of their start.
    """

    def __init__(self, layout: Layout, table: ProcessTable, say: Say) -> None:
        """Begin nothing yet; `say` is told of each process."""
        self.begun: list[Started] = []
        self._layout = layout
        self._table = table
        self._say = say

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            return
        with uninterrupted():  # an impatient second Ctrl-C must not leave half of it behind
            for one in reversed(self.begun):
                with contextlib.suppress(OSError):  # the terminal may be what is gone
                    self._say(f"stopping {one.spec.name}, which this call had started")
                self._table.stop([one.spec.name])

    def lives(self, spec: ProcessSpec) -> bool:
        """Whether a process of that name lives already."""
        return self._table.alive(spec.name) is not None

    def processes(self, specs: Sequence[ProcessSpec]) -> None:
        """Start those that do not live; does not wait until they are ready.

        Raises:
            UnusableInput: a port is taken.
            CouldNotTell: one cannot be executed.
        """
        for spec in specs:
            if self._table.alive(spec.name):
                continue
            self._table.stop([spec.name])
            require_free_port(spec.name, spec.port)
            self._say(f"starting {spec.name} on {HOST}:{spec.port}")
            self.begun.append(self._table.start(spec))

    def wait_ready(self) -> None:
        """Wait until all that was begun is ready.

        Raises:
            CouldNotTell, UnusableInput: as `ProcessTable.wait_ready`.
        """
        self._table.wait_ready(self.begun, _START_TIMEOUT_S)

    def foundations(
        self, specs: Specs, replicas: Sequence[ProcessSpec], external: str | None
    ) -> None:
        """Database, neighbours and schema; ports of all that is to come are looked at first.

        Args:
            specs: How they are started.
            replicas: Those that are to be started then.
            external: Admin URL of a PostgreSQL that is not ours.
        """
        neighbours = [specs.neighbour(name) for name in self._layout.neighbours]
        planned = [*neighbours, *replicas]
        server = None if external else postgres.locate(self._layout)
        if server:
            planned.append(postgres.specification(self._layout, server))
        for name in ("edge", *(spec.name for spec in planned)):
            if not self._table.alive(name):
                self._table.stop([name])  # what a killed one left behind
                require_free_port(name, self._layout.port_of(name))
        if server and not self._table.alive("postgres"):
            if postgres.initialise(server, keyring.superuser_password(self._layout)):
                self._say("made a new database cluster")
            postgres.clear_stale_pid(server)
            self.processes([postgres.specification(self._layout, server)])
            self.wait_ready()
        if server and self._layout.archives_wal:
            self.processes([specs.archiver(server.binaries)])
        elif server:  # its line ended with a restore: one that was killed is no longer missed
            self._table.stop([ARCHIVER])
        self.processes(neighbours)
        if any(not self._table.alive(spec.name) for spec in replicas):
            self._migrate(specs, "migrate", "schema", external)
        elif not credentials.is_imported(self._layout):
            self._migrate(specs, "credentials", "credentials", external)

    def _migrate(self, specs: Specs, command: str, what: str, external: str | None) -> None:
        self._say(f"bringing the database's {what} up to date")
        argv, env = specs.administration(command)
        log = self._layout.log_of("migrate")
        imported = credentials.hashes(self._layout)
        offset = 0
        try:
            with open_log(log) as output:
                offset = os.fstat(output.fileno()).st_size
                subprocess.run(
                    argv,
                    env=env,
                    check=True,
                    timeout=_MIGRATE_TIMEOUT_S,
                    input=imported.encode(),
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
        except subprocess.CalledProcessError as error:
            kind = UnusableInput if error.returncode == UnusableInput.exit_code else CouldNotTell
            tail, hint = self._table.tail("migrate", offset), "mcctl logs migrate"
            if external:
                # What `migrate` calls so is what the user set under the other name.
                tail = tail.replace("MC_DATABASE_ADMIN_URL", "MC_DATABASE_URL")
                hint += "; MC_DATABASE_URL must be an administrator's URL of a server that runs"
            raise kind(
                f"the database's {what} could not be brought up to date "
                f"(status {error.returncode}){tail}",
                hint=hint,
            ) from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CouldNotTell(f"migrate could not be run: {error}") from error
        credentials.mark_imported(self._layout, imported)
        refused = credentials.strays(self._layout, applied.tenants())
        for line in applied.credential_changes(log, offset, refused):
            self._say(line)

    def wait_serving(self, traffic: Traffic, active: Colour | None) -> None:
        """Wait until each that was begun serves as itself, and the edge would send requests to it.

        Raises:
            CouldNotTell, UnusableInput: as `ProcessTable.wait_ready`, with the log's file.
        """
        self.wait_ready()
        traffic.send_to(active)
        deadline = time.monotonic() + PATIENCE_S
        waiting = list(self.begun)
        while waiting:
            unseen = traffic.not_ready()
            problems = {
                one.spec.name: why
                for one in waiting
                if (why := _why_not_serving(one, health_of(one.record), unseen))
            }
            waiting = [one for one in waiting if one.spec.name in problems]
            if waiting and time.monotonic() > deadline:
                first = waiting[0]
                raise CouldNotTell(
                    "; ".join(f"{name} was started and {why}" for name, why in problems.items())
                    + self._table.tail_of(first.record),
                    hint=f"mcctl logs {first.spec.name} ({self._layout.log_of(first.spec.name)})",
                )
            time.sleep(_POLL_S if waiting else 0)


def _why_not_serving(one: Started, health: Health, unseen: set[str]) -> str:
    """Why a replica does not serve yet, as a clause; empty when it does."""
    if not health.healthy:
        return f"does not serve ({health.word})"
    if health.replica not in ("", one.spec.name):
        return f"{health.replica} answers on its port"
    if health.code and not releases.is_code_of(one.spec.env, health.code):
        return "runs other code than it was started with"
    return "the edge has not seen it healthy" if url_of(one.record) in unseen else ""


def require_free_port(name: str, port: int) -> None:
    """See that `port` can be bound, before anything is started.

    Raises:
        UnusableInput: it is taken; the message says by whom, if the system tells.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            owner, home = _owner_of(port)
            stop = (
                f"stop that platform (MC_HOME={home} mcctl down)" if home else "stop that process"
            )
            raise UnusableInput(
                f"port {port}, wanted for {name}, is taken by {owner}",
                hint=f"{stop}, or set MC_EDGE_PORT to another range",
            ) from error


def _owner_of(port: int) -> tuple[str, str | None]:
    """Who listens on `port`, in words, and the `MC_HOME` of the platform that it belongs to."""
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections(kind="tcp"):
            address = connection.laddr
            listening = connection.status == psutil.CONN_LISTEN
            if listening and address and address.port == port and connection.pid:
                return _described(psutil.Process(connection.pid), port)
    return "another process", None


def _described(process: psutil.Process, port: int) -> tuple[str, str | None]:
    words = f"{process.name()} (pid {process.pid})"
    with contextlib.suppress(psutil.Error, OSError):
        env = process.environ()
        home = env.get("MC_HOME")
        if home and env.get("MC_PORT") == str(port):
            what = "the edge" if "MC_EDGE_STATE_FILE" in env else "a process"
            return f"{what} of an MC Platform, MC_HOME={home}: {words}", home
    return words, None
