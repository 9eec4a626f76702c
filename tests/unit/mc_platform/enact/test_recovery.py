"""A replica killed with `kill -9` amid an operation, and started again under the same name."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

pytestmark = pytest.mark.slow

_REPLICA = Path(__file__).with_name("replica.py")
_CATALOGUE = Path(__file__).parents[4] / "deploy" / "local" / "catalogue.toml"
CHARGE, COURIER = "/payments/charges", "/courier/bookings"


def request(item: str = "kettle") -> dict[str, Any]:
    operation_id = str(uuid.uuid4())
    return {
        "id": operation_id,
        "tenant": "TENANT_001",
        "principal": "principal-1",
        "task_id": f"task-{operation_id}",
        "operation": "place-order",
        "input": {
            "item": item,
            "quantity": 1,
            "customer": "C-1",
            "amount_cents": 5,
            "address_ref": "A-1",
        },
        "decision_id": "decision-1",
    }


class Replicas:
    """Starts replicas of one name, and kills them."""

    def __init__(self, url: str, receiver: Any) -> None:
        text = _CATALOGUE.read_text(encoding="utf-8")
        for name in ("MC_FULFILMENT_AGENT_URL", "MC_RECORDS_AGENT_URL"):
            text = text.replace(f"${{{name}}}", receiver.url)
        self._settings = {"url": url, "executor_id": f"blue-{uuid.uuid4()}", "catalogue": text}
        self._processes: list[subprocess.Popen[str]] = []

    def start(
        self, *requests: dict[str, Any], cancel: tuple[str, ...] = ()
    ) -> subprocess.Popen[str]:
        settings = {**self._settings, "requests": requests, "cancel": cancel}
        process = subprocess.Popen(
            [sys.executable, _REPLICA, json.dumps(settings)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._processes.append(process)
        return process

    def kill_all(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def read_line(process: subprocess.Popen[str]) -> str:
    """The next line of a replica; a replica that says nothing for long is killed."""
    assert process.stdout is not None
    watchdog = threading.Timer(20, process.kill)
    watchdog.start()
    try:
        return process.stdout.readline().strip()
    finally:
        watchdog.cancel()


@pytest.fixture
def replicas(engine_url: str, receiver: Any) -> Iterator[Replicas]:
    made = Replicas(engine_url, receiver)
    yield made
    made.kill_all()


def ledger(url: str, operation_id: str) -> list[str]:
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT kind, detail FROM ledger ORDER BY index").fetchall()
    return [kind for kind, detail in rows if json.loads(detail)["operation_id"] == operation_id]


@pytest.mark.parametrize(
    ("item", "killed_at", "outcome"),
    [("kettle", CHARGE, "completed"), ("unbookable", "/payments/refunds", "compensated")],
)
def test_killed_replica_ends_its_operation_after_restart(
    replicas: Replicas,
    receiver: Any,
    gate: Any,
    engine_url: str,
    item: str,
    killed_at: str,
    outcome: str,
) -> None:
    """Killed after an effect and before its answer: the operation ends, no effect is had twice."""
    receiver.gates[killed_at] = gate()
    operation = request(item)
    first = replicas.start(operation)
    assert read_line(first) == "ready"
    assert receiver.gates[killed_at].arrived.wait(10)
    first.kill()
    first.wait()
    receiver.gates[killed_at].open.set()
    second = replicas.start()
    lines = [read_line(second), read_line(second)]
    assert json.dumps({"id": operation["id"], "outcome": outcome}) in lines
    assert all(times == 1 for times in receiver.applied.values())
    assert len(receiver.undone) == len(set(receiver.undone))
    assert len(receiver.standing) == (3 if outcome == "completed" else 0)
    told = ledger(engine_url, operation["id"])
    assert told[0] == "operation.started"
    assert told[-1] == f"operation.{outcome}"
    assert sum(kind.startswith("operation.") for kind in told) == 2


def test_cancel_survives_the_kill(
    replicas: Replicas, receiver: Any, gate: Any, engine_url: str
) -> None:
    """A cancel acknowledged before the kill is honoured after the restart."""
    receiver.gates[CHARGE] = gate()
    operation = request()
    first = replicas.start(operation, cancel=(operation["id"],))
    assert read_line(first) == "ready"
    first.kill()
    first.wait()
    receiver.gates[CHARGE].open.set()
    second = replicas.start()
    lines = [read_line(second), read_line(second)]
    assert json.dumps({"id": operation["id"], "outcome": "compensated"}) in lines
    assert COURIER not in receiver.paths()
    assert receiver.standing == []
    with psycopg.connect(engine_url) as connection:
        row = connection.execute(
            "SELECT state FROM task_states WHERE id = %s", (operation["task_id"],)
        ).fetchone()
    assert row == ("TASK_STATE_CANCELED",)


def test_effect_of_a_killed_run_is_undone_though_the_repeat_is_refused(
    replicas: Replicas, receiver: Any, gate: Any, engine_url: str
) -> None:
    """A receiver that forgot the key refuses the repeat: the first run's effect is undone by key."""
    receiver.gates[CHARGE] = gate()
    operation = request()
    first = replicas.start(operation)
    assert read_line(first) == "ready"
    assert receiver.gates[CHARGE].arrived.wait(10)
    first.kill()
    first.wait()
    receiver.forget()
    receiver.script[CHARGE] = [409]
    receiver.gates[CHARGE].open.set()
    second = replicas.start()
    lines = [read_line(second), read_line(second)]
    assert json.dumps({"id": operation["id"], "outcome": "compensated"}) in lines
    assert receiver.standing == []
    assert "compensation.done" in ledger(engine_url, operation["id"])
