"""`python -m tests.siege`: exit 0 all held, 1 something did not, 2 usage, 3 could not tell."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
from tests.crash.platform import CrashPlatform
from tests.siege.attacks import Attacks, Seen, client, message

from mc_ops.errors import OpsError

ROOT = Path(__file__).parents[2]
_HONEST_PER_S = 10.0
_NICE = 19  # attackers and agent take what is left of the cores: they are no part of the platform
_MEMORY_EVERY_S = 2.0
_MOST_SLOWER = 2.0
_MOST_GROWTH = 1.2
_OK, _FINDING, _COULD_NOT_TELL = 0, 1, 3
_BEGAN = time.monotonic()


def main() -> int:
    """Start a platform, besiege it, judge."""
    parser = argparse.ArgumentParser(prog="siege", description=__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="of attack (20)")
    parser.add_argument("--quiet", type=float, default=60.0, help="s without attack before (60)")
    parser.add_argument("--attackers", type=int, default=8, help="attacks at once (8)")
    parser.add_argument("--pause", type=float, default=0.2, help="s between an attacker's (0.2)")
    parser.add_argument("--seed", type=int, help="of the attacks; drawn and told if absent")
    asked = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    seed = random.SystemRandom().randrange(1_000_000) if asked.seed is None else asked.seed
    try:
        with _agent() as agent_url, _platform(agent_url) as platform:
            _say(f"seed {seed}; {asked.quiet:g} s quiet, then {asked.minutes:g} min of attack")
            return asyncio.run(_besiege(platform, agent_url, asked, seed))
    except (OpsError, httpx.HTTPError, OSError) as error:
        _say(f"could not tell: {error}")
        return _COULD_NOT_TELL
    except KeyboardInterrupt:
        _say("interrupted")
        return _COULD_NOT_TELL


async def _besiege(
    platform: CrashPlatform, agent_url: str, asked: argparse.Namespace, seed: int
) -> int:
    quiet, seen = Seen(), Seen()
    loop, seconds, url = asyncio.get_running_loop(), 60 * asked.minutes, platform.layout.url
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), os.nice, (_NICE,)) as apart:
        async with client(url, platform.token("TENANT_002")) as good:
            await _honest(good, quiet, asked.quiet)
            attacks = Attacks(
                url, platform.token("TENANT_001"), seed, asked.attackers, seconds, asked.pause
            )
            attacked = loop.run_in_executor(apart, attacks.run)
            memory = asyncio.create_task(_memory(platform, time.monotonic() + seconds))
            await _honest(good, seen, seconds)
            grown = await memory
            other = await attacked
    seen.bad += other.bad
    seen.statuses |= other.statuses
    report = httpx.get(f"{agent_url}/report", timeout=30).json()
    return _judge(platform, quiet, seen, grown, report)


async def _honest(asking: httpx.AsyncClient, seen: Seen, seconds: float) -> None:
    """Ask at a fixed rate, whether or not answers come; every tenth question goes to the agent that
    is hostile."""
    loop = asyncio.get_running_loop()
    began, asked = loop.time(), []
    for number in range(int(seconds * _HONEST_PER_S)):
        await asyncio.sleep(max(0.0, began + number / _HONEST_PER_S - loop.time()))
        asked.append(asyncio.create_task(_question(asking, seen, number)))
    await asyncio.gather(*asked)


async def _question(asking: httpx.AsyncClient, seen: Seen, number: int) -> None:
    to_hostile = number % 10 == 9
    agent = "hostile" if to_hostile else "records"
    text = "echo" if to_hostile else "What is the plan of customer C-1002?"
    parts = [{"text": f"{text} marker-of-TENANT_002"}]
    began = time.perf_counter()
    try:
        answer = await asking.post("/a2a", json=message(parts, agent=agent, purpose="support"))
    except httpx.HTTPError as error:
        seen.fault(f"TENANT_002: {type(error).__name__}")
        return
    seen.note("TENANT_002", agent, answer)
    if not to_hostile:
        seen.took_s.append(time.perf_counter() - began)
        if '"result"' not in answer.text:
            seen.fault(
                f"TENANT_002 was not answered: HTTP {answer.status_code} {answer.text[:200]}"
            )


async def _memory(platform: CrashPlatform, until: float) -> list[list[float]]:
    """MiB of the replica alone, and of its worker processes, over time."""
    samples = []
    while time.monotonic() < until:
        own = workers = 0.0
        with contextlib.suppress(psutil.Error):
            record = platform._table.alive(platform.replicas[0])
            process = psutil.Process(record.pid) if record else None
            if process is not None:
                own = process.memory_info().rss / 2**20
                workers = sum(c.memory_info().rss for c in process.children(recursive=True)) / 2**20
        samples.append([own, workers])
        await asyncio.sleep(_MEMORY_EVERY_S)
    return samples


def _judge(
    platform: CrashPlatform, quiet: Seen, seen: Seen, memory: list[list[float]], report: dict
) -> int:
    before, under = (_p95(one.took_s) for one in (quiet, seen))
    own = [sample[0] for sample in memory]
    quarter = max(1, len(own) // 4)
    early, late = max(own[quarter : 2 * quarter], default=0), max(own[-quarter:], default=0)
    workers = max((sample[1] for sample in memory), default=0)
    bad = [*quiet.bad, *seen.bad, *report["foreign"], *platform.crashes()]
    print(f"  answers                  {seen.statuses}")
    print(f"  the agent was asked      {report['asked']}")
    print(
        f"  honest p95               {1000 * before:.1f} ms quiet, {1000 * under:.1f} ms attacked"
    )
    print(f"  honest p50               {1000 * statistics.median(quiet.took_s):.1f} ms quiet, "
          f"{1000 * statistics.median(seen.took_s):.1f} ms attacked")  # fmt: skip
    print(f"  replica's memory         {early:.0f} MiB early, {late:.0f} MiB late, at most; "
          f"workers at most {workers:.0f}")  # fmt: skip
    checks = {
        "no foreign byte, no 5xx, no crash": not bad,
        "no cookie came back": report["cookies"] == 0,
        f"honest p95 at most {_MOST_SLOWER:g} times the quiet one": under <= _MOST_SLOWER * before,
        "memory is flat": late <= _MOST_GROWTH * early,
    }
    for what, held in checks.items():
        print(f"  {'ok  ' if held else 'FAIL'} {what}")
    for line in sorted(set(bad))[:20]:
        print(f"       {line}")
    return _OK if all(checks.values()) else _FINDING


def _p95(took_s: list[float]) -> float:
    return statistics.quantiles(took_s, n=20)[-1]


@contextmanager
def _agent() -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.siege.agent"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout is not None
    port = int(process.stdout.readline())
    try:
        yield f"http://localhost:{port}"  # by name: cookie jars keep cookies of names
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def _platform(agent_url: str) -> Iterator[CrashPlatform]:
    text = (ROOT / "deploy" / "local" / "catalogue.toml").read_text()
    agents = 'agents = ["records", "fulfilment"]'
    text = text.replace(agents, 'agents = ["records", "fulfilment", "hostile"]')
    text += f'\n[agents.hostile]\nurl = "{agent_url}"\nresidency = "eu"\npurposes = ["support"]\n'
    with tempfile.TemporaryDirectory(prefix="mc-siege-") as folder:
        catalogue = Path(folder) / "catalogue.toml"
        catalogue.write_text(text + "timeout_s = 10.0\n")
        Path(folder).chmod(0o755)
        platform = CrashPlatform(replicas=1, settings={"MC_CATALOGUE": str(catalogue)})
        try:
            platform.up()
            yield platform
        finally:
            platform.remove()


def _say(text: str) -> None:
    print(f"{time.monotonic() - _BEGAN:5.0f} s  {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
