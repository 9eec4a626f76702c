"""The canary's load driver beside wrk, on one target: what rate it holds, and what it tells.

The target is quiet and in a process of its own on one core; whoever asks has the other core.

(1) Rates. Our driver is open-loop: it sends on a schedule. It must hold 1,000 requests/s, which is
    500 pairs/s: at least 99.9 % of it answered well, and sent at most 5 ms late (p99), in the
    median round. Higher rates show where it ends. wrk is closed-loop, each of its connections asks
    when the last answer came, so it has a pace and no rate; it stands beside for the cost. The
    `bare clock` asks nobody: it is how late the machine lets a process run that sleeps by that
    schedule and computes 0.3 ms at each beat. Where it is too late, nobody could hold the rate, and
    nothing is said about the driver.
(2) A target that stands still for one second in five. Whoever would have asked meanwhile waits
    until it goes on; how long is known from the schedule and from when the target stood still
    (`truth`). A closed loop does not ask meanwhile, so it does not see it (coordinated omission):
    `closed loop` is the driver's own session in that way. wrk 4.1 is one, too, and afterwards makes
    up the samples that it thinks it omitted (its `stats_correct`), by its mean interval.

Rounds alternate, so that drift of the machine meets all. Absolute figures belong to the machine.
Exit 0 if 1,000 requests/s are held, 1 if not, 3 if it could not be told.

    make bench
    python benchmarks/load.py --quick
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from _table import Row, add_option, finish

from mc_ops.service_client.exchange import Questions

HERE = Path(__file__).parent
TO_HOLD = 1000.0  # requests a second
LEAST_ANSWERED, MOST_LATE_MS = 0.999, 5.0
FROZEN_S, EVERY_S = 1.0, 5.0
_PIN = """import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
os.execvp(sys.argv[2], sys.argv[2:])"""
_WRK, _CLOCK = "wrk", "bare clock"
_READY_WITHIN_S = 20.0

Found = dict[str, Any]


class CouldNotMeasure(Exception):
    """The target or a side did not run; its message says why."""


def _pinned(core: int, *command: str) -> list[str]:
    return [sys.executable, "-c", _PIN, str(core), *command]


class Target:
    """The target process; `freeze` lets it stand still now and then.

    Attributes:
        url: Where it answers.
    """

    def __init__(self, core: int) -> None:
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}/"
        self._process = subprocess.Popen(
            _pinned(core, sys.executable, str(HERE / "_load_target.py"), str(port)),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        # A target that cannot start ends, and its output with it.
        if self._process.stdout.readline().strip() != "ready":
            self.stop()
            raise CouldNotMeasure("the target did not start")

    @contextmanager
    def frozen_now_and_then(self) -> Iterator[list[tuple[float, float]]]:
        """Stop it for a second in every five, meanwhile; gives when (monotonic seconds)."""
        windows: list[tuple[float, float]] = []
        over = threading.Event()

        def freeze() -> None:
            while not over.wait(EVERY_S - FROZEN_S):
                began = time.monotonic()
                self._process.send_signal(signal.SIGSTOP)
                over.wait(FROZEN_S)
                self._process.send_signal(signal.SIGCONT)
                windows.append((began, time.monotonic()))

        thread = threading.Thread(target=freeze)
        thread.start()
        try:
            yield windows
        finally:
            over.set()
            thread.join()

    def stop(self) -> None:
        """End it."""
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(_READY_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _run(command: list[str], env: dict[str, str] | None = None) -> tuple[Found, float]:
    """The JSON on the last line that a command prints, and the CPU seconds that it used."""
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stderr is not None
    printed, told = process.stdout.read(), process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise CouldNotMeasure(f"{command[4]} ended with {process.returncode}: {told[-500:]}")
    return json.loads(printed.strip().splitlines()[-1]), used.ru_utime + used.ru_stime


def _ask(core: int, what: str, *given: object) -> Found:
    """What `_load_driver.py` found; `cpu_share` is of the core it was pinned to."""
    command = [sys.executable, str(HERE / "_load_driver.py"), what, *map(str, given)]
    found, _ = _run(_pinned(core, *command))
    if "cpu_s" in found:
        found["cpu_share"] = found["cpu_s"] / found["took_s"]
    return found


def _wrk(target: Target, core: int, connections: int, seconds: float) -> Found:
    with tempfile.NamedTemporaryFile() as body:
        body.write(Questions().body(0))
        body.flush()
        command = [
            *(_WRK, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--latency"),
            *("-s", str(HERE / "_load_post.lua"), target.url),
        ]
        found, cpu_s = _run(_pinned(core, *command), {**os.environ, "LOAD_BODY": body.name})
    return {
        "requests": found["requests"],
        "failed": found["failed"],
        "per_s": (found["requests"] - found["failed"]) / found["took_s"],
        "took_s": found["took_s"],
        "latency_ms": {name: found[name] for name in ("p50", "p95", "p99")},
        "lateness_ms": None,  # nothing was due
        "cpu_s": cpu_s,
        "cpu_share": cpu_s / found["took_s"],
    }


def _truth(
    began: float, took_s: float, windows: list[tuple[float, float]], usual_ms: float
) -> Found:
    """What requests of an even schedule must have waited, at least, in milliseconds."""
    due = began + np.arange(0, took_s, 1 / TO_HOLD)
    waited = np.zeros_like(due)
    for start, end in windows:
        inside = (due >= start) & (due < end)
        waited[inside] = end - due[inside]
    waited = waited * 1000 + usual_ms
    return {f"p{at}": float(np.quantile(waited, at / 100)) for at in (50, 95, 99)}


def _median(rounds: list[Found]) -> Found:
    """Each figure's median over the rounds."""
    return {
        key: _median([one[key] for one in rounds])
        if isinstance(value, dict)
        else None
        if value is None
        else statistics.median(one[key] for one in rounds)
        for key, value in rounds[0].items()
    }


