"""The governed gateway beside a plain `a2a-sdk` server of the same agent, in one run.

Both answer the same question with the same downstream agent: the plain side is that agent,
asked directly; the governed side is one workbench replica in front of it, which authenticates,
screens both ways, decides by policy twice, commits intent and outcome to the ledger and delivers
them to the SIEM. So the governed side always does all that the plain side does, and more.

Rounds alternate, so that drift of the machine meets both. What is printed are ratios; absolute
figures belong to the machine. There is no target yet.

    make bench
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import aiohttp

MCCTL = str(Path(sys.executable).parent / "mcctl")
QUESTION = "What is the status of order O-2001?"
GOVERNANCE = {"urn:mc-platform:a2a:governance:1": {"agent": "records", "purpose": "support"}}


def _call() -> bytes:
    message = {
        "messageId": str(uuid.uuid4()),
        "role": "ROLE_USER",
        "parts": [{"text": QUESTION}],
        "metadata": GOVERNANCE,
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    return json.dumps(body).encode()


async def _round(url: str, headers: dict[str, str], clients: int, seconds: float) -> list[float]:
    """Latencies in seconds of all requests that `clients` closed loops made in `seconds`."""
    latencies: list[float] = []
    end = time.perf_counter() + seconds
    async with aiohttp.ClientSession(headers=headers) as session:

        async def loop() -> None:
            while time.perf_counter() < end:
                began = time.perf_counter()
                async with session.post(url, data=_call()) as response:
                    body = await response.read()
                if response.status != 200 or b"O-2001 is" not in body:
                    raise RuntimeError(f"{url} answered {response.status}: {body[:300]!r}")
                latencies.append(time.perf_counter() - began)

        await asyncio.gather(*(loop() for _ in range(clients)))
    return latencies


def _p95_ms(latencies: list[float]) -> float:
    return statistics.quantiles(latencies, n=20)[18] * 1000


async def _measure(
    sides: dict[str, tuple[str, dict[str, str]]], clients: int, rounds: int, seconds: float
) -> dict[str, list[float]]:
    results: dict[str, list[float]] = {name: [] for name in sides}
    for name, (url, headers) in sides.items():  # warm-up, not counted
        await _round(url, headers, clients, 1.0)
        del name
    for _ in range(rounds):
        for name in random.sample(list(sides), k=len(sides)):
            results[name] += await _round(*sides[name], clients, seconds)
    return results


def _report(results: dict[str, list[float]], clients: int, measured_s: float) -> None:
    rate = {name: len(items) / measured_s for name, items in results.items()}
    p95 = {name: _p95_ms(items) for name, items in results.items()}
    for name, items in results.items():
        print(
            f"  {name:<9} {len(items):>7} requests  {rate[name]:>8.1f} req/s"
            f"  p50 {statistics.median(items) * 1000:>7.2f} ms  p95 {p95[name]:>7.2f} ms"
        )
    print(
        f"  ratio governed/plain at {clients} client(s): throughput"
        f" {rate['governed'] / rate['plain']:.2f}, p95 {p95['governed'] / p95['plain']:.2f}"
    )


def main() -> None:
    """Start a platform of its own, measure, stop it."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=3.0, help="of one round of one side")
    options.add_argument("--port", type=int, default=28080, help="edge port of the platform")
    given = options.parse_args()
    home = Path(tempfile.mkdtemp(prefix="mc-bench-"))
    home.chmod(0o711)
    env = {**os.environ, "MC_HOME": str(home), "MC_EDGE_PORT": str(given.port)}
    # The limit protects tenants from each other; here it would only cap the measurement.
    env |= {"MC_RATE_LIMIT_PER_S": "100000", "MC_RATE_LIMIT_BURST": "100000"}
    try:
        subprocess.run([MCCTL, "up"], env=env, check=True)
        token = json.loads((home / "secrets" / "credentials.json").read_text())["TENANT_001"][
            "token"
        ]
        headers = {"A2A-Version": "1.0", "Content-Type": "application/json"}
        sides = {
            "plain": (f"http://127.0.0.1:{given.port + 11}/", headers),
            "governed": (
                f"http://127.0.0.1:{given.port + 21}/a2a",
                {**headers, "Authorization": f"Bearer {token}"},
            ),
        }
        print(f"{os.cpu_count()} cores; each figure from {given.rounds} alternating rounds")
        for clients in (1, 16):
            print(f"{clients} closed-loop client(s):")
            results = asyncio.run(_measure(sides, clients, given.rounds, given.seconds))
            _report(results, clients, given.rounds * given.seconds)
    finally:
        subprocess.run([MCCTL, "down"], env=env, check=False)
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    main()
