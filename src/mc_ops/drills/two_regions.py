"""What a drill breaks where two regions stand on this machine: the home of its tenants.

The other region takes the homes when the lease of the broken one has lapsed; or the link between them is
cut, and both go on. It is mended in this order:
the broken region comes up, both have the same again, the homes are put back where they were.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from mc_contract.drill import LOSING, Request
from mc_contract.numbers import counted
from mc_ops import exit_codes
from mc_ops.drills.clients import Clients
from mc_ops.drills.control_store import ControlStore
from mc_ops.drills.effects import RECEIVER, effects_at, judge
from mc_ops.drills.faults import Control
from mc_ops.drills.plan import Plan
from mc_ops.drills.report import Times
from mc_ops.drills.restored import RestoredRegion, halt_told
from mc_ops.environments import Part, Startable, UpRequest
from mc_ops.environments.administered import report_of, said_by
from mc_ops.environments.interface import silent
from mc_ops.errors import CouldNotTell, OpsError, UnusableInput
from mc_ops.outgoing import sessions
from mc_ops.service_client import OperatorClient
from mc_ops.service_client.http import HttpClient

_LOOK_S, _LOOK_AGAIN_S = 0.1, 1.0
_PATIENCE_S = 120.0
_OPERATING_TIER = 2  # of `place-order`
_WOKEN_S = 3.0  # of load after a frozen home wakes, in which it must enact nothing
_CAUGHT_UP_S = 2.0  # heartbeats come each second
_TOLD_WITHIN_S = 10.0  # a replica that began before it had a peer looks for one each 5 s
_LAG_WITHIN_S = 5.0  # of the cut, at its end: a beat may be late on a busy machine
_WRONG = {
    "twice": "effects twice under one key",
    "half": "operations stand half done",
    "unknown": "operations that no client asked for",
    "former": "effects by a former home",
}
_LAG = re.compile(r'^mc_replication_lag_seconds\{peer="([^"]*)"\} (\S+)$', re.MULTILINE)
Say = Callable[[str], None]


def homes_of(environment: Startable, operator: str) -> dict[str, dict[str, Any]]:
    """The tenants' homes, as a region tells them.

    Raises:
        OpsError: it does not.
    """
    with OperatorClient(environment.url, token=operator) as client:
        return {one["tenant"]: one for one in client.homes()["homes"]}


def home_of(environment: Startable, operator: str, tenants: Sequence[str]) -> str:
    """The region that is the home of all these tenants.

    Raises:
        UnusableInput: they have several, or one has none.
        OpsError: it cannot be told.
    """
    homes = homes_of(environment, operator)
    found = {tenant: homes[tenant]["region"] for tenant in tenants if tenant in homes}
    if len(found) < len(tenants) or len(set(found.values())) != 1:
        said = ", ".join(f"{tenant}: {found.get(tenant, 'none')}" for tenant in tenants)
        raise UnusableInput(
            f"a drill breaks one region, and these tenants' homes are several ({said})",
            hint="name tenants of one home with --tenant, or move homes: mcctl home move",
        )
    return str(next(iter(found.values())))


def lag_of(environment: Startable, peer: str) -> float:
    """How far a region is behind its peer, in seconds, by its own metric.

    Raises:
        CouldNotTell: it does not tell, nor a while later.
    """
    until = time.monotonic() + _TOLD_WITHIN_S
    while True:
        for instance in environment.instances(environment.active_colour()):
            with HttpClient(instance.url) as client:
                found = dict(_LAG.findall(client.reach("GET", "/metrics").text))
            if peer in found:
                return float(found[peer])
        if time.monotonic() > until:
            raise CouldNotTell(
                f"{environment.url} does not tell how far it is behind {peer}",
                hint="mcctl replication status says what is missing",
            )
        time.sleep(_LOOK_S)


def between_regions(plan: Plan, regions: Sequence[Startable], administrator: str) -> Plan:
    """The plan where two regions stand: which is broken, and how far the other one is behind it now.

    Args:
        plan: As for one region, with an operator's token.
        regions: Both, which run.
        administrator: An administrator's token, which sees what tenants may.

    Raises:
        OpsError: a region does not answer, or the tenants have no home in common.
    """
    with OperatorClient(regions[0].url, token=administrator) as client:
        tiers = {one["id"]: one.get("autonomy_tier") or 0 for one in client.tenants()["tenants"]}
    operating = tuple(name for name in plan.tokens if tiers.get(name, 0) >= _OPERATING_TIER)
    waiting = tuple(name for name in _sync_tenants(regions[0]) if name in plan.tokens)
    return turned(replace(plan, operating=operating, sync=waiting), regions)


def turned(plan: Plan, regions: Sequence[Startable]) -> Plan:
    """The plan with the region that is the home now, and how far the other one is behind it."""
    home = home_of(regions[0], plan.operator, [*plan.tokens])
    by_name = {one.region(): one for one in regions}
    survivor = next(name for name in by_name if name != home)
    return replace(plan, home=home, survivor=survivor, lag_s=lag_of(by_name[survivor], home))


def _sync_tenants(environment: Startable) -> list[str]:
    """The tenants whose answers wait for the peer, by the catalogue that a replica began with."""
    for instance in environment.instances(environment.active_colour()):
        path = Path(environment.settings(instance.name)["MC_CATALOGUE"])
        tenants = tomllib.loads(path.read_text(encoding="utf-8"))["tenants"]
        return [name for name, one in tenants.items() if one.get("replication") == "sync"]
    raise CouldNotTell("no replica runs", hint="mcctl status")


class TwoRegions:
    """The home of a drill's tenants is broken; implements `faults.Fault`."""

    def __init__(
        self,
        regions: Sequence[Startable],
        plan: Plan,
        control: ControlStore,
        say: Say,
        backup: RestoredRegion | None = None,
    ) -> None:
        self.regions = regions
        self._backup = backup
        self._first = regions[0]
        self._by_name = {one.region(): one for one in regions}
        self._home, self._survivor = self._by_name[plan.home], self._by_name[plan.survivor]
        self.urls: Mapping[str, str] = {
            plan.home: self._home.url,
            plan.survivor: self._survivor.url,
        }
        self.look_up_url, self.look_again_url = self._survivor.url, self._home.url
        self.told: dict[str, Any] = {"home": plan.home, "survivor": plan.survivor}
        self.problem = ""
        self.spread = plan.cuts
        self.control: Control | None = self._cross if plan.cuts else None
        self._across = f"{_peer_url(self._home)}/health" if plan.cuts else ""
        self._receiver = self._first.neighbour_url(RECEIVER)
        self._effects_before = len(effects_at(self._receiver))
        self._plan, self._control, self._say = plan, control, say
        self._before: dict[str, dict[str, Any]] = {}
        self._is_broken = self._is_down = False

    async def expect(self, clients: Clients) -> None:
        self._before = await asyncio.to_thread(homes_of, self._survivor, self._plan.operator)
        if self._plan.cuts:
            return
        if self._backup is not None:
            await self._backup.prepare(clients.now)
            self.told["restore"] = self._backup.told
        lag_s = await asyncio.to_thread(lag_of, self._survivor, self._plan.home)
        self.told["expected"] = {"lag_s": lag_s, "loss": self._plan.expected_loss(lag_s)}
        self._say(f"expected loss: {self.told['expected']['loss']}")
        if self._backup is not None:
            lost = self._plan.writes_per_s * (clients.now() - self._backup.to_s)
            self._say(
                f"the backup itself lacks up to {lost:.0f} of each, which {self._plan.survivor} gives back"
            )

    async def break_it(self, clients: Clients) -> float:
        part = Part.database if self._plan.scenario == "db-kill" else Part.whole
        number = signal.SIGKILL if self._plan.scenario in LOSING else signal.SIGSTOP
        self._is_broken, self._is_down = True, not self._plan.cuts
        if self._plan.cuts:
            cut = await asyncio.to_thread(
                self._first.signal, Part.link, signal.SIGSTOP, (), clients.now
            )
            self._say(f"the link carries nothing for {self._plan.cut_s:g} s")
            return cut.at_s
        sent = await asyncio.to_thread(
            self._home.signal, part, number, (self._control.pid,), clients.now
        )
        told = ", ".join(sent.names)
        self._say(f"{signal.Signals(number).name} sent to {told} of {self._plan.home}")
        return sent.at_s

    async def recover(self, clients: Clients, times: Times) -> None:
        """Wait until the survivor is the home of all tenants of the drill, or the cut has lasted."""
        if self._plan.cuts:
            await self._watch_cut(clients, times)
            return
        deadline_s = times.fault_s + self._plan.patience_s
        while not await asyncio.to_thread(self._moved):
            if clients.now() > deadline_s:
                raise CouldNotTell(
                    f"{self._plan.survivor} has not taken the homes within {self._plan.patience_s:g} s",
                    hint="does the arbiter run? mcctl status; mcctl home list",
                )
            await asyncio.sleep(_LOOK_S)
        times.decided_s = clients.now()
        self._say(
            f"{self._plan.survivor} is the home {times.decided_s - times.fault_s:.1f} s after"
        )

    async def _watch_cut(self, clients: Clients, times: Times) -> None:
        """Look at the lag while the link is cut, and until it is gone again."""
        lag_s, mended_s = 0.0, times.fault_s + self._plan.cut_s
        while times.mended_s is None or clients.now() < mended_s + _PATIENCE_S:
            await asyncio.sleep(_LOOK_AGAIN_S)
            lags_s = [await asyncio.to_thread(lag_of, *pair) for pair in self._pairs()]
            if times.mended_s is None:
                lag_s = min(lags_s)
                if clients.now() >= mended_s:
                    await asyncio.to_thread(self._wake)
                    times.mended_s = clients.now()
                    self._say("the link carries again")
            elif max(lags_s) < _CAUGHT_UP_S:
                break
        caught_up_s = clients.now() - (times.mended_s or 0.0)
        self.told["lag"] = {"greatest_s": lag_s, "caught_up_s": round(caught_up_s, 3)}
        self._say(f"the lag grew to {lag_s:.1f} s, and was gone {caught_up_s:.1f} s after")
        if lag_s < self._plan.cut_s - _LAG_WITHIN_S or caught_up_s > _PATIENCE_S:
            self.problem = f"the lag was {lag_s:.1f} s at the end of the cut, or stayed"

    def _pairs(self) -> tuple[tuple[Startable, str], ...]:
        return (self._home, self._plan.survivor), (self._survivor, self._plan.home)

    async def _cross(self, _message: str) -> bool:
        """The control of a cut: whether a request from one region to the other is answered."""
        async with (
            sessions.open_session(keepalive_s=1.0) as session,
            session.get(self._across, allow_redirects=False) as answer,
        ):
            return answer.status > 0

    def _moved(self) -> bool:
        try:
            homes = homes_of(self._survivor, self._plan.operator)
        except OpsError:
            return False
        return all(homes[name]["region"] == self._plan.survivor for name in self._plan.tokens)

    async def settle(self, clients: Clients, times: Times) -> None:
        if self._plan.scenario == "freeze":
            self._say(f"{self._plan.home} wakes")
            await asyncio.to_thread(self._wake)
            times.mended_s = clients.now()
            await asyncio.sleep(_WOKEN_S)

    async def restore(self, rows: Sequence[Request]) -> bool:
        if self._backup is None:
            return False
        await self._backup.restore(row for row in rows if row.region == self._plan.home)
        await asyncio.to_thread(self._bring_up)
        return True

    async def account(self, rows: Sequence[Request]) -> None:
        """Wait until each operation has ended, and count what must not be.

        Raises:
            OpsError: the receiver does not answer.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            effects = await asyncio.to_thread(effects_at, self._receiver)
            judged = judge(effects[self._effects_before :], rows)
            if not judged["half"] or time.monotonic() > deadline:
                break
            await asyncio.sleep(_LOOK_AGAIN_S)
        self.told["effects"] = judged
        wrong = [
            f"{count} {_WRONG[name]}" for name, count in judged.items() if count and name in _WRONG
        ]
        self._say(
            f"operations ended: {judged['done']}; {', '.join(wrong) or 'each once and whole'}"
        )
        if self._backup is not None:
            wrong += self._backup.wrong(rows, "found_restored")
        self.problem = "; ".join(filter(None, (self.problem, *wrong)))

    def _wake(self) -> None:
        if self._plan.cuts:
            self._first.signal(Part.link, signal.SIGCONT)
            return
        self._home.signal(Part.whole, signal.SIGCONT, (self._control.pid,))

    async def mend(self) -> None:
        if self._backup is not None:
            await self._backup.ended()
        if self._is_broken:
            with halt_told(self._backup):
                await asyncio.to_thread(self._mend)

    def _mend(self) -> None:
        if self._plan.scenario not in LOSING:
            self._wake()
        self._bring_up()
        self._is_broken = False
        if self._backup is not None and self._backup.done:
            self._give_back()
        self._say("waiting until both regions have the same")
        if self._backup is not None or self._plan.puts_back:
            require_same(self.regions, silent)
        if self._backup is not None:
            self._backup.resume()
        if self._plan.puts_back:
            put_back(self._first, self._plan.operator, self._before, self._say)
        self.told["digests"] = require_same(self.regions, self._say)
        if self._backup is not None:
            self._backup.told["lost_entries_kept"] = _replication(self._survivor)[
                "lost_entries_kept"
            ]

    def _bring_up(self) -> None:
        if self._is_down:
            self._say(f"bringing {self._plan.home} up again")
            self._first.up(UpRequest())
            self._is_down = False

    def _give_back(self) -> None:
        """Have replication begin anew after the restore: the survivor gives back what it has of the other's."""
        self._say(f"repairing replication: {self._plan.survivor} gives back what it has")
        for one in reversed(self.regions):
            done = one.administer("replication", "repair")
            if done.returncode != exit_codes.OK:
                raise CouldNotTell(
                    f"replication is not repaired: {said_by(done)[-1]}",
                    hint="mcctl replication repair",
                )


