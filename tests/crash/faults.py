"""The plan of faults, and the supervisor that carries it out and starts again what died.

The plan is drawn from the seed before anything runs, so a seed gives the same faults in the same
order; the moment at which each meets the platform is the machine's.

    kill      kill -9 of a replica, the postmaster or the SIEM; started again after `down_s`
    abandon   kill -9 of a replica amid operations; it stays dead until another one has adopted them
    freeze    SIGSTOP of a replica amid operations; SIGCONT after another one has adopted them
    blip      SIGSTOP of a replica for `down_s`, too short to be adopted

What dies by itself (a replica that finds no database at its start, say) is started again, too, as
any supervisor would, and counted. A paused replica is never taken for a dead one.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from mc_ops.errors import OpsError

from .adoption import Episode, watch_adoption
from .load import Load
from .platform import POSTGRES, SIEM, CrashPlatform

_LOOK_EVERY_S = 0.05
_AGAIN_AFTER_S = 0.3
_READY_WITHIN_S = 90.0
_BLIP_MOST_S = 3.0


class What(StrEnum):
    """The kinds of fault."""

    kill = "kill"
    abandon = "abandon"
    freeze = "freeze"
    blip = "blip"


class Victim(StrEnum):
    """Whom a fault meets."""

    replica = "replica"
    postgres = "postgres"
    siem = "siem"


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        gap_s: How long after the fault before it.
        down_s: How long its victim stays down; for `abandon` and `freeze` counted from the moment
            of its adoption.
        pick: Which replica, as a part of their number in [0, 1).
    """

    what: What
    victim: Victim
    gap_s: float
    down_s: float
    pick: float


@dataclass(slots=True)
class Tally:
    """What was done to the platform, and what it did by itself."""

    faults: Counter[str] = field(default_factory=Counter)
    kills: int = 0
    ended_by_itself: Counter[str] = field(default_factory=Counter)
    episodes: list[Episode] = field(default_factory=list)
    not_back: list[str] = field(default_factory=list)


