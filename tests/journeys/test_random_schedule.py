"""Cuts, freezes, kills and moves in a random order under load; what clients saw is checked afterwards.

The seed is printed; `TEST_SEED` repeats one. The laws: what was acknowledged is there in both regions; nothing is
enacted twice, by half, by a former home, or unasked; a task that has ended stays ended; each region's log is one that
only grew; and the home is a register that porcupine finds linearizable.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests import ports
from tests.journeys.conftest import platforms
from tests.register import Step, is_linearizable

from mc_contract.drill import CONTROL
from mc_ops.drills.clients import Clients
from mc_ops.drills.effects import RECEIVER, effects_at, judge
from mc_ops.drills.lookup import look_up
from mc_ops.drills.plan import Plan
from mc_ops.drills.two_regions import homes_of, require_same
from mc_ops.environments import Part, UpRequest, startable_regions
from mc_ops.errors import OpsError
from mc_ops.service_client import OperatorClient

pytestmark = [pytest.mark.long, pytest.mark.slow, pytest.mark.timeout(1200)]
TENANT = "TENANT_001"
FAULTS = 5
LOOK_S = 0.5


@pytest.fixture
def platform(monkeypatch):
    with platforms(lambda: ports.free_block(2)) as start:
        made = start("--regions", "2")
        for name in ("MC_HOME", "MC_EDGE_PORT"):
            monkeypatch.setenv(name, made.env[name])
        yield made


class Story:
    """One schedule, and what was seen of it."""

    def __init__(self, platform, seed):
        self.platform = platform
        self.random = random.Random(seed)
        self.regions = startable_regions()
        self.names = [one.region() for one in self.regions]
        self.operator = platform.token("OPERATOR")
        self.looks = []
        self.ended = {}
        self.risen = []

    async def run(self):
        plan = Plan("freeze", {TENANT: self.platform.token(TENANT)}, 10.0,
                    operating=(TENANT,), operations_per_s=2.0)  # fmt: skip
        urls = dict(zip(self.names, (one.url for one in self.regions), strict=True))
        clients = Clients(urls, plan, _yes, spread=True)
        load = asyncio.create_task(clients.run())
        async with self.watching(clients, urls):
            for number in range(FAULTS):
                await asyncio.sleep(self.random.uniform(1, 3))
                name = self.random.choice(("cut", "freeze", "kill", "move"))
                print(f"fault {number + 1}: {name}")
                await getattr(self, name)()
            await asyncio.sleep(3)
        clients.stop()
        await load
        await asyncio.to_thread(self.heal)
        return plan, urls, clients.rows

    async def cut(self):
        await self.stand_still(self.regions[0], Part.link)

    async def freeze(self):
        await self.stand_still(self.random.choice(self.regions), Part.whole)

    async def stand_still(self, region, part):
        await asyncio.to_thread(region.signal, part, signal.SIGSTOP)
        try:
            await asyncio.sleep(self.random.uniform(1, 7))
        finally:
            await asyncio.to_thread(region.signal, part, signal.SIGCONT)

    async def kill(self):
        region = self.random.choice(self.regions)
        await asyncio.to_thread(region.signal, Part.whole, signal.SIGKILL)
        await asyncio.sleep(self.random.uniform(0, 6))
        await asyncio.to_thread(self.regions[0].up, UpRequest())

    async def move(self):
        before = await asyncio.to_thread(self.home, 0)
        to = next(name for name in self.names if name != before["region"])
        call = time.monotonic_ns()
        try:
            with OperatorClient(self.regions[0].url, token=self.operator) as client:
                await asyncio.to_thread(client.move_home, TENANT, to=to, reason="a schedule")
        except OpsError:
            return  # it has not renewed, or moved meanwhile
        for _ in range(40):
            home = await asyncio.to_thread(self.home, 0)
            if home["region"] == to and home["term"] > before["term"]:
                self.looks.append(Step(9, call, time.monotonic_ns(), home["term"], moved=True))
                return
            await asyncio.sleep(LOOK_S)

    def home(self, number):
        return homes_of(self.regions[number], self.operator)[TENANT]

    def heal(self):
        self.regions[0].up(UpRequest())
        require_same(self.regions, print)

    @asynccontextmanager
    async def watching(self, clients, urls) -> AsyncIterator[None]:
        watches = [asyncio.create_task(self.watch(n, clients, urls)) for n in range(2)]
        try:
            yield
        finally:
            for one in watches:
                one.cancel()
            await asyncio.gather(*watches, return_exceptions=True)

    async def watch(self, number, clients, urls):
        """Look at the home and at an operation's task, again and again, in one region."""
        while True:
            await asyncio.sleep(LOOK_S)
            call = time.monotonic_ns()
            try:
                home = await asyncio.to_thread(self.home, number)
                self.looks.append(Step(number, call, time.monotonic_ns(), home["term"]))
                await self.look_at_a_task(number, clients.rows)
            except (OpsError, OSError, KeyError, TypeError, ValueError):
                continue  # it is away

    async def look_at_a_task(self, number, rows):
        begun = [row.task for row in rows if row.operation and row.task]
        if not begun:
            return
        task = self.random.choice([*begun[:3], *begun[-3:]])
        region = self.names[number]
        asked = self.platform if number == 0 else self.platform.second
        told = await asyncio.to_thread(asked.rpc, "GetTask", {"id": task}, tenant=TENANT)
        state = told.body["result"]["status"]["state"]
        ended = state not in ("TASK_STATE_SUBMITTED", "TASK_STATE_WORKING")
        if self.ended.get((region, task)) and self.ended[region, task] != state:
            self.risen.append((region, task, self.ended[region, task], state))
        if ended:
            self.ended[region, task] = state


async def _yes(_message):
    return True


def test_a_random_schedule_breaks_no_promise(platform, tmp_path):
    seed = int(os.environ.get("TEST_SEED") or random.SystemRandom().randrange(10**6))
    print(f"TEST_SEED={seed}")
    platform.second = type(platform)(platform.home / "region-2", platform.port + 80)
    platform.second.env.pop("MC_EDGE_PORT")
    both = (platform, platform.second)
    kept = [tmp_path / f"checkpoint-{number}" for number in range(2)]
    for one, path in zip(both, kept, strict=True):
        one.mcctl("audit", "verify", "--save-checkpoint", str(path))
    story = Story(platform, seed)
    receiver = story.regions[0].neighbour_url(RECEIVER)
    plan, urls, rows = asyncio.run(story.run())
    rows = [row for row in rows if row.tenant != CONTROL]
    assert sum(row.outcome == "acknowledged" for row in rows) > 50

    for name, url in urls.items():
        found = asyncio.run(look_up(rows, url, plan.tokens, None))
        lost = [row for row in found if row.outcome == "acknowledged" and not row.found]
        assert not lost, (name, seed, lost[:5])
    deadline = time.monotonic() + 180
    while True:
        counted = judge(effects_at(receiver), rows)
        if not counted["half"] or time.monotonic() > deadline:
            break
        time.sleep(1)
    assert {name: n for name, n in counted.items() if n and name != "done"} == {}, seed
    assert story.risen == [], seed
    for one, path in zip(both, kept, strict=True):
        one.mcctl("audit", "verify", "--known-checkpoint", str(path))
    (tmp_path / "looks.json").write_text(json.dumps([step.__dict__ for step in story.looks]))
    assert len(story.looks) > 20
    assert is_linearizable(story.looks), seed
