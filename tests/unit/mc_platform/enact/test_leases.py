"""Leases: who may run operations, by the database's clock and by one's own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from mc_platform.adapters.postgres.leases import PostgresLeases
from mc_platform.enact.leases import Holder, LeaseKeeper, Renewal, Waiting

BLUE = Holder("blue-1", "process-a", "1.0")


class MemoryLeases:
    """Leases of one holder, answered as scripted; counts the renewals."""

    def __init__(self) -> None:
        self.answers: list[Renewal | Exception] = []
        self.dead: list[str] = []
        self.orphans: list[str] = []
        self.renewals = 0
        self.released = False

    def claim(self, holder: Holder, ttl_s: float) -> None:
        pass

    def renew(self, holder: Holder, ttl_s: float) -> Renewal:
        self.renewals += 1
        answer = self.answers.pop(0) if self.answers else Renewal.kept
        if isinstance(answer, Exception):
            raise answer
        return answer

    def release(self, holder: Holder) -> None:
        self.released = True

    def unrun(self, holder: Holder, running: Sequence[str], older_than_s: float) -> Sequence[str]:
        return [name for name in self.orphans if name not in running]

    def abandoned(self, application_version: str) -> Sequence[str]:
        return self.dead

    def reassign(self, application_version: str) -> int:
        return 0

    def waiting(self) -> Waiting:
        return Waiting(0, 0)

    def live(self) -> dict[str, str]:
        return {}


class Clock:
    """Stands still until told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def keeper(
    leases: MemoryLeases,
    clock: Clock,
    adopted: list[list[str]],
    heartbeat_s: float = 0.01,
    **more: Any,
) -> LeaseKeeper:
    return LeaseKeeper(
        leases=leases,
        holder=BLUE,
        adopt=more.pop("adopt", adopted.append),
        **more,
        ttl_s=8.0,
        heartbeat_s=heartbeat_s,
        monotonic=clock,
    )


def test_a_paused_process_knows_by_its_own_clock_that_its_lease_is_over() -> None:
    """Nothing tells it but the clock; before the next heartbeat it holds nothing."""
    clock = Clock()
    made = keeper(MemoryLeases(), clock, [], heartbeat_s=60)
    made.start()
    assert made.held(1)
    clock.now += 8.0
    assert not made.held(1)
    made.stop()


def test_a_lost_lease_ends_the_term_and_takes_up_what_is_left(wait_until: Any) -> None:
    """What ran before is given up, and what of it nobody took goes back to the queue."""
    leases, adopted = MemoryLeases(), []
    leases.answers = [Renewal.kept, Renewal.lost]
    made = keeper(leases, Clock(), adopted)
    made.start()
    wait_until(lambda: made.term == 2, what="a new term")
    wait_until(lambda: adopted == [["blue-1"]], what="its own operations are taken up")
    assert made.held(2)
    assert not made.held(1)
    made.stop()
    assert leases.released


def test_a_second_process_of_the_name_ends_the_first_ones_rights(wait_until: Any) -> None:
    """Two processes under one replica's name never both run operations."""
    leases = MemoryLeases()
    leases.answers = [Renewal.superseded] * 1000
    made = keeper(leases, Clock(), [])
    made.start()
    wait_until(lambda: made.superseded, what="superseded")
    assert not made.held()
    made.stop()
    assert not leases.released


def test_nobody_is_adopted_right_after_an_outage(wait_until: Any) -> None:
    """After the store was away, others get the time of three heartbeats to renew first."""
    leases, adopted = MemoryLeases(), []
    leases.dead = ["green-1"]
    leases.answers = [Renewal.kept, Renewal.kept, OSError()]

    def adopt(executor_ids: list[str]) -> None:
        adopted.append((executor_ids, leases.renewals))

    made = keeper(leases, Clock(), [], adopt=adopt)
    made.start()
    wait_until(lambda: adopted, what="adoption after a steady while")
    made.stop()
    executor_ids, renewals = adopted[0]
    assert executor_ids == ["green-1"]
    assert renewals >= 3 + 3, "two that held and an outage, then three that held"


def test_who_retires_holds_its_lease_and_adopts_nobody(wait_until: Any) -> None:
    """What it runs may end; what others left is for those who stay."""
    leases, adopted, queued = MemoryLeases(), [], []
    leases.dead, leases.orphans = ["blue-2"], ["operation-1"]
    made = keeper(leases, Clock(), adopted, requeue=queued.append)
    made.retiring = True
    made.start()
    wait_until(lambda: leases.renewals >= 10, what="ten heartbeats")
    assert made.held(1)
    assert (adopted, queued) == ([], [])
    made.stop()
    assert leases.released


def test_taking_up_ones_own_is_tried_until_it_succeeds(wait_until: Any) -> None:
    """The lease is held again, so nobody else would look after what is left."""
    leases, adopted = MemoryLeases(), []
    leases.answers = [Renewal.lost]
    failures = [OSError(), OSError()]

    def adopt(executor_ids: list[str]) -> None:
        if failures:
            raise failures.pop()
        adopted.append(executor_ids)

    made = keeper(leases, Clock(), adopted, adopt=adopt)
    made.start()
    wait_until(lambda: adopted == [["blue-1"]], what="it succeeded at last")
    made.stop()


