"""Clients of the platform on the cluster, and an account of all that they were promised.

They are those of the crash test (`tests/crash/load.py`): questions, orders that complete, are compensated or
are cancelled, on connections that are kept, each answer written down. So is the accounting.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import uuid
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx
import psycopg
from tests.cluster.conftest import until
from tests.cluster.platform import Platform
from tests.crash import evidence
from tests.crash.accounting import Account, account
from tests.crash.load import TENANTS, Acknowledgement, Kind, Load, order

_T = TypeVar("_T")
_PATIENCE_S = 60.0  # for one answer: this machine may be busy
_RATE_PER_S, _CLIENTS = 6.0, 12


class Clients:
    """Clients that ask the public Service all the time; in a thread, until `stop`.

    Args:
        folder: Takes their journal.
        attempt_s: How long one of them waits before it asks again.
    """

    def __init__(self, platform: Platform, folder: Path, *, attempt_s: float = _PATIENCE_S) -> None:
        self._platform = platform
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._url = platform.url()
        self._tenants = itertools.cycle(TENANTS)
        with self.database() as database:
            self._since = evidence.ledger_size(database)
        self.load = Load(
            url=self._url,
            tokens={tenant: platform.token(tenant) for tenant in TENANTS},
            journal=folder / "acknowledged.jsonl",
            rate_per_s=_RATE_PER_S,
            clients=_CLIENTS,
            seed=self._since,  # what they ask is another thing each time: a repeat would be answered from before
            attempt_s=attempt_s,
        )

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self.load.start())
        until(lambda: len(self.load.acknowledged) > 2 * _CLIENTS)  # each has a connection
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self.load.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def long_order(self, delay_s: float, *, at: str = "") -> str:
        """The id of an order of three steps of so many seconds each, which nobody waits for.

        Args:
            at: The address of a pod that is to accept it, which then begins it.
        """
        work = order(
            next(self._tenants),
            str(uuid.uuid4()),
            kind=Kind.background_order,
            delay_s=delay_s,
            background=True,
        )
        answer: Acknowledgement | None = self._do(self.load.send(work, at or None))
        assert answer is not None
        return answer.subject

    def stop(self) -> Account:
        """Ask nothing more, wait until all is at rest, and account for everything since the start."""
        self._do(self.load.stop())
        database = self.database()
        with database:
            until(lambda: sum(evidence.open_tasks(database)) == 0, 180)
            size = evidence.ledger_size(database)
            until(lambda: len({event.id for event in self._delivered()}) >= size - self._since, 120)
            events, tasks = list(evidence.ledger(database)), list(evidence.tasks(database))
        head, problem = evidence.signed_head(
            self._url, self._platform.workspace.ledger_key.read_bytes(), len(events)
        )
        effects = httpx.get(f"{self._agent()}/effects", timeout=30).json()["effects"]
        world = evidence.World(events, tasks, self._delivered(), effects, head, problem)
        made = account(world, self.load.acknowledged, since=self._since)
        made.figures["faults that clients met"] = dict(self.load.faults_met)
        return made

    def database(self) -> psycopg.Connection[Any]:
        """A connection as the superuser."""
        return psycopg.connect(self._platform.admin_url, dbname="mc", autocommit=True)

    def run_by(self, *operations: str) -> dict[str, str]:
        """Who runs each of these operations that have not ended; "" for one that waits to be run."""
        with self.database() as database:
            rows = database.execute(
                "SELECT workflow_uuid, CASE status WHEN 'PENDING' THEN executor_id ELSE '' END "
                "FROM dbos.workflow_status "
                "WHERE workflow_uuid = ANY(%s) AND status IN ('PENDING', 'ENQUEUED')",
                [list(operations)],
            )
            return dict(rows)

    def leases(self) -> dict[str, bool]:
        """Who holds a lease, and whether it was marked lost."""
        with self.database() as database:
            return dict(database.execute("SELECT executor_id, lost FROM mc.operation_lease"))

    def ended(self, *operations: str) -> bool:
        """Whether the tasks of all these operations have ended."""
        with self.database() as database:
            open_still = (
                "SELECT count(*) FROM mc.task WHERE id = ANY(%s) AND state LIKE '%%WORKING'"
            )
            row = database.execute(open_still, [list(operations)]).fetchone()
        return row is not None and row[0] == 0

    def _do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(300)

    def _delivered(self) -> list[evidence.Delivered]:
        """What the receiver has on disk of what was recorded since the start."""
        cat = ("-n", "mc-siem", "exec", "deploy/siem", "--", "cat", "/tmp/mc/siem/events.jsonl")
        lines = self._platform.cluster.kubectl(*cat).stdout.encode()
        return [one for one in evidence.delivered(lines) if one.index >= self._since]

    def _agent(self) -> str:
        found = self._platform.cluster.read("-n", "mc-agents", "service", "fulfilment-agent")
        return f"http://{found['spec']['clusterIP']}:8102"
