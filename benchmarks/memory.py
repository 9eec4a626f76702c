"""Memory of one replica over many requests: questions in new conversations, tasks, GraphQL.

    python benchmarks/memory.py [--requests 20000] [--full]

Starts a platform of its own with one replica and reads the replica's resident memory from
`/metrics` at each step. The first step, after which pools, caches and the interpreter's own arenas are
warm, is what the others are held against.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import _table
import aiohttp

MCCTL = str(Path(sys.executable).parent / "mcctl")
GOVERNANCE = {"urn:mc-platform:a2a:governance:1": {"agent": "records", "purpose": "support"}}
STEPS = 10
FULL = 100_000
CLIENTS = 8
MOST_MB = 220.0
FLAT = 1.05
_RESIDENT = re.compile(r"^process_resident_memory_bytes (\S+)$", re.MULTILINE)


async def _ask(session: aiohttp.ClientSession, url: str, number: int) -> None:
    """One request of three kinds; most begin a conversation, which nobody goes on with."""
    if number % 10 == 0:
        path = "/graphql"
        body: dict[str, object] = {"query": "{ tenant tasks(first: 5) { id state } }"}
    else:
        text = f"What is the status of order O-2001? Asked for the {number}th time."
        parts = [{"text": text}]
        told = {"messageId": str(uuid.uuid4()), "role": "ROLE_USER", "parts": parts}
        message = {**told, "metadata": GOVERNANCE}
        path, params = "/a2a", {"message": message}
        body = {"jsonrpc": "2.0", "id": number, "method": "SendMessage", "params": params}
    async with session.post(url + path, json=body) as response:
        answer = await response.read()
        if response.status != 200 or b'"error"' in answer:
            raise RuntimeError(f"{path} answered {response.status}: {answer[:300]!r}")


async def _measure(
    url: str, headers: list[dict[str, str]], requests: int, told: Callable[[int, float], None]
) -> None:
    """Send them in `STEPS` equal steps; after each, tell how many there were and the megabytes."""
    sessions = [aiohttp.ClientSession(headers=one) for one in headers]
    numbers = iter(range(1, requests + 1))
    try:
        for step in range(1, STEPS + 1):
            most = requests * step // STEPS

            async def loop(session: aiohttp.ClientSession, most: int = most) -> None:
                for number in numbers:
                    await _ask(session, url, number)
                    if number >= most - CLIENTS:
                        return

            work: list[Awaitable[None]] = [
                loop(sessions[client % len(sessions)]) for client in range(CLIENTS)
            ]
            await asyncio.gather(*work)
            await asyncio.sleep(1)
            async with sessions[0].get(url + "/metrics") as response:
                found = _RESIDENT.search(await response.text())
            if found is None:
                raise RuntimeError("the replica does not tell its resident memory")
            told(most, float(found[1]) / 1e6)
    finally:
        for session in sessions:
            await session.close()


def main() -> int:
    """Start a platform of its own, measure, stop it."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--requests", type=int, default=20_000)
    options.add_argument("--full", action="store_true", help=f"{FULL} requests")
    options.add_argument("--port", type=int, default=28280, help="edge port of the platform")
    _table.add_option(options)
    given = options.parse_args()
    home = Path(tempfile.mkdtemp(prefix="mc-bench-"))
    home.chmod(0o711)
    env = {**os.environ, "MC_HOME": str(home), "MC_EDGE_PORT": str(given.port)}
    env |= {"MC_RATE_LIMIT_PER_S": "100000", "MC_RATE_LIMIT_BURST": "100000"}
    points: list[tuple[float, tuple[float, ...]]] = []

    def told(requests: int, megabytes: float) -> None:
        print(f"{requests:>8} requests: {megabytes:6.1f} MB", flush=True)
        points.append((requests, (megabytes,)))

    try:
        subprocess.run([MCCTL, "up"], env=env, check=True)
        known = json.loads((home / "secrets" / "credentials.json").read_text())
        headers = [
            {"A2A-Version": "1.0", "Authorization": f"Bearer {known[tenant]['token']}"}
            for tenant in ("TENANT_001", "TENANT_002", "TENANT_003")
        ]
        url = f"http://127.0.0.1:{given.port + 21}"
        asyncio.run(_measure(url, headers, FULL if given.full else given.requests, told))
    finally:
        subprocess.run([MCCTL, "down"], env=env, check=False)
        shutil.rmtree(home, ignore_errors=True)
    last = points[-1][0]
    most = max(megabytes for _, (megabytes,) in points)
    series = _table.Series(
        what="resident memory of a replica, 3 tenants",
        size="requests",
        unit="MB",
        points=tuple(points),
        at_most=((last, FLAT),),
        note=f"at most {most:.0f} MB; the target is {MOST_MB:g} MB",
    )
    return max(_table.finish([series], given.rows), int(most > MOST_MB))


if __name__ == "__main__":
    sys.exit(main())
