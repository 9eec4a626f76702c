"""Three-step operations: the operation engine beside a raw DBOS workflow of the same HTTP calls.

Each side is a process of its own against the same server and the same receiver. Ours records
every intent and outcome in the ledger, keeps its lease, retries, compensates and can be cancelled;
the raw workflow keeps its steps and calls, and no more.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
from _postgres import Database, cpu_between
from _rounds import Round, Side, beside, require
from _table import Row
from psycopg import sql

REGION, PEER_SCHEMA = "bench-operations", "dbos_raw"
OURS, PEER = "operation engine", "raw DBOS"
_SIDES = {OURS: "governed", PEER: "raw"}
_HERE = Path(__file__).parent
LEAST_OF_PEER = 0.7
_WARM_UP = 16  # operations of each side, not counted
_ANSWER_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 20.0


class Child:
    """A process of this folder that answers a line with a line."""

    def __init__(self, script: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_HERE / script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, line: str) -> None:
        """Write a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def hear(self) -> Any:
        """The next line, as JSON; the process is killed if there is none in time."""
        assert self._process.stdout is not None
        watchdog = threading.Timer(_ANSWER_TIMEOUT_S, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        if not line:
            raise RuntimeError(f"{self._process.args!r} ended, or did not answer")
        return json.loads(line)

    def close(self) -> None:
        """End its input; kill it if it does not end."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def _child(script: str) -> Iterator[Child]:
    child = Child(script)
    try:
        yield child
    finally:
        child.close()


class _Bench:
    """Both sides and the receiver; counts what each was acknowledged."""

    def __init__(
        self, database: Database, receiver_url: str, children: dict[str, Child], at_once: int
    ) -> None:
        self._database = database
        self._receiver_url = receiver_url
        self._children = children
        self._at_once = at_once
        self._repeated = dict.fromkeys(children, 0)
        self._ended = {(name, refuse): 0 for name in children for refuse in (False, True)}

    def compare(self, *, rounds: int, operations: int, refuse: bool) -> list[Row]:
        """Alternate rounds of so many operations."""
        sides = {name: Side(name) for name in self._children}
        for turn in range(rounds + 1):
            for name in random.sample(list(sides), k=len(sides)):
                made = self._round(name, operations if turn else _WARM_UP, refuse=refuse)
                if turn:  # the first is the warm-up
                    sides[name].rounds.append(made)
        what = "compensated: third call refused, two undone" if refuse else "completed"
        rows = beside(
            f"three-step operations, {what}, {self._at_once} at once",
            list(sides.values()),
            OURS,
            per="operation",
            at_least={PEER: LEAST_OF_PEER} if not refuse else {},
        )
        if any(self._repeated.values()):
            calls = ", ".join(f"{count} of {name}" for name, count in self._repeated.items())
            print(f"  calls repeated so far, without effect: {calls}")
        return rows

    def _round(self, name: str, operations: int, *, refuse: bool) -> Round:
        job = {"operations": operations, "at_once": self._at_once, "refuse": refuse}
        before = self._database.cpu_s()
        self._children[name].tell(json.dumps(job))
        answer = self._children[name].hear()
        database_cpu_s = cpu_between(before, self._database.cpu_s())
        self._ended[name, refuse] += operations
        counts = httpx.post(f"{self._receiver_url}/take", trust_env=False).json()
        # A call whose connection broke is made again, under its key: no effect happens twice
        self._repeated[name] += counts.pop("repeated")
        require(
            f"effects at the receiver, of {name}",
            counts,
            {
                "done": operations * (2 if refuse else 3),
                "undone": operations * 2 if refuse else 0,
                "refused": operations if refuse else 0,
            },
        )
        require(f"latencies of {name}", len(answer["latencies_s"]), operations)
        return Round(**answer, database_cpu_s=database_cpu_s)

    def check(self) -> None:
        """The ledger and both engines hold every operation that ended, and its end."""
        completed, compensated = (self._ended[OURS, refuse] for refuse in (False, True))
        with psycopg.connect(self._database.owner_url) as owner:
            kinds: dict[str, int] = dict(
                owner.execute(
                    "SELECT kind, count(*) FROM mc.ledger_event WHERE region = %s GROUP BY kind",
                    (REGION,),
                ).fetchall()
            )
            both = completed + compensated
            expected = {
                "request.accepted": both,
                "operation.started": both,
                "step.intended": 3 * both,
                "step.done": 3 * completed + 2 * compensated,
                "step.failed": compensated,
                "compensation.intended": 2 * compensated,
                "compensation.done": 2 * compensated,
                "operation.completed": completed,
                "reply.released": completed,
                "operation.compensated": compensated,
            }
            require("events by kind", kinds, {k: n for k, n in expected.items() if n})
            tasks = owner.execute(
                "SELECT state, count(*) FROM mc.task WHERE tenant LIKE 'BENCH%' GROUP BY state"
            ).fetchall()
            states = {"TASK_STATE_COMPLETED": completed, "TASK_STATE_FAILED": compensated}
            require("tasks by state", dict(tasks), {k: n for k, n in states.items() if n})
            for name, schema in ((OURS, "dbos"), (PEER, PEER_SCHEMA)):
                statuses = owner.execute(
                    sql.SQL(
                        "SELECT status, count(*) FROM {}.workflow_status GROUP BY status"
                    ).format(sql.Identifier(schema))
                ).fetchall()
                ended = sum(self._ended[name, refuse] for refuse in (False, True))
                require(f"workflows of {name}", dict(statuses), {"SUCCESS": ended})


def measure(database: Database, *, at_once: int, rounds: int, operations: int) -> list[Row]:
    """Operations that complete, then operations that compensate.

    Args:
        operations: Of each side in each round.

    Raises:
        CheckFailed: a count at the receiver, in the ledger or in an engine is not what it must be.
    """
    with ExitStack() as stack:
        receiver = stack.enter_context(_child("_receiver.py"))
        receiver_url = f"http://127.0.0.1:{receiver.hear()}"
        children = {name: stack.enter_context(_child("_operation_side.py")) for name in _SIDES}
        for name, child in children.items():
            settings = {
                "side": _SIDES[name],
                "database_url": database.service_url,
                "receiver_url": receiver_url,
                "region": REGION,
                "peer_engine_schema": PEER_SCHEMA,
            }
            child.tell(json.dumps(settings))
        for child in children.values():
            child.hear()
        bench = _Bench(database, receiver_url, children, at_once)
        rows = [
            row
            for refuse in (False, True)
            for row in bench.compare(rounds=rounds, operations=operations, refuse=refuse)
        ]
        bench.check()
        return rows
