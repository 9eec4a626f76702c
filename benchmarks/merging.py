"""CPU that a peer's database takes to merge what one request tells, row by row and in sets of a flush.

One session of a durable server stands for the subscription's: it adds rows as that does, and the triggers merge
them. CPU time of that one process (in steps of 10 ms), so that other work beside does not count; parsing of
the statements is in it, as the subscription's decoding would be.

    python benchmarks/merging.py [--flushes 200] [--size 40]
"""

from __future__ import annotations

import argparse
import sys
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import psutil
import psycopg
from _postgres import durable_postgres
from psycopg.types.json import Jsonb

_ADD = "INSERT INTO mc.region_change (region, kind, tenant, key, body) VALUES ('a', %s, %s, %s, %s)"
Body = dict[str, Any]


def _task(task_id: str, state: str, second: int) -> Body:
    at = f"2026-01-01T00:00:{second:02}Z"
    return {
        "id": task_id, "tenant": "T", "context_id": "c", "principal": "p", "message_id": task_id,
        "request_digest": "d", "state": f"TASK_STATE_{state}", "parts": '[{"text": "hello"}]',
        "status_text": "", "governance": "{}", "flow": "{}", "accepted_at": at, "updated_at": at,
        "accepted_in": "a",
    }  # fmt: skip


def _quotation(task_id: str) -> Body:
    return {"id": task_id, "tenant": "T", "week": "2026-01-05", "digests": [hash(task_id) >> 2]}


def _merge(connection: Any, kind: str, bodies: Sequence[Body], in_set: bool) -> None:
    with connection.transaction(), connection.cursor() as cursor:
        if in_set:
            cursor.execute(_ADD, (f"{kind}s", "PLATFORM", "first", Jsonb(list(bodies))))
        else:
            cursor.executemany(_ADD, [(kind, "T", each["id"], Jsonb(each)) for each in bodies])


def _measure(connection: Any, flushes: int, size: int) -> None:
    server = psutil.Process(connection.info.backend_pid)
    print("| of each request | row by row, us of CPU | in sets |")
    print("|---|---|---|")
    ids = {
        in_set: [[str(uuid.uuid4()) for _ in range(size)] for _ in range(flushes)]
        for in_set in (False, True)
    }
    steps: dict[str, tuple[str, Callable[[str], Body]]] = {
        "task, accepted": ("task", lambda one: _task(one, "SUBMITTED", 1)),
        "task, completed": ("task", lambda one: _task(one, "COMPLETED", 2)),
        "quotation": ("quotation", _quotation),
    }
    for name, (kind, body) in steps.items():
        spent = []
        for in_set in (False, True):
            began = sum(server.cpu_times()[:2])
            for flush in ids[in_set]:
                _merge(connection, kind, [body(one) for one in flush], in_set)
            spent.append(1e6 * (sum(server.cpu_times()[:2]) - began) / (flushes * size))
        print(f"| {name} | {spent[0]:.0f} | {spent[1]:.0f} |")


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flushes", type=int, default=200)
    parser.add_argument("--size", type=int, default=40)
    given = parser.parse_args()
    with (
        durable_postgres("merging") as database,
        psycopg.connect(database.owner_url, autocommit=True) as connection,
    ):
        connection.execute("SELECT mc.begin_replication('b', 'a')")
        connection.execute("SET session_replication_role = replica")
        _measure(connection, given.flushes, given.size)
        [refused] = connection.execute("SELECT count(*) FROM mc.region_change_refused").fetchall()
        if refused[0]:
            raise SystemExit(f"{refused[0]} rows were refused: nothing was measured")
    return 0


if __name__ == "__main__":
    sys.exit(main())