def test_what_was_claimed_and_is_not_run_is_queued_again(wait_until: Any) -> None:
    """A claim whose commit's answer was lost stands at rest, and no thread has it."""
    leases, queued = MemoryLeases(), []
    leases.orphans = ["runs-here", "orphan"]

    def requeue(operation_id: str) -> None:
        queued.append(operation_id)
        leases.orphans.remove(operation_id)

    made = keeper(leases, Clock(), [], running=lambda: ["runs-here"], requeue=requeue)
    made.start()
    wait_until(lambda: queued, what="it is queued again")
    made.stop()
    assert queued == ["orphan"]


@pytest.fixture
def leases(engine_url: str) -> PostgresLeases:
    with psycopg.connect(engine_url, autocommit=True) as connection:
        connection.execute("DELETE FROM mc.operation_lease")
        connection.execute("DELETE FROM dbos.workflow_status")
        connection.execute("DELETE FROM dbos.operation_outputs")
    return PostgresLeases(engine_url, engine_schema="dbos")


def operation(
    url: str, name: str, *, executor: str, status: str = "PENDING", version: str = "1.0"
) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO dbos.workflow_status (workflow_uuid, status, name, executor_id,"
            " application_version, recovery_attempts, queue_name, created_at, updated_at, priority)"
            " VALUES (%s, %s, 'mc.operation', %s, %s, 0, 'mc.operations', 0, 0, 0)",
            (name, status, executor, version),
        )


def lapse(url: str, executor: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "UPDATE mc.operation_lease SET expires_at = now() - interval '1 second'"
            " WHERE executor_id = %s",
            (executor,),
        )


def test_a_lapsed_lease_that_nobody_noticed_is_renewed(
    leases: PostgresLeases, engine_url: str
) -> None:
    """The database was down for all: whoever comes back first takes nothing from the others."""
    leases.claim(BLUE, 8)
    lapse(engine_url, "blue-1")
    assert leases.renew(BLUE, 8) is Renewal.kept
    assert leases.live() == {"blue-1": "1.0"}


def test_a_lapsed_lease_is_lost_to_who_finds_it(leases: PostgresLeases, engine_url: str) -> None:
    """The finder learns of the unfinished operations, the holder that it has lost."""
    operation(engine_url, "op-1", executor="blue-1")
    leases.claim(BLUE, 8)
    assert leases.abandoned("1.0") == []
    lapse(engine_url, "blue-1")
    assert leases.abandoned("1.0") == ["blue-1"]
    assert leases.renew(BLUE, 8) is Renewal.lost
    assert leases.renew(BLUE, 8) is Renewal.kept
    assert leases.abandoned("1.0") == []


def test_a_process_that_takes_the_name_over_supersedes(leases: PostgresLeases) -> None:
    """After a restart the new process holds the lease; the old one, should it live, does not."""
    leases.claim(BLUE, 8)
    leases.claim(Holder("blue-1", "process-b", "1.0"), 8)
    assert leases.renew(BLUE, 8) is Renewal.superseded


def test_a_lease_that_was_forgotten_is_taken_anew(leases: PostgresLeases, engine_url: str) -> None:
    """Who comes back after days finds no lease: it has lost, and may work on."""
    leases.claim(BLUE, 8)
    with psycopg.connect(engine_url, autocommit=True) as connection:
        connection.execute("DELETE FROM mc.operation_lease")
    assert leases.renew(BLUE, 8) is Renewal.lost
    assert leases.renew(BLUE, 8) is Renewal.kept


def test_what_is_ones_own_and_does_not_run_is_found(
    leases: PostgresLeases, engine_url: str
) -> None:
    """By the database's time, and only what is claimed under this name and version."""
    operation(engine_url, "orphan", executor="blue-1")
    operation(engine_url, "runs", executor="blue-1")
    operation(engine_url, "queued", executor="blue-1", status="ENQUEUED")
    operation(engine_url, "anothers", executor="blue-2")
    assert leases.unrun(BLUE, ["runs"], 5.0) == ["orphan"]


def test_operations_of_a_version_that_nobody_runs_wait_and_are_told(
    leases: PostgresLeases, engine_url: str
) -> None:
    """What old code has begun waits for old code; what no code has begun moves on."""
    operation(engine_url, "begun", executor="old-1", version="0.9")
    operation(engine_url, "queued", executor="old-1", version="0.9", status="ENQUEUED")
    with psycopg.connect(engine_url) as connection:  # as the engine marks what waits sealed
        connection.execute(
            "INSERT INTO dbos.operation_outputs (workflow_uuid, function_id, function_name)"
            " VALUES ('queued', 0, 'mc.sealed')"
        )
    leases.claim(BLUE, 8)
    assert leases.abandoned("1.0") == []
    assert leases.waiting() == Waiting(queued=0, for_version=2)
    assert leases.reassign("1.0") == 1
    assert leases.waiting() == Waiting(queued=1, for_version=1)
    leases.claim(Holder("old-2", "process-c", "0.9"), 8)
    assert leases.waiting() == Waiting(queued=1, for_version=0)
    assert leases.abandoned("0.9") == ["old-1"]
