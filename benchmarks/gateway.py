"""The governed gateway in front of an agent and around it, beside the agent asked directly and bare proxies.

All sides answer the same question with the same downstream agent, a plain `a2a-sdk` server with its
in-memory store: `SDK server` is that agent, asked directly; `bare proxy` is a reverse proxy that does
nothing else, on the gateway's HTTP server with aiohttp's client; ContextForge is a gateway of others, as its A2A
proxy; ours is one workbench replica, which
authenticates, screens both ways, decides by policy twice, commits intent and outcome to the ledger
and delivers them to the SIEM. So ours does all that the others do, and more. `gateway, agent inside`
is the same replica with the same agent as a Python function in it (docs/how-to/in-process-agents.md).

Clients are closed loops; "half load" is an even schedule at half of the rate that ours reached with
16 of them. Rounds alternate, so that drift of the machine meets all. CPU is of the processes that
serve a side, without the agent's behind a proxy and without the database's.

    make bench
    python benchmarks/gateway.py --rounds 2 --seconds 1
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
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from _contextforge import NOT_THERE, PYTHON, contextforge
from _rounds import Round, Side, listener, tree_cpu_s, versus
from _table import Row, add_option, finish

from mc_ops.environments.local.layout import Layout

MCCTL = str(Path(sys.executable).parent / "mcctl")
QUESTION = "What is the status of order O-2001?"
OURS, DIRECT, BARE, OTHER = "gateway", "SDK server, asked directly", "bare proxy", "ContextForge"
INSIDE = "gateway, agent inside"
CROWD = 16
_CATALOGUE = Path(__file__).parents[1] / "deploy" / "local" / "catalogue.toml"
_TENANTS_AGENTS = 'agents = ["records", "fulfilment"]'
_AGENT_INSIDE = """
[agents.inside]
agent = "python:mc_samples.records_agent:answer_parts"
residency = "eu"
"""
_HEADERS = {"A2A-Version": "1.0", "Content-Type": "application/json"}
_WARM_UP_S = 1.0
_BARE_OFFSET, _OTHER_OFFSET = 90, 91  # of the proxies' ports from the edge's


@dataclass(frozen=True, slots=True)
class Target:
    """Where a side answers, its process, and which agent a gateway is told to ask."""

    url: str
    headers: dict[str, str]
    pid: int
    agent: str = "records"


def _call(agent: str) -> bytes:
    governance = {"agent": agent, "purpose": "support"}
    message = {
        "messageId": str(uuid.uuid4()),
        "role": "ROLE_USER",
        "parts": [{"text": QUESTION}],
        "metadata": {"urn:mc-platform:a2a:governance:1": governance},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
    return json.dumps(body).encode()


Ask = Callable[[float], Coroutine[Any, Any, None]]


async def _round(target: Target, drive: Callable[[Ask], Awaitable[None]]) -> Round:
    """What `drive` asks of a target; each question is timed from when it was due."""
    latencies_s: list[float] = []
    # As many connections as questions are under way, so that none waits in the client
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=target.headers, connector=connector) as session:

        async def ask(due: float) -> None:
            async with session.post(target.url, data=_call(target.agent)) as response:
                body = await response.read()
            if response.status != 200 or b"O-2001 is" not in body:
                raise RuntimeError(f"{target.url} answered {response.status}: {body[:300]!r}")
            latencies_s.append(time.perf_counter() - due)

        cpu_s, began = tree_cpu_s(target.pid), time.perf_counter()
        await drive(ask)
        elapsed_s = time.perf_counter() - began
        return Round(latencies_s, elapsed_s, tree_cpu_s(target.pid) - cpu_s)


def _closed(clients: int, seconds: float) -> Callable[[Ask], Awaitable[None]]:
    async def drive(ask: Ask) -> None:
        end = time.perf_counter() + seconds

        async def loop() -> None:
            while (now := time.perf_counter()) < end:
                await ask(now)

        await asyncio.gather(*(loop() for _ in range(clients)))

    return drive


def _scheduled(rate: float, seconds: float) -> Callable[[Ask], Awaitable[None]]:
    async def drive(ask: Ask) -> None:
        began = time.perf_counter()
        async with asyncio.TaskGroup() as asked:
            for number in range(max(2, int(rate * seconds))):
                due = began + number / rate
                await asyncio.sleep(due - time.perf_counter())
                asked.create_task(ask(due))

    return drive


async def _measure(
    targets: dict[str, Target], drive: Callable[[Ask], Awaitable[None]], rounds: int
) -> dict[str, Side]:
    sides = {name: Side(name) for name in targets}
    for target in targets.values():
        await _round(target, _closed(CROWD, _WARM_UP_S))
    for _ in range(rounds):
        for name in random.sample(list(targets), k=len(targets)):
            sides[name].rounds.append(await _round(targets[name], drive))
    print(*sides.values(), sep="\n")
    return sides


def _figures(targets: dict[str, Target], rounds: int, seconds: float) -> list[Row]:
    print(f"{CROWD} clients:")
    crowd = asyncio.run(_measure(targets, _closed(CROWD, seconds), rounds))
    ours, rate = crowd[OURS], statistics.median(crowd[OURS].each(lambda one: one.rate))
    what = f"proxy, {CROWD} clients"
    rows = [
        versus(what, ours, crowd[DIRECT], per="request", at_least=0.8),
        versus(
            f"agent inside, {CROWD} clients",
            crowd[INSIDE],
            crowd[DIRECT],
            per="request",
            at_least=2.0,
        ),
        *(
            versus(what, ours, crowd[peer], per="request")
            for peer in (BARE, OTHER)
            if peer in crowd
        ),
        Row(
            what=f"CPU of a request, {CROWD} clients",
            beside=BARE,
            values=ours.each(lambda one: one.cpu_us / 1000),
            unit="ms",
            at_most=1.2,
        ),
    ]
    print("1 client:")
    alone = asyncio.run(_measure(targets, _closed(1, seconds), rounds))
    rows += [
        versus(
            "p50, 1 client", alone[OURS], alone[peer], per="request",
            figure=lambda one: one.p50_ms, at_most=1.6 if peer == DIRECT else None,
        )
        for peer in (DIRECT, BARE)
    ]  # fmt: skip
    print(f"{rate / 2:.0f} requests/s, an even schedule:")
    rows.append(_added_at(rate / 2, targets, rounds, seconds))
    if OTHER not in targets:
        rows.append(Row(what=what, beside=OTHER, note=NOT_THERE))
    return rows


def _added_at(rate: float, targets: dict[str, Target], rounds: int, seconds: float) -> Row:
    """What ours adds to the p95 of an even schedule, in ms."""
    what = "p95 added at half load"
    try:
        half = asyncio.run(_measure(targets, _scheduled(rate, seconds), rounds))
    except ExceptionGroup as failed:
        # A schedule does not wait for a side that falls behind, which then refuses for want of a place
        refused, others = failed.split(RuntimeError)
        if refused is None or others is not None:
            raise
        print(refused.exceptions[0], file=sys.stderr)
        return Row(what=what, beside=DIRECT, note=f"a side fell behind {rate:.0f} requests/s")
    p95 = (half[name].each(lambda one: one.p95_ms) for name in (OURS, DIRECT))
    added = tuple(a - b for a, b in zip(*p95, strict=True))
    return Row(what=what, beside=DIRECT, values=added, unit="ms", at_most=3.0)


@contextmanager
def _platform(port: int) -> Iterator[dict[str, Target]]:
    """A platform of its own and proxies in front of its agent; all sides by name."""
    home = Path(tempfile.mkdtemp(prefix="mc-bench-"))
    home.chmod(0o711)
    layout = Layout(home=home, edge_port=port)
    env = {**os.environ, "MC_HOME": str(home), "MC_EDGE_PORT": str(port)}
    # The limit protects tenants from each other; here it would only cap the measurement.
    env |= {"MC_RATE_LIMIT_PER_S": "100000", "MC_RATE_LIMIT_BURST": "100000"}
    catalogue = home / "catalogue.toml"
    shipped = _CATALOGUE.read_text(encoding="utf-8")
    given = shipped.replace(_TENANTS_AGENTS, f'{_TENANTS_AGENTS[:-1]}, "inside"]')
    catalogue.write_text(given + _AGENT_INSIDE, encoding="utf-8")
    env["MC_CATALOGUE"] = str(catalogue)
    agent_url = f"{layout.url_of('records-agent')}/"
    try:
        subprocess.run([MCCTL, "up"], env=env, check=True)
        credentials = json.loads((home / "secrets" / "credentials.json").read_text())
        token = credentials["TENANT_001"]["token"]
        with ExitStack() as stack:
            bare_url = stack.enter_context(_bare_proxy(port + _BARE_OFFSET, agent_url))
            sides = {
                DIRECT: _target(agent_url),
                BARE: _target(bare_url),
                OURS: (ours := _target(f"{layout.url_of('blue-1')}/a2a", token)),
                INSIDE: replace(ours, agent="inside"),
            }
            if PYTHON.exists():
                other = contextforge(port + _OTHER_OFFSET, agent_url, home)
                sides[OTHER] = _target(*stack.enter_context(other))
            yield sides
    finally:
        subprocess.run([MCCTL, "down"], env=env, check=False)
        shutil.rmtree(home, ignore_errors=True)


@contextmanager
def _bare_proxy(port: int, agent_url: str) -> Iterator[str]:
    command = [sys.executable, str(Path(__file__).with_name("_bare_proxy.py")), str(port)]
    with subprocess.Popen([*command, agent_url], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield f"http://127.0.0.1:{port}/"
        finally:
            process.terminate()


def _target(url: str, token: str | None = None) -> Target:
    """Where a side answers; the process that listens there must run."""
    more = {"Authorization": f"Bearer {token}"} if token else {}
    return Target(url, _HEADERS | more, listener(urlsplit(url).port or 0))


def main() -> int:
    """Start a platform of its own, measure, stop it; 1 if a target is missed."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--seconds", type=float, default=3.0, help="of one round of one side")
    options.add_argument("--port", type=int, default=28080, help="edge port of the platform")
    add_option(options)
    given = options.parse_args()
    with _platform(given.port) as targets:
        rows = _figures(targets, given.rounds, given.seconds)
    return finish(rows, given.rows)


if __name__ == "__main__":
    sys.exit(main())