_HEADING = (
    f"  {'':<22} {'answered/s':>10} {'failed':>6} {'late p50':>8} {'late p99':>8}"
    f" {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'cores':>6} {'CPU ms each':>11}"
)


def _line(name: str, found: Found) -> str:
    late = found["lateness_ms"]
    lateness = f"{late['p50']:>8.2f} {late['p99']:>8.2f}" if late else f"{'-':>8} {'-':>8}"
    if "latency_ms" not in found:
        return f"  {name:<22} {'-':>10} {'-':>6} {lateness}"
    latency = found["latency_ms"]
    return (
        f"  {name:<22} {found['per_s']:>10.1f} {found['failed']:>6.0f} {lateness}"
        f" {latency['p50']:>8.2f} {latency['p95']:>8.2f} {latency['p99']:>8.2f}"
        f" {found['cpu_share']:>6.2f} {found['cpu_s'] / found['requests'] * 1000:>11.3f}"
    )


def measure_rates(given: argparse.Namespace, target: Target) -> Found:
    """All rates, and wrk at its own pace, in alternating rounds; prints, gives the medians."""
    asker, seconds = given.cores[1], given.seconds
    rounds: dict[str, list[Found]] = {}
    for _ in range(given.rounds):
        rounds.setdefault(_CLOCK, []).append(_ask(asker, "clock", TO_HOLD, seconds))
        for rate in given.rates:
            found = _ask(asker, "drive", target.url, rate / 2, seconds)
            rounds.setdefault(f"driver at {rate:g}/s", []).append(found)
        for connections in given.connections if given.wrk else ():
            found = _wrk(target, asker, connections, seconds)
            rounds.setdefault(f"wrk, {connections} connection(s)", []).append(found)
    medians = {name: _median(found) for name, found in rounds.items()}
    print(f"rates, each figure the median of {given.rounds} round(s) of {seconds:g} s:")
    print(_HEADING)
    for name, found in medians.items():
        print(_line(name, found))
    return {"rounds": rounds, "medians": medians}


def measure_frozen(given: argparse.Namespace, target: Target, usual_ms: float) -> Found:
    """The driver at 1,000/s and closed loops on a target that stands still a second in five."""
    asker, seconds = given.cores[1], given.frozen_seconds
    with target.frozen_now_and_then() as windows:
        ours = _ask(asker, "drive", target.url, TO_HOLD / 2, seconds)
    found = {"truth": _truth(ours["began_at"], ours["took_s"], windows, usual_ms), "driver": ours}
    most = max(given.connections)
    with target.frozen_now_and_then():
        found[f"closed loop, {most}"] = _ask(asker, "closed", target.url, most, seconds)
    for connections in given.connections if given.wrk else ():
        with target.frozen_now_and_then():
            found[f"wrk, {connections} connection(s)"] = _wrk(target, asker, connections, seconds)
    print(f"a target that stands still for {FROZEN_S:g} s in every {EVERY_S:g} s:")
    print(f"  {'':<22} {'p50 ms':>8} {'p95 ms':>8} {'p99 ms':>8} {'p95 told / truth':>17}")
    truth = found["truth"]
    for name, one in found.items():
        told = one.get("latency_ms", one)
        print(
            f"  {name:<22} {told['p50']:>8.2f} {told['p95']:>8.2f} {told['p99']:>8.2f}"
            f" {told['p95'] / truth['p95']:>17.3f}"
        )
    return found