def require_same(regions: Sequence[Startable], say: Say) -> dict[str, Any]:
    """Wait until both regions have the same, by their digests, and return these.

    Raises:
        CouldNotTell: they have not, after a while.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        with ThreadPoolExecutor(len(regions)) as pool:
            reports = list(pool.map(_replication, regions))
        digests: list[dict[str, Any]] = [one["digests"] for one in reports]
        problems = [problem for one in reports for problem in one["problems"]]
        if digests[0] == digests[1] and not problems:
            say("both regions have the same, by their digests")
            return digests[0]
        if time.monotonic() > deadline:
            kinds = {kind for one in digests for kind in one}
            differing = [k for k in sorted(kinds) if digests[0].get(k) != digests[1].get(k)]
            raise CouldNotTell(
                f"the regions have not the same after {_PATIENCE_S:g} s: "
                f"{'; '.join([*problems, *differing])}",
                hint="mcctl replication status",
            )
        time.sleep(_LOOK_AGAIN_S)


def put_back(
    region: Startable, operator: str, before: Mapping[str, Mapping[str, Any]], say: Say
) -> None:
    """Move the homes back to where they were; harmless where they are.

    Raises:
        OpsError: they are not back after a while, or nobody answers.
    """
    deadline = time.monotonic() + _PATIENCE_S
    asked = False
    with OperatorClient(region.url, token=operator) as client:
        while True:
            homes = {one["tenant"]: one for one in client.homes()["homes"]}
            away = [
                tenant
                for tenant, former in before.items()
                if homes[tenant]["region"] != former["region"] or homes[tenant]["bound_for"]
            ]
            if not away:
                return
            if not asked:
                asked = True
                say(f"moving {counted(len(away), 'home')} back")
                for tenant in away:
                    to = before[tenant]["region"]
                    client.move_home(tenant, to=to, reason="a drill has ended")
            if time.monotonic() > deadline:
                raise CouldNotTell(
                    f"the homes are not back after {_PATIENCE_S:g} s", hint="mcctl home list"
                )
            time.sleep(_LOOK_AGAIN_S)


def _peer_url(environment: Startable) -> str:
    """Where a region reaches its peer, as its replicas know it."""
    for instance in environment.instances(environment.active_colour()):
        path = environment.settings(instance.name)["MC_PEERS_FILE"]
        peers: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
        return str(peers["peers"][0]["url"])
    raise CouldNotTell("no replica of the home runs", hint="mcctl status")


def _replication(environment: Startable) -> dict[str, Any]:
    done = environment.administer("replication", "status", "--digests")
    if done.returncode != exit_codes.OK:
        return {"digests": {"": ""}, "problems": said_by(done)}
    return report_of(done)
