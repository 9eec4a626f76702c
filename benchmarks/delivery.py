"""Delivery of recorded events beside syslog-ng with its reliable disk buffer, in one run.

Both sides deliver the same events to the same receiver on loopback, which keeps them in a file.
Ours is the service's own delivery in a process of its own, from a ledger in a real PostgreSQL that
holds the events already; it reads, maps to OCSF, compresses and posts. syslog-ng gets the OCSF
lines ready-made, in a file; it buffers them on disk and posts. Then both are broken: (a) the
receiver is down, the process is killed meanwhile (SIGKILL), both come back; (b) the process is
killed in mid-delivery. What is lost, repeated or out of order is counted from what the receiver
kept. Absolute figures belong to the machine.

    .venv/bin/python benchmarks/delivery.py [--events 100000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import shutil
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
from _table import Row, add_option, finish

from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.outbox import PostgresOutbox
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.adapters.siem.ocsf import OcsfEncoder
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import EventId, TenantId

REGION = "bench-1"
SINK = Path(__file__).with_name("_delivery_sink.py")
SEQUENCE = re.compile(rb'"sequence":(\d+)')
LEAST_RATIO, MOST_ABOVE_MIB = 0.8, 64.0
_GIVE_UP_S = 120.0
_QUIET_S = 3.0


# -- the events -------------------------------------------------------------------------------


def event(number: int) -> Event:
    """An event of a request, or of its reply, of about 520 bytes."""
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
        await journal.record([event(n) for n in range(first, min(count, first + 500))], None)
    await journal.stop()
    encoder = OcsfEncoder(version="bench")
    with lines.open("wb") as file:
        async with PostgresOutbox(pools, region=REGION).claim("siem") as claim:
            assert claim is not None
            for first in range(0, count, 2000):
                file.writelines(encoder.lines(await claim.read(first, 2000)))
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
            "sides": {
                side.name: {
                    "rounds": rates[side.name],
                    "peak_mib": max(one["peak_mib"] for one in rates[side.name]),
                    "above_mib": max(one["above_mib"] for one in rates[side.name]),
                    "sink_down_and_killed": break_sink_and_process(side, receiver, events),
                    "killed_in_delivery": kill_in_mid_delivery(side, receiver, events),
                }
                for side in sides
            },
        }


# -- what is printed --------------------------------------------------------------------------


def _broken(side: dict[str, Any]) -> list[dict[str, Any]]:
    return [*side["rounds"], side["sink_down_and_killed"], side["killed_in_delivery"]]


def _faults(ours: dict[str, Any]) -> list[str]:
    """What delivery promises and did not keep, in any round."""
    found = {
        f"more than {MOST_ABOVE_MIB:g} MiB above idle": ours["above_mib"] > MOST_ABOVE_MIB,
        "an event lost": any(one["lost"] for one in _broken(ours)),
        "more than a batch repeated": any(
            one["repeated"] > one["largest_batch"] for one in _broken(ours)
        ),
        "order not kept": not all(one["in_order"] for one in _broken(ours)),
    }
    return [fault for fault, is_so in found.items() if is_so]


def _print(result: dict[str, Any]) -> None:
    print(f"{result['events']} events of {result['bytes_an_event']:.0f} bytes")
    for name, side in result["sides"].items():
        rates = ", ".join(f"{one['events_per_s']:.0f}" for one in side["rounds"])
        print(
            f"  {name}: {rates} events/s, peak {side['peak_mib']:.1f} MiB,"
            f" {side['above_mib']:.1f} above idle"
        )
        for key in ("sink_down_and_killed", "killed_in_delivery"):
            one = side[key]
            order = "kept" if one["in_order"] else "BROKEN"
            print(
                f"    {key.replace('_', ' '):<21} lost {one['lost']}, repeated {one['repeated']}"
                f" (largest batch {one['largest_batch']}), order {order}"
            )


def _row(sides: dict[str, dict[str, Any]]) -> Row:
    what, beside = "SIEM delivery, events/s", SyslogNg.name
    if beside not in sides:
        return Row(what=what, beside=beside, note=str(SyslogNg.missing()))

    def each(side: str, figure: str) -> tuple[float, ...]:
        return tuple(one[figure] for one in sides[side]["rounds"])

    rates = zip(each("ours", "events_per_s"), each(beside, "events_per_s"), strict=True)
    return Row(
        what=what,
        beside=beside,
        values=tuple(a / b for a, b in rates),
        at_least=LEAST_RATIO,
        cpu_us=each("ours", "cpu_us_an_event"),
        peer_cpu_us=each(beside, "cpu_us_an_event"),
        per="event",
    )


def main() -> int:
    """Measure and print; 1 if the target is missed, 2 if an event was lost or the like."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--events", type=int, default=100_000)
    options.add_argument("--rounds", type=int, default=3)
    add_option(options)
    given = options.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mc-bench-delivery-"))
    try:
        result = _measure(folder, given.events, given.rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _print(result)
    missed = finish([_row(result["sides"])], given.rows)
    faults = _faults(result["sides"]["ours"])
    for fault in faults:
        print(f"delivery broke a promise: {fault}", file=sys.stderr)
    return 2 if faults else missed


if __name__ == "__main__":
    sys.exit(main())
