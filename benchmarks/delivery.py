"""Delivery of recorded events beside syslog-ng with its reliable disk buffer, in one run.

Both sides deliver the same events to the same receiver on loopback, which keeps them in a file.
Ours is the service's own delivery in a process of its own, from a ledger in a real PostgreSQL that
holds the events already; it reads, maps to OCSF, compresses and posts. syslog-ng gets the OCSF
lines ready-made, in a file; it buffers them on disk and posts. Then both are broken: (a) the
receiver is down, the process is killed meanwhile (SIGKILL), both come back; (b) the process is
killed in mid-delivery. What is lost, repeated or out of order is counted from what the receiver
kept. Absolute figures belong to the machine; ratios are printed.

    .venv/bin/python benchmarks/delivery.py [--events 100000] [--rounds 3] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from _delivery_sides import Ours, Side, SyslogNg, cpu_s, forget_peak, memory_kib
from _postgres import _free_port, durable_postgres

from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.outbox import PostgresOutbox
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.adapters.siem.ocsf import OcsfEncoder
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import EventId, TenantId

REGION = "bench-1"
SINK = Path(__file__).with_name("_delivery_sink.py")
SEQUENCE = re.compile(rb'"sequence":(\d+)')
TARGETS = {"events_per_s": 20_000, "memory_above_mib": 64.0}
_GIVE_UP_S = 120.0
_QUIET_S = 3.0


# -- the events -------------------------------------------------------------------------------


def _event(number: int) -> Event:
    detail: dict[str, Any] = {
        "subject": str(uuid.UUID(int=number // 2)),
        "principal": f"agent-{number % 7}@tenant",
        "agent": "records",
        "purpose": "support",
        "message_digest": uuid.uuid5(uuid.NAMESPACE_OID, str(number)).hex * 2,
        "labels": {"email": number % 3, "card": number % 2},
        "policies": ["support-may-ask-records", "residency-eu"],
        "policy_set": "ab" * 32,
    }
    kind = Kind.reply_released if number % 2 else Kind.request_accepted
    if number % 2:
        detail["redacted"] = number % 8 == 1
    tenant = TenantId(f"TENANT_00{number % 3 + 1}")
    return Event(EventId(f"event-{number}"), kind, tenant, datetime.now(UTC), detail)


async def _record(service_url: str, count: int, lines: Path) -> None:
    """Record `count` events in the ledger, and write the same as OCSF lines."""
    pools = Pools(database_url=service_url, application_name="bench")
    await pools.open()
    journal = PostgresJournal(pools, region=REGION)
    await journal.start()
    for first in range(0, count, 500):
        await journal.record([_event(n) for n in range(first, min(count, first + 500))], None)
    await journal.stop()
    encoder = OcsfEncoder(version="bench")
    with lines.open("wb") as file:
        async with PostgresOutbox(pools, region=REGION).claim("siem") as claim:
            assert claim is not None
            for first in range(0, count, 2000):
                file.write(encoder.encode_lines(await claim.read(first, 2000)))
    await pools.close()


# -- the receiver -----------------------------------------------------------------------------


class Receiver:
    """The sink process and what it kept."""

    def __init__(self, folder: Path) -> None:
        self.port = _free_port()
        self.url = f"http://127.0.0.1:{self.port}/ingest"
        self._file = folder / "kept.jsonl"
        self._process: subprocess.Popen[bytes] | None = None
        self._before = 0

    def start(self) -> None:
        """Begin to take events, after those that it has."""
        self._before = self._lines()
        self._process = subprocess.Popen([sys.executable, SINK, str(self.port), self._file])
        while True:
            try:
                self._ask()
            except OSError:
                time.sleep(0.02)
            else:
                return

    def stop(self) -> None:
        """End what is under way, then be gone."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def forget(self) -> None:
        """Begin with nothing."""
        self.stop()
        self._file.unlink(missing_ok=True)

    def count(self) -> int:
        """Events kept, repeats among them."""
        return self._before + int(self._ask()["lines"])

    def largest_batch(self) -> int:
        """Events in the largest request since its start."""
        return int(self._ask()["most_lines"])

    def wait_for(self, events: int) -> bool:
        """Whether so many came in time; False also when nothing has come for long."""
        deadline = time.monotonic() + _GIVE_UP_S
        while time.monotonic() < deadline:
            if self.count() >= events:
                return True
            time.sleep(0.02)  # asking costs the receiver, too
        return False

    def account(self, events: int) -> dict[str, Any]:
        """What is missing, what came again, and whether first comings are in order."""
        seen: set[int] = set()
        last, in_order, repeated = -1, True, 0
        with self._file.open("rb") as file:
            for line in file:
                found = SEQUENCE.search(line)
                if found is None:
                    raise RuntimeError(f"the receiver kept what is no event: {line[:200]!r}")
                index = int(found.group(1))
                if index in seen:
                    repeated += 1
                    continue
                seen.add(index)
                in_order &= index > last
                last = index
        return {"lost": events - len(seen), "repeated": repeated, "in_order": in_order}

    def _lines(self) -> int:
        if not self._file.exists():
            return 0
        with self._file.open("rb") as file:
            return sum(1 for _ in file)

    def _ask(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/count", timeout=5) as answer:
            found: dict[str, Any] = json.load(answer)
            return found


# -- what is measured -------------------------------------------------------------------------


@contextmanager
def _running(side: Side, receiver: Receiver) -> Iterator[None]:
    receiver.forget()
    receiver.start()
    side.prepare()
    side.start()
    try:
        yield
    finally:
        side.kill()
        receiver.stop()


def measure_rate(side: Side, receiver: Receiver, events: int) -> dict[str, Any]:
    """One undisturbed delivery of all events."""
    with _running(side, receiver):
        time.sleep(0.3)
        idle_kib = memory_kib(side.process.pid, "VmRSS")
        forget_peak(side.process.pid)
        cpu_before_s = cpu_s(side.process.pid)
        began = time.perf_counter()
        side.go()
        if not receiver.wait_for(events):
            raise RuntimeError(f"{side.name} delivered {receiver.count()} of {events}")
        took_s = time.perf_counter() - began
        peak_kib = memory_kib(side.process.pid, "VmHWM")
        return {
            "events_per_s": events / took_s,
            "cpu_us_an_event": (cpu_s(side.process.pid) - cpu_before_s) / events * 1e6,
            "idle_mib": idle_kib / 1024,
            "peak_mib": peak_kib / 1024,
            "above_mib": (peak_kib - idle_kib) / 1024,
            "largest_batch": receiver.largest_batch(),
            **receiver.account(events),
        }


def break_sink_and_process(side: Side, receiver: Receiver, events: int) -> dict[str, Any]:
    """(a) The receiver goes, the process is killed while it is gone, both come back."""
    with _running(side, receiver):
        side.go()
        receiver.wait_for(events // 4)
        receiver.stop()
        time.sleep(1.5)
        side.kill()
        side.start()
        side.go()
        time.sleep(1.5)
        receiver.start()
        return _settled(receiver, events)


def kill_in_mid_delivery(side: Side, receiver: Receiver, events: int) -> dict[str, Any]:
    """(b) The process is killed while it delivers, and started again."""
    with _running(side, receiver):
        side.go()
        receiver.wait_for(random.randrange(events // 4, events // 2))
        side.kill()
        at_kill = receiver.count()
        side.start()
        side.go()
        return {"at_kill": at_kill, **_settled(receiver, events)}


def _settled(receiver: Receiver, events: int) -> dict[str, Any]:
    """The account, when all are there and nothing more comes."""
    receiver.wait_for(events)
    count, since = receiver.count(), time.monotonic()
    while time.monotonic() - since < _QUIET_S:
        time.sleep(0.1)
        if receiver.count() != count:
            count, since = receiver.count(), time.monotonic()
    return {"largest_batch": receiver.largest_batch(), **receiver.account(events)}


def _sides(folder: Path, receiver: Receiver, database: Any, lines: Path) -> list[Side]:
    ours = Ours(
        service_url=database.service_url,
        owner_url=database.owner_url,
        region=REGION,
        url=receiver.url,
        log=folder / "ours.log",
    )
    why_not = SyslogNg.missing()
    if why_not is not None:
        print(f"{why_not}: that side is skipped")
        return [ours]
    return [ours, SyslogNg(events=lines, home=folder / "syslog-ng", url=receiver.url)]


def _measure(folder: Path, events: int, rounds: int) -> dict[str, Any]:
    receiver, lines = Receiver(folder), folder / "events.jsonl"
    with durable_postgres("bench_peer") as database:
        asyncio.run(_record(database.service_url, events, lines))
        sides = _sides(folder, receiver, database, lines)
        rates: dict[str, list[dict[str, Any]]] = {side.name: [] for side in sides}
        for _ in range(rounds):
            for side in random.sample(sides, k=len(sides)):
                rates[side.name].append(measure_rate(side, receiver, events))
        return {
            "events": events,
            "bytes_an_event": lines.stat().st_size / events,
            "cores": os.cpu_count(),
            "sides": {
                side.name: {
                    "rounds": rates[side.name],
                    "events_per_s": statistics.median(
                        one["events_per_s"] for one in rates[side.name]
                    ),
                    "cpu_us_an_event": statistics.median(
                        one["cpu_us_an_event"] for one in rates[side.name]
                    ),
                    "peak_mib": max(one["peak_mib"] for one in rates[side.name]),
                    "above_mib": max(one["above_mib"] for one in rates[side.name]),
                    "sink_down_and_killed": break_sink_and_process(side, receiver, events),
                    "killed_in_delivery": kill_in_mid_delivery(side, receiver, events),
                }
                for side in sides
            },
        }


# -- what is told -----------------------------------------------------------------------------


def _verdict(ours: dict[str, Any]) -> dict[str, bool]:
    broken = [*ours["rounds"], ours["sink_down_and_killed"], ours["killed_in_delivery"]]
    return {
        f"at least {TARGETS['events_per_s']} events/s": ours["events_per_s"]
        >= TARGETS["events_per_s"],
        f"at most {TARGETS['memory_above_mib']:g} MiB above": ours["above_mib"]
        <= TARGETS["memory_above_mib"],
        "0 lost": all(one["lost"] == 0 for one in broken),
        "at most one batch repeated": all(
            one["repeated"] <= one["largest_batch"] for one in broken
        ),
        "order kept": all(one["in_order"] for one in broken),
    }


def _print(result: dict[str, Any]) -> None:
    print(
        f"{result['events']} events of {result['bytes_an_event']:.0f} bytes, {result['cores']} cores"
    )
    for name, side in result["sides"].items():
        rates = ", ".join(f"{one['events_per_s']:.0f}" for one in side["rounds"])
        print(
            f"  {name:<10} {side['events_per_s']:>8.0f} events/s ({rates})"
            f"  {side['cpu_us_an_event']:.1f} us of CPU each"
            f"  peak {side['peak_mib']:.1f} MiB, {side['above_mib']:.1f} above idle"
        )
        for key in ("sink_down_and_killed", "killed_in_delivery"):
            one = side[key]
            order = "kept" if one["in_order"] else "BROKEN"
            print(
                f"    {key.replace('_', ' '):<21} lost {one['lost']}, repeated {one['repeated']}"
                f" (largest batch {one['largest_batch']}), order {order}"
            )
    sides = result["sides"]
    if "syslog-ng" in sides:
        ratio = sides["ours"]["events_per_s"] / sides["syslog-ng"]["events_per_s"]
        print(f"  ratio ours / syslog-ng: {ratio:.2f} of its rate")
        result["ratio"] = ratio
    for target, met in result["targets"].items():
        print(f"  {'met   ' if met else 'MISSED'}  {target}")


def main() -> int:
    """Measure, print, and exit with 1 if a target is missed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--events", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--json", type=Path, help="also write everything to this file")
    given = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mc-bench-delivery-"))
    try:
        result = _measure(folder, given.events, given.rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    result["targets"] = _verdict(result["sides"]["ours"])
    _print(result)
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0 if all(result["targets"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
