"""Whether processes serve: what each says of itself, and waiting until all say so."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from mc_ops.environments.faults import shown
from mc_ops.environments.interface import BASELINE, STANDS_STILL, Group, ProcessStatus, State
from mc_ops.environments.local.layout import DATABASES, LINK, Layout, colour_of
from mc_ops.environments.local.processes import ProcessRecord, ProcessTable, stands_still
from mc_ops.environments.local.records import Records
from mc_ops.environments.workspace import HOST
from mc_ops.errors import CouldNotTell
from mc_ops.outgoing.loopback import ask

NO_ANSWER = "does not answer"
PATIENCE_S = 10.0  # for what runs already, and may have been started a moment ago
_TIMEOUT_S = 3.0
_POLL_S = 0.1
_SSL_REQUEST = struct.pack("!ii", 8, 80877103)  # PostgreSQL answers it with one byte


@dataclass(frozen=True, slots=True)
class Health:
    """What a process says of itself: whether it can serve, the word for it, faults in it.

    Attributes:
        replica: Its name, as it knows it.
        code: The digest of the code that it runs.
        catalogue: The digest of the catalogue that it began with.
        ships: Whether it, and not another replica, ships to the SIEM (or there is none).
    """

    healthy: bool
    word: str
    faults: Mapping[str, Any] = field(default_factory=dict)
    replica: str = ""
    code: str = ""
    catalogue: str = ""
    ships: bool = False


def health_of(record: ProcessRecord) -> Health:
    """What a recorded process says of itself, on the port that it was started with."""
    if stands_still(record):
        return Health(healthy=False, word=STANDS_STILL)
    if record.name in (*DATABASES, LINK):  # what the link leads to first are both databases
        ports = (record.port, record.port + 1) if record.name == LINK else (record.port,)
        answers = any(map(_postgres_answers, ports))
        return Health(healthy=answers, word="ok" if answers else NO_ANSWER)
    answer = ask(record.port, "/health", _TIMEOUT_S)
    if answer is None:
        return Health(healthy=False, word=NO_ANSWER)
    status, content = answer
    try:
        body = _object(json.loads(content))
    except ValueError:
        return Health(healthy=False, word="answers no JSON")
    running, dependencies = _object(body.get("running")), body.get("dependencies")
    shipper = _object(_object(dependencies).get("siem")).get("shipper")
    return Health(
        healthy=status == HTTPStatus.OK,
        word=str(body.get("status", status)),
        faults=_object(body.get("faults")),
        replica=str(body.get("replica", "")),
        code=str(running.get("code") or ""),
        catalogue=str(running.get("catalogue") or ""),
        ships=isinstance(dependencies, dict) and shipper not in ("standby", "starting"),
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _postgres_answers(port: int) -> bool:
    # To connect is not enough: the kernel accepts for a server that is stopped or hangs.
    try:
        with socket.create_connection((HOST, port), timeout=_TIMEOUT_S) as connection:
            connection.sendall(_SSL_REQUEST)
            return len(connection.recv(1)) == 1
    except OSError:
        return False


def require_healthy(table: ProcessTable, wanted: Sequence[str]) -> None:
    """See that each of these processes can serve.

    Raises:
        CouldNotTell: one does not, even after a while.
    """
    names = list(dict.fromkeys(wanted))
    if not names:
        return

    def health(name: str) -> Health:
        record = table.alive(name)
        return health_of(record) if record else Health(healthy=False, word="died")

    deadline = time.monotonic() + PATIENCE_S
    while True:
        failing: dict[str, list[str]] = {}
        with ThreadPoolExecutor(max_workers=len(names)) as pool:
            for name, found in zip(names, pool.map(health, names), strict=True):
                if not found.healthy:
                    failing.setdefault(found.word, []).append(name)
        if not failing:
            return
        if time.monotonic() > deadline:
            raise hanging(failing)
        time.sleep(_POLL_S)


def hanging(failing: Mapping[str, Sequence[str]]) -> CouldNotTell:
    """The error that names processes which run and do not serve, by what is wrong with them."""
    text = "; ".join(f"running but {word}: {', '.join(names)}" for word, names in failing.items())
    first = next(name for names in failing.values() for name in names)
    return CouldNotTell(
        text, hint=f"mcctl logs {first}; `mcctl down`, then `mcctl up`, starts all of it anew"
    )


def wait_healthy(
    records: Records, group: Group, timeout_s: float, *, hint: str
) -> list[ProcessRecord]:
    """Wait until each replica of a group answers /health with 200.

    Args:
        records: Of the platform.
        group: Whose replicas.
        timeout_s: For how long.
        hint: What starts them.

    Raises:
        CouldNotTell: there is none, one died, or it took longer.
    """
    what = "the fresh baseline" if group == BASELINE else group
    deadline = time.monotonic() + timeout_s
    while True:
        found = records.of(group)
        if not found:
            raise CouldNotTell(f"no replica of {what} was started", hint=hint)
        gone = [record for record in found if not record.process()]
        if gone:
            names = ", ".join(record.name for record in gone)
            raise CouldNotTell(f"{names} died{records.table.tail_of(gone[0])}", hint=hint)
        slow = [record.name for record in found if not health_of(record).healthy]
        if not slow:
            return found
        if time.monotonic() > deadline:
            raise CouldNotTell(
                f"{', '.join(slow)} not ready after {timeout_s:g} s", hint=f"mcctl logs {slow[0]}"
            )
        time.sleep(_POLL_S)


def status_of(name: str, records: Records, layout: Layout) -> ProcessStatus:
    """A process's line of `mcctl status`, whatever is in its record."""
    colour, port = colour_of(name), layout.port_of(name)
    try:
        record = records.table.read(name)
    except CouldNotTell:
        found = records.recognised(name, layout)
        state, pid = (State.running, found.pid) if found else (State.dead, None)
        return ProcessStatus(name, state, pid, port, None, "damaged record", colour=colour)
    if record is None:
        return ProcessStatus(name, State.stopped, None, port, None, "-", colour=colour)
    process = record.process()
    return ProcessStatus(
        name=name,
        state=State.running if process else State.dead,
        pid=record.pid,
        port=record.port,
        uptime_s=round(time.time() - record.started_at, 1) if process else None,
        health=health_of(record).word if process else "-",
        faults=shown(record.settings),
        colour=colour,
    )
