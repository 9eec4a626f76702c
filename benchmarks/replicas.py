"""What 1, 2 and 4 replicas record together in one region, with the database near and far.

Each replica is a process with the journal and closed-loop clients, each of which records audited
requests (two commits, `_requests.py`). They share one PostgreSQL of this run's own, with fsync on,
behind a proxy of ours that delays every byte by 0, 1 or 5 ms each way. CPU is that of the replicas
and of PostgreSQL together, without the proxy's. Another version's journal stands beside today's with
`--old COMMIT`: its source in a work tree of git, in the same rounds, against the same database.

    make bench-scale
    python benchmarks/replicas.py --old 07335a4 --rounds 5
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from _postgres import Database, cpu_between, durable_postgres
from _table import Figure, Row, Series, add_option, finish

HERE = Path(__file__).parent
_OLD, _NEW = "old", "new"
# At each delay: what so many replicas record at least, in units of one
_TARGETS = {0.0: (), 1.0: ((2.0, 1.8), (4.0, 3.0)), 5.0: ((2.0, 1.2), (4.0, 1.5))}
_FLAT = 1.15  # CPU of an event at 4 replicas, in units of one

Measured = dict[tuple[str, float, int], list[dict[str, float]]]
"""Rounds, by side, delay in ms each way, and number of replicas."""


@contextmanager
def _process(*argv: object, **more: Any) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, *map(str, argv)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **more,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise RuntimeError("a process of the benchmark ended")
    return line.strip()


def _round(
    writers: list[subprocess.Popen[str]], database: Database, wanted: dict[str, Any]
) -> dict[str, float]:
    """One round of all these replicas at once."""
    before = database.cpu_s()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(json.dumps(wanted) + "\n")
        writer.stdin.flush()
    told = [json.loads(_line(writer)) for writer in writers]
    spent_s = sum(each["cpu_s"] for each in told) + cpu_between(before, database.cpu_s())
    return {
        "per_s": sum(each["events"] / each["elapsed_s"] for each in told),
        "cpu_us": spent_s * 1e6 / sum(each["events"] for each in told),
        "p50_ms": max(each["p50_ms"] for each in told),
    }


def _measure(given: argparse.Namespace, sources: dict[str, Path], database: Database) -> Measured:
    measured: Measured = defaultdict(list)
    before_port, _, after = database.service_url.rpartition(":")
    port, _, name = after.partition("/")
    with ExitStack() as stack:
        urls = {}
        for delay_ms in given.delays:
            urls[delay_ms] = database.service_url
            if delay_ms:
                proxy = stack.enter_context(_process(HERE / "_slow_proxy.py", port, delay_ms))
                urls[delay_ms] = f"{before_port}:{_line(proxy)}/{name}"
        argv = (HERE / "_replica_writer.py", given.clients, given.seconds)
        writers = {
            side: [
                stack.enter_context(_process(*argv, env={**os.environ, "PYTHONPATH": str(source)}))
                for _ in range(max(given.replicas))
            ]
            for side, source in sources.items()
        }
        for writer in [one for side in writers.values() for one in side]:
            _line(writer)
        settings = [(side, delay, n) for side in sources for delay in urls for n in given.replicas]
        for turn in range(given.rounds + 1):
            for side, delay_ms, number in random.sample(settings, k=len(settings)):
                wanted = {
                    "url": urls[delay_ms],
                    "region": f"bench-{side}-{delay_ms:g}-{number}",
                    "measured": turn > 0,
                }
                found = _round(writers[side][:number], database, wanted)
                if turn:  # the first is the warm-up
                    measured[side, delay_ms, number].append(found)
    return measured


def _figures(given: argparse.Namespace, measured: Measured) -> list[Figure]:
    def values(side: str, delay_ms: float, number: int, name: str) -> tuple[float, ...]:
        return tuple(one[name] for one in measured[side, delay_ms, number])

    figures: list[Figure] = []
    for side in sorted({side for side, _, _ in measured}):
        mark = "" if side == _NEW else f", {side}"
        for delay_ms in given.delays:
            where = f"{delay_ms:g} ms each way to PostgreSQL{mark}"

            def points(
                name: str, side: str = side, delay_ms: float = delay_ms
            ) -> tuple[tuple[float, tuple[float, ...]], ...]:
                return tuple((n, values(side, delay_ms, n, name)) for n in sorted(given.replicas))

            ours = side == _NEW and {1, 2, 4} <= set(given.replicas)
            figures += [
                Series(
                    what=f"ledger, {where}",
                    size="replicas",
                    unit="events/s",
                    points=points("per_s"),
                    at_least=_TARGETS.get(delay_ms, ()) if ours else (),
                ),
                Series(
                    what=f"ledger, {where}",
                    size="replicas",
                    unit="CPU us an event",
                    points=points("cpu_us"),
                    at_most=((4.0, _FLAT),) if ours else (),
                ),
                Series(
                    what=f"ledger, {where}", size="replicas", unit="ms p50", points=points("p50_ms")
                ),
            ]
    for delay_ms, number in [(delay, n) for delay in given.delays for n in given.replicas]:
        if given.old:
            new, old = ((side, delay_ms, number) for side in (_NEW, _OLD))
            pairs = zip(values(*new, "per_s"), values(*old, "per_s"), strict=True)
            figures.append(
                Row(
                    what=f"ledger, {number} replicas, {delay_ms:g} ms each way",
                    beside=given.old,
                    values=tuple(ours / theirs for ours, theirs in pairs),
                    cpu_us=values(*new, "cpu_us"),
                    peer_cpu_us=values(*old, "cpu_us"),
                    per="event",
                )
            )
    return figures


@contextmanager
def _sources(old: str | None) -> Iterator[dict[str, Path]]:
    own = HERE.parent
    if old is None:
        yield {_NEW: own / "src"}
        return
    with tempfile.TemporaryDirectory(prefix="mc-bench-old-") as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(own), "worktree"]
        subprocess.run([*git, "add", "--detach", str(tree), old], check=True, capture_output=True)
        try:
            yield {_OLD: tree / "src", _NEW: own / "src"}
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 1 if a target is missed."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--replicas", type=int, nargs="+", default=[1, 2, 4])
    options.add_argument("--delays", type=float, nargs="+", default=[0, 1, 5], help="ms each way")
    options.add_argument("--clients", type=int, default=16, help="of each replica")
    options.add_argument("--rounds", type=int, help="3, or 7 with --full")
    options.add_argument("--seconds", type=float, default=1.0, help="of a round")
    options.add_argument("--old", metavar="COMMIT", help="measure this version's journal beside")
    options.add_argument("--full", action="store_true", help="more rounds")
    add_option(options)
    given = options.parse_args(arguments)
    given.rounds = given.rounds or (7 if given.full else 3)
    with _sources(given.old) as sources, durable_postgres("peer_engine") as database:
        print(
            f"{os.cpu_count()} cores, {given.clients} clients a replica, {given.rounds} rounds of"
            f" {given.seconds:g} s; a synced page takes {database.sync_ms:.2f} ms here"
        )
        measured = _measure(given, sources, database)
    return finish(_figures(given, measured), given.rows)


if __name__ == "__main__":
    sys.exit(main())