def plan(*, seed: int, kills: int, gap_s: float) -> list[Fault]:
    """Draw the faults: `kills` times kill -9, and pauses beside them.

    Args:
        seed: Fixes everything.
        kills: How many times `kill -9`, among them one `abandon` for each twenty.
        gap_s: The longest time between two faults.
    """
    rng = random.Random(f"{seed}/faults")
    abandons = freezes = max(1, kills // 20) if kills else 0
    plain = kills - abandons
    postgres, siem = -(-plain // 5), -(-plain // 5)
    kinds = [(What.kill, Victim.replica)] * max(0, plain - postgres - siem)
    kinds += [(What.kill, Victim.postgres)] * postgres + [(What.kill, Victim.siem)] * siem
    kinds += [(What.abandon, Victim.replica)] * abandons
    kinds += [(What.freeze, Victim.replica), (What.blip, Victim.replica)] * freezes
    rng.shuffle(kinds)
    return [
        Fault(
            what,
            victim,
            gap_s=rng.uniform(0.05, gap_s),
            down_s=rng.choice((0.0, rng.uniform(0.0, _BLIP_MOST_S))),
            pick=rng.random(),
        )
        for what, victim in kinds
    ]


class Supervisor:
    """Starts again whatever dies, except what is held down; carries out the plan."""

    def __init__(self, platform: CrashPlatform, load: Load) -> None:
        self._platform = platform
        self._load = load
        self._names = (*platform.replicas, POSTGRES, SIEM)
        self._held: set[str] = set()
        self._down_until: dict[str, float] = {}
        self._killed: set[str] = set()
        self._keeping: list[asyncio.Task[None]] = []
        self.tally = Tally()

    def start(self) -> None:
        """Begin to look after the processes."""
        self._keeping = [asyncio.create_task(self._keep(name)) for name in self._names]

    async def stop(self) -> None:
        """Look after them no longer."""
        for task in self._keeping:
            task.cancel()
        await asyncio.gather(*self._keeping, return_exceptions=True)

    async def carry_out(self, faults: Sequence[Fault]) -> None:
        """Do the faults, one after the other; what they break heals meanwhile."""
        for fault in faults:
            await asyncio.sleep(fault.gap_s)
            name = self._name_of(fault)
            self.tally.faults[f"{fault.what} {fault.victim}"] += 1
            if fault.what is What.kill:
                await self._wait_alive(name)
                self.kill(name, down_s=fault.down_s)
            elif fault.what is What.blip:
                await self._blip(name, fault.down_s)
            else:
                await self._adoption(fault, name)

    def kill(self, name: str, *, down_s: float = 0.0) -> None:
        """`kill -9`; started again after `down_s`."""
        self._killed.add(name)
        self._down_until[name] = time.monotonic() + down_s
        if self._platform.kill(name):
            self.tally.kills += 1

    def hold(self, name: str) -> None:
        """Keep it down when it dies, until `release`."""
        self._held.add(name)

    def release(self, name: str) -> None:
        """Start it again now."""
        self._held.discard(name)

    async def all_ready(self, within_s: float = _READY_WITHIN_S) -> bool:
        """Wait until everything serves; what does not in time is kept in the tally."""
        deadline = time.monotonic() + within_s
        waiting = list(self._names)
        while waiting and time.monotonic() < deadline:
            ready = await asyncio.gather(
                *(asyncio.to_thread(self._platform.ready, name) for name in waiting)
            )
            waiting = [name for name, one in zip(waiting, ready, strict=True) if not one]
            await asyncio.sleep(_LOOK_EVERY_S if waiting else 0)
        for name in waiting:
            words = self._platform.last_words(name)
            self.tally.not_back.append(f"{name} not ready after {within_s:g} s{words}")
        return not waiting

    # -- the faults ---------------------------------------------------------------------------

    async def _blip(self, name: str, down_s: float) -> None:
        await self._wait_alive(name)
        self._platform.pause(name)
        try:
            await asyncio.sleep(down_s)
        finally:
            self._platform.wake(name)

    async def _adoption(self, fault: Fault, name: str) -> None:
        """Nothing else breaks meanwhile: an adoption needs somebody who adopts."""
        if not await self.all_ready():
            return
        self.hold(name)
        try:
            episode = await watch_adoption(
                platform=self._platform,
                load=self._load,
                victim=name,
                how=fault.what,
                strike=(lambda: self.kill(name))
                if fault.what is What.abandon
                else (lambda: self._pause(name)),
                pick=fault.pick,
            )
            self.tally.episodes.append(episode)
            await asyncio.sleep(fault.down_s)
        finally:
            self._platform.wake(name)
            self.release(name)

    def _pause(self, name: str) -> None:
        self._platform.pause(name)

    def _name_of(self, fault: Fault) -> str:
        replicas = self._platform.replicas
        return (
            replicas[int(fault.pick * len(replicas))]
            if fault.victim is Victim.replica
            else fault.victim.value
        )

    async def _wait_alive(self, name: str) -> None:
        deadline = time.monotonic() + _READY_WITHIN_S
        while not self._platform.alive(name) and time.monotonic() < deadline:
            await asyncio.sleep(_LOOK_EVERY_S)

    # -- the care -----------------------------------------------------------------------------

    async def _keep(self, name: str) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            if self._platform.alive(name) or name in self._held:
                continue
            if name in self._killed:
                self._killed.discard(name)
            else:
                self.tally.ended_by_itself[name] += 1
                self._down_until[name] = time.monotonic() + _AGAIN_AFTER_S
            while time.monotonic() < self._down_until.get(name, 0.0) or name in self._held:
                await asyncio.sleep(_LOOK_EVERY_S)
            with contextlib.suppress(OpsError):  # its port is still held, say: look again
                await asyncio.to_thread(self._platform.start, name)
