"""One look for all who ask, and what it tells to whom."""

from __future__ import annotations

import asyncio

import pytest

from mc_platform.observe.health import Health


class Dependency:
    """A dependency that can be slow, and counts how often it was looked at."""

    def __init__(self):
        self.looks = 0
        self.works = True
        self.answers = asyncio.Event()
        self.answers.set()

    async def probe(self):
        self.looks += 1
        await self.answers.wait()
        return self.works, {"each": {"agent-of-TENANT_001": "ok"}}


@pytest.fixture
def dependency():
    return Dependency()


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def health(dependency, clock):
    return Health(
        identity=lambda: {"service": "s", "version": "1", "colour": "blue", "faults": {}},
        vital={"agents": dependency.probe},
        other={},
        keep_s=1.0,
        monotonic=lambda: clock[0],
    )


async def test_two_hundred_who_ask_at_once_cause_one_look(health, dependency):
    """However slow it is; who leaves meanwhile ends it for nobody."""
    dependency.answers.clear()
    asking = [asyncio.create_task(health.look()) for _ in range(200)]
    await asyncio.sleep(0)
    asking[0].cancel()
    dependency.answers.set()
    answers = await asyncio.gather(*asking, return_exceptions=True)
    assert dependency.looks == 1
    assert {answer[0] for answer in answers[1:]} == {200}


async def test_a_look_lasts_for_the_interval_and_no_longer(health, dependency, clock):
    """A dependency that goes down is told after a second at most, and comes back likewise."""
    assert (await health.look())[0] == 200
    dependency.works = False
    assert (await health.look())[0] == 200
    clock[0] = 1.0
    assert (await health.look())[1]["status"] == "unavailable"
    dependency.works = True
    clock[0] = 2.0
    assert (await health.look())[0] == 200
    assert dependency.looks == 3


async def test_draining_shows_at_once(health, dependency):
    """It is our own doing and needs no look."""
    await health.look()
    health.draining = True
    status, body = await health.look()
    assert (status, body["status"]) == (503, "draining")
    assert (await health.look(detail=False))[0] == 503
    assert dependency.looks == 1


async def test_strangers_see_no_names(health):
    """Whether it serves, which version of what; no dependency, no agent, no fault."""
    _, body = await health.look(detail=False)
    assert body == {"status": "ok", "service": "s", "version": "1", "colour": "blue"}
