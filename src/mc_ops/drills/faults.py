"""What a drill breaks, and how that is mended: a platform of one region.

`two_regions.py` has the same for two. Whatever happens, what was broken is mended once.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from mc_contract.drill import LOSING, Request
from mc_ops.drills.clients import Clients
from mc_ops.drills.control_store import ControlStore
from mc_ops.drills.plan import Plan
from mc_ops.drills.report import Times
from mc_ops.drills.restored import RestoredRegion, halt_told
from mc_ops.environments import Part, Startable, UpRequest

Say = Callable[[str], None]
Control = Callable[[str], Awaitable[bool]]
"""Ask the drill's control with a message's id: whether it acknowledged it."""


class Fault(Protocol):
    """One scenario on one platform.

    Attributes:
        regions: Those that are up before, whose replicas are what ran.
        urls: Where clients ask, in their order.
        spread: Whether clients begin with each region in turn.
        look_up_url: Where is asked after the recovery what was acknowledged.
        control: Asks another control than the store with a message's id; None: the store is.
        look_again_url: Where is asked again when all is mended; empty: nowhere.
        told: What else the report says.
        problem: What was not mended as it should be; empty if nothing.
    """

    regions: Sequence[Startable]
    urls: Mapping[str, str]
    spread: bool
    control: Control | None
    look_up_url: str
    look_again_url: str
    told: dict[str, Any]
    problem: str

    async def expect(self, clients: Clients) -> None:
        """Make ready what the recovery needs, and say what may be lost now."""

    async def break_it(self, clients: Clients) -> float:
        """Break it, as one instant.

        Returns:
            That instant, by the clients' clock: just before the first process was signalled.

        Raises:
            CouldNotTell: there is nothing to break.
        """

    async def recover(self, clients: Clients, times: Times) -> None:
        """Do, or wait for, what brings service back.

        Raises:
            OpsError: it does not come back.
        """

    async def settle(self, clients: Clients, times: Times) -> None:
        """What is still to be seen while clients ask, after they were served again."""

    async def restore(self, rows: Sequence[Request]) -> bool:
        """Restore the broken one of two regions from its backup; whether that is to be looked up there."""

    async def account(self, rows: Sequence[Request]) -> None:
        """Look what the operations of these rows did, when all is mended.

        Raises:
            OpsError: that cannot be told.
        """

    async def mend(self) -> None:
        """Undo whatever is still to be undone.

        Raises:
            CouldNotTell: the platform does not come up again.
        """


class OneRegion:
    """A region that is started again, or goes on."""

    spread = False
    control: Control | None = None
    look_again_url = ""
    problem = ""

    def __init__(
        self,
        environment: Startable,
        plan: Plan,
        control: ControlStore,
        say: Say,
        backup: RestoredRegion | None = None,
    ) -> None:
        self.regions: Sequence[Startable] = (environment,)
        self.urls: Mapping[str, str] = {"": environment.url}
        self.look_up_url = environment.url
        self.told: dict[str, Any] = {}
        self._environment, self._plan, self._control, self._say = environment, plan, control, say
        self._backup = backup
        self._is_broken = False

    async def expect(self, clients: Clients) -> None:
        """Of a lost disk what came after the moment that is restored; else the plan has said it: nothing."""
        if self._backup is not None:
            await self._backup.prepare(clients.now)
            self.told["restore"] = self._backup.told
            self._say(
                f"expected loss: up to {self._plan.writes_per_s * (clients.now() - self._backup.to_s):.0f} "
                "acknowledged writes of each tenant"
            )

    async def break_it(self, clients: Clients) -> float:
        part = Part.database if self._plan.scenario == "db-kill" else Part.whole
        number = signal.SIGKILL if self._plan.scenario in LOSING else signal.SIGSTOP
        self._is_broken = True
        sent = await asyncio.to_thread(
            self._environment.signal, part, number, (self._control.pid,), clients.now
        )
        self._say(f"{signal.Signals(number).name} sent to {', '.join(sent.names)}")
        return sent.at_s

    async def recover(self, clients: Clients, times: Times) -> None:
        """As a person would, who sees the fault at once; for a freeze when its time is over."""
        if self._plan.scenario not in LOSING:
            await asyncio.sleep(self._plan.freeze_s)
        times.decided_s = clients.now()
        if self._backup is not None:
            await clients.told()
            await self._backup.restore(clients.rows)
        await asyncio.to_thread(self._mend)
        times.moved_s = clients.now()

    async def settle(self, clients: Clients, times: Times) -> None:
        """Nothing is left to be seen."""

    async def restore(self, rows: Sequence[Request]) -> bool:  # noqa: ARG002 - the interface's
        """It was restored to recover, and is looked up once."""
        return False

    async def account(self, rows: Sequence[Request]) -> None:
        """Of one region no operations are asked for."""
        if self._backup is not None:
            self.problem = "; ".join(self._backup.wrong(rows, "found"))

    async def mend(self) -> None:
        if self._backup is not None:
            await self._backup.ended()
        with halt_told(self._backup):
            if self._is_broken:
                self._say("bringing the platform up again")
                await asyncio.to_thread(self._mend)
            if self._backup is not None:
                await asyncio.to_thread(self._backup.resume)

    def _mend(self) -> None:
        if self._plan.scenario not in LOSING:
            self._environment.signal(Part.whole, signal.SIGCONT, (self._control.pid,))
        self._environment.up(UpRequest())
        self._is_broken = False
