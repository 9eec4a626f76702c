"""Durable audited requests and three-step operations, beside raw inserts and raw DBOS, in one run.

All sides write to one PostgreSQL of this run's own, with fsync on. The peers do the bare work: the
same bytes inserted, the same HTTP calls as durable steps. The governed side always does that and
more: a Merkle log, exactly-once recording, row-level security; sagas, leases, an event for every
intent and outcome. Policy and screening are not in here, `gateway.py` has them.

Rounds alternate, so that drift of the machine meets all. What is printed are ratios; absolute
figures belong to the machine. Everything acknowledged is counted afterwards, in the ledger and at
the receiver: if a count is off, that is said and the exit code is 2.

    make bench
    python benchmarks/durability.py --quick
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

import _operations
import _requests
from _postgres import durable_postgres
from _rounds import CheckFailed
from _table import Row, add_option, finish


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rounds", type=int, default=5, help="alternating rounds of each side")
    options.add_argument("--seconds", type=float, default=1.0, help="of a round of requests")
    options.add_argument("--operations", type=int, default=60, help="in a round of operations")
    options.add_argument("--clients", type=int, nargs="+", default=[1, 16, 64])
    options.add_argument("--at-once", type=int, default=8, help="operations at once")
    options.add_argument("--only", choices=["requests", "operations"])
    options.add_argument("--quick", action="store_true", help="about half a minute, rough figures")
    add_option(options)
    given = options.parse_args()
    if given.quick:
        given.rounds, given.seconds, given.operations = 2, 0.5, 16
    return given


def _measure(given: argparse.Namespace) -> list[Row]:
    rows: list[Row] = []
    with durable_postgres(_operations.PEER_SCHEMA) as database:
        print(
            f"{os.cpu_count()} cores; PostgreSQL with fsync on, a synced page takes"
            f" {database.sync_ms:.2f} ms here; figures from {given.rounds} alternating rounds"
        )
        if given.only != "operations":
            rows += asyncio.run(
                _requests.measure(
                    database, clients=given.clients, rounds=given.rounds, seconds=given.seconds
                )
            )
        if given.only != "requests":
            rows += _operations.measure(
                database, at_once=given.at_once, rounds=given.rounds, operations=given.operations
            )
    return rows


def main() -> int:
    """Measure and check; 1 if a target is missed, 2 if a check failed."""
    given = _options()
    try:
        rows = _measure(given)
    except CheckFailed as error:
        print(f"check failed: {error}", file=sys.stderr)
        return 2
    print("all counts checked")
    return finish(rows, given.rows)


if __name__ == "__main__":
    sys.exit(main())