def _holds(medians: Found) -> bool:
    """Whether the driver held the rate that it must hold; says so.

    Raises:
        CouldNotMeasure: it did not, and the machine itself was too late for anybody to.
    """
    found, clock = medians[f"driver at {TO_HOLD:g}/s"], medians[_CLOCK]
    share, late_ms = found["per_s"] / TO_HOLD, found["lateness_ms"]["p99"]
    held: bool = share >= LEAST_ANSWERED and late_ms <= MOST_LATE_MS
    bare_ms = clock["lateness_ms"]["p99"]
    told = (
        f"{share:.2%} answered well, {LEAST_ANSWERED:.1%} is the least; p99 sent {late_ms:.2f} ms"
        f" late, {MOST_LATE_MS:g} ms is the most; a bare clock {bare_ms:.2f} ms"
    )
    if not held and bare_ms > MOST_LATE_MS:
        raise CouldNotMeasure(f"the machine is too busy for {TO_HOLD:g} requests/s ({told})")
    print(f"{TO_HOLD:g} requests/s from one core: {'held' if held else 'NOT HELD'} ({told})")
    return held


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rounds", type=int, default=3, help="alternating rounds of each")
    options.add_argument("--seconds", type=float, default=5.0, help="of a round")
    options.add_argument("--rates", type=float, nargs="+", default=[TO_HOLD, 2000.0, 3000.0])
    options.add_argument("--connections", type=int, nargs="+", default=[1, 16], help="of wrk")
    options.add_argument("--frozen-seconds", type=float, default=20.0)
    options.add_argument("--quick", action="store_true", help="a quarter of a minute, rough")
    add_option(options)
    given = options.parse_args()
    if given.quick:
        given.rounds, given.seconds, given.frozen_seconds = 1, 2.0, 5.0
    if TO_HOLD not in given.rates:
        given.rates.insert(0, TO_HOLD)
    given.wrk = shutil.which(_WRK) is not None
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        raise CouldNotMeasure("two cores are needed, and a system that pins processes (Linux)")
    given.cores = cores[:2]
    return given


def main() -> int:
    """Measure; 0 held, 1 not held, 3 could not be measured."""
    try:
        given = _options()
        if not given.wrk:
            print("wrk is not installed (apt-get install wrk): its figures are not measured")
        target = Target(given.cores[0])
        try:
            rates = measure_rates(given, target)
            usual_ms = rates["medians"][f"driver at {TO_HOLD:g}/s"]["latency_ms"]["p50"]
            measure_frozen(given, target, usual_ms)
        finally:
            target.stop()
        held = _holds(rates["medians"])
    except CouldNotMeasure as error:
        print(f"could not tell: {error}", file=sys.stderr)
        return 3
    missed = finish(_figures(rates["rounds"]), given.rows)
    return missed or int(not held)


def _figures(rounds: dict[str, list[Found]]) -> list[Row]:
    """What a request costs the driver at the rate that it must hold, beside wrk's busiest."""
    ours = rounds[f"driver at {TO_HOLD:g}/s"]
    what, wrk = f"canary driver at {TO_HOLD:g} requests/s", [n for n in rounds if _WRK in n]
    held = tuple(one["per_s"] / TO_HOLD for one in ours)
    if not wrk:
        return [Row(what=what, beside=_WRK, values=held, note=f"{_WRK} is not installed")]

    def cpu_us(found: list[Found]) -> tuple[float, ...]:
        return tuple(one["cpu_s"] / one["requests"] * 1e6 for one in found)

    return [
        Row(
            what=what,
            beside=wrk[-1],
            values=held,
            unit="of the rate answered",
            at_least=LEAST_ANSWERED,
            cpu_us=cpu_us(ours),
            peer_cpu_us=cpu_us(rounds[wrk[-1]]),
        )
    ]


if __name__ == "__main__":
    sys.exit(main())
