"""Whoever asks in the load benchmark, alone in a process: does one thing, prints JSON.

    python benchmarks/_load_driver.py drive URL PAIRS_PER_S SECONDS
    python benchmarks/_load_driver.py closed URL CONNECTIONS SECONDS
    python benchmarks/_load_driver.py clock REQUESTS_PER_S SECONDS

`drive` is the canary's driver. Nothing in it is special to the benchmark: session, loop, schedule,
the collector's rest and the check of each answer are those of `mcctl canary run`. `closed` is the
same session in closed loops: each asks when the last answer came, and times from when it asked.
`clock` asks nobody: how late the machine itself lets a process run that sleeps by the same schedule
and computes a little at each beat.
"""

from __future__ import annotations

import asyncio
import json
import random
import resource
import sys
import time
from typing import Any

import numpy as np

from mc_contract.judgement.verdict import EarlyHold
from mc_ops.canary.driver import Load, PairDriver, Sampled, open_session
from mc_ops.service_client import exchange

_WARM_UP_S = 1.0
_COMPUTES_S = 0.0003  # of CPU at each beat of the clock: what a request costs its driver, or more
_MARGIN = 0.05


async def _drive(url: str, rate: float, seconds: float) -> dict[str, Any]:
    pairs = round(rate * seconds)
    load = Load([f"{url}baseline"], [f"{url}candidate"], pairs=pairs, rate=rate)
    async with open_session("not-a-token") as session:
        driver = PairDriver(session, load, random.Random(), EarlyHold(_MARGIN, pairs))
        await driver.warm_up(max(1, round(_WARM_UP_S * rate)))
        began_at = time.monotonic()  # the same clock in every process of the machine
        before = resource.getrusage(resource.RUSAGE_SELF)
        # No look before the end: both sides are one target, so there is nothing to stop for.
        sampled = await driver.run(pairs + 1, lambda *_: None)
        after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"began_at": began_at, "cpu_s": cpu_s, **_figures(sampled, rate)}


def _figures(sampled: Sampled, rate: float) -> dict[str, Any]:
    latency_s = np.concatenate([sampled.base_s, sampled.cand_s])
    answered = latency_s[np.isfinite(latency_s)]
    sent = sampled.lateness_s.size
    # By the schedule, but for how much later than it the last request left than the first.
    took_s = sent / (2 * rate) + float(sampled.lateness_s[-1] - sampled.lateness_s[0])
    return {
        "requests": sent,
        "failed": int(latency_s.size - answered.size),
        "per_s": answered.size / took_s,
        "took_s": took_s,
        "lateness_ms": _quantiles(sampled.lateness_s),
        "latency_ms": _quantiles(answered),
    }


async def _closed(url: str, connections: int, seconds: float) -> dict[str, Any]:
    questions, failed = exchange.Questions(), 0
    latencies_s: list[float] = []
    async with open_session("not-a-token") as session:
        began = time.monotonic()

        async def loop() -> None:
            nonlocal failed
            while (asked := time.monotonic()) < began + seconds:
                async with session.post(url, data=questions.body(len(latencies_s))) as answer:
                    body = await answer.read()
                latencies_s.append(time.monotonic() - asked)
                failed += bool(exchange.failure_of(answer.status, body))

        before = resource.getrusage(resource.RUSAGE_SELF)
        await asyncio.gather(*(loop() for _ in range(connections)))
        after = resource.getrusage(resource.RUSAGE_SELF)
    took_s = time.monotonic() - began
    return {
        "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
        "requests": len(latencies_s),
        "failed": failed,
        "per_s": (len(latencies_s) - failed) / took_s,
        "took_s": took_s,
        "lateness_ms": None,  # nothing was due
        "latency_ms": _quantiles(latencies_s),
    }


def _clock(rate: float, seconds: float) -> dict[str, Any]:
    due, late_s = time.monotonic() + 1 / rate, []
    for _ in range(round(rate * seconds)):
        time.sleep(max(0.0, due - time.monotonic()))
        late_s.append(time.monotonic() - due)
        until = time.process_time() + _COMPUTES_S
        while time.process_time() < until:
            pass
        due += 1 / rate
    return {"lateness_ms": _quantiles(late_s)}


def _quantiles(seconds: Any) -> dict[str, float]:
    names = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return {name: float(np.quantile(seconds, at)) * 1000 for name, at in names.items()}


def _main(what: str, *given: str) -> dict[str, Any]:
    if what == "clock":
        return _clock(float(given[0]), float(given[1]))
    url, number, seconds = given[0], float(given[1]), float(given[2])
    if what == "closed":
        return asyncio.run(_closed(url, int(number), seconds))
    return asyncio.run(_drive(url, number, seconds))


if __name__ == "__main__":
    print(json.dumps(_main(*sys.argv[1:])))
