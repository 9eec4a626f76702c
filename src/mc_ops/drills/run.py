"""The order of one drill; whatever happens in between, it ends with the platform up again.

1. Load on every tenant, and on the control; without answers there is nothing to break.
2. The fault, as one instant, for the platform and the control alike.
3. The recovery. Its error is kept: a platform that does not come back is the drill's finding.
4. Load until each tenant's requests have succeeded for long enough, or patience ends.
5. Each acknowledged write is looked up; of two regions in the survivor, before the other one is mended,
   and then again there. One that is restored from a backup is looked at between the two as well.
6. What is broken is mended; the figures are computed from the rows alone.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from mc_contract.drill import (
    ANSWERED,
    CONTROL,
    FAULT_SEEN_S,
    WINDOW_S,
    Request,
    figures,
)
from mc_contract.numbers import duration
from mc_contract.running import Groups, Record
from mc_ops.drills.clients import Clients
from mc_ops.drills.control_store import ControlStore, acknowledged
from mc_ops.drills.faults import Fault, OneRegion
from mc_ops.drills.lookup import Member, look_up
from mc_ops.drills.plan import REQUEST_TIMEOUT_S, Plan
from mc_ops.drills.report import Finished, Times, prepare, write, write_rows
from mc_ops.drills.restored import RestoredRegion
from mc_ops.drills.two_regions import TwoRegions
from mc_ops.environments import Startable
from mc_ops.environments.drill_lock import RunningDrill, only_drill
from mc_ops.errors import CouldNotTell, Declined, OpsError
from mc_ops.service_client.running import look as look_at

_LOOK_S = 0.2
_ANSWERED_WITHIN_S = 30.0
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Say = Callable[[str], None]
_Result = TypeVar("_Result")


def run_drill(regions: Sequence[Startable], plan: Plan, folder: Path, say: Say) -> Finished:
    """Carry out one drill and write its files; blocks until it has ended.

    Args:
        regions: The platform, which runs: one region, or two.
        plan: What is done to it.
        folder: Where the files go; made here.
        say: Is told what is done.

    Raises:
        CouldNotTell: another drill is under way; the platform does not answer before the fault;
            or it could not be brought up again, which the message says.
        Declined: interrupted; the platform is up again, and the rows so far are kept.
        UnusableInput: the folder is taken.
    """
    prepare(folder)
    began_at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    home = regions[0].workspace.home
    with only_drill(home, RunningDrill(folder.parent.name, plan.scenario, began_at)):
        control = ControlStore(folder / "control.txt")
        try:
            fault: Fault
            broken = next(one for one in regions if plan.home in ("", one.region()))
            backup = RestoredRegion(broken, plan.operator, folder, say) if plan.restores else None
            if len(regions) > 1:
                fault = TwoRegions(regions, plan, control, say, backup)
            else:
                fault = OneRegion(regions[0], plan, control, say, backup)
            return asyncio.run(_run(fault, plan, folder, control, began_at, say))
        finally:
            control.end()
            (folder / "control.txt").unlink(missing_ok=True)


async def _run(
    fault: Fault, plan: Plan, folder: Path, control: ControlStore, began_at: str, say: Say
) -> Finished:
    before = await asyncio.to_thread(_serving, fault, plan.home)
    asked = fault.control or partial(acknowledged, control.port)
    clients = Clients(fault.urls, plan, asked, spread=fault.spread)
    rows: list[Request] = []
    failed = ""

    async def look(
        rows: list[Request], url: str, member: Member = "found", region: str = ""
    ) -> list[Request]:
        say("looking up what was acknowledged")
        written = None if fault.control else control.written()
        return await look_up(rows, url, plan.tokens, written, member=member, region=region)

    async with _interruptible(say) as interrupted:
        load = asyncio.create_task(clients.run())
        try:
            await _unless(interrupted, asyncio.sleep(plan.before_s))
            await _unless(interrupted, _until_answered(clients, plan))
            await _unless(interrupted, fault.expect(clients))
            say(f"fault: {plan.scenario}; {duration(plan.least_s)} left at least")
            times = Times(fault_s=await fault.break_it(clients))
            try:
                await _unless(interrupted, _recover(fault, clients, plan, times))
                clients.stop()
                await _unless(interrupted, load)
                rows = await _unless(interrupted, look(clients.rows, fault.look_up_url))
                if await _unless(interrupted, fault.restore(rows)):
                    again = look(rows, fault.look_again_url, "found_restored", plan.home)
                    rows = await _unless(interrupted, again)
            except OpsError as error:
                if interrupted.is_set():
                    raise
                failed = f"the recovery failed: {error.message}"
                say(failed)
        finally:
            clients.stop()
            try:
                write_rows(folder, rows or clients.rows)
            finally:  # after a full disk as well
                await fault.mend()
            with suppress(Exception):
                await load
            write_rows(folder, rows or clients.rows)
    if not rows:
        rows = await look(clients.rows, fault.look_up_url)
    if fault.look_again_url:
        rows = await look(rows, fault.look_again_url, "found_later")
    await fault.account(rows)
    running = Record(before, await asyncio.to_thread(_serving, fault, plan.home))
    finished = _finished(fault, plan, began_at, times, rows, running, failed)
    write(folder, finished, rows)
    return finished


def _finished(
    fault: Fault,
    plan: Plan,
    began_at: str,
    times: Times,
    rows: Sequence[Request],
    running: Record,
    failed: str,
) -> Finished:
    """What the rows give."""
    course = plan.course(times.fault_s, asdict(times))
    computed = figures(rows, course)
    if plan.home and not plan.cuts:
        absences_s = [one["rto_s"] for one in computed["tenants"].values()]
        times.moved_s = None if None in absences_s else times.fault_s + max(absences_s)
    problem = failed or fault.problem
    if problem:
        computed["met"] = False
    return Finished(
        scenario=plan.scenario,
        region=plan.home or fault.regions[0].region(),
        began_at=began_at,
        course=course,
        times=times,
        figures=computed,
        running=running,
        regions=fault.told,
        problem=problem,
    )


def _serving(fault: Fault, home: str) -> Groups:
    """What runs at the replicas that serve, by their own word: of the home, and of the other region.

    Raises:
        CouldNotTell: one does not answer.
    """
    urls: dict[str, list[str]] = {}
    for one in fault.regions:
        group = "target" if home in ("", one.region()) else "survivor"
        urls[group] = [each.url for each in one.instances(one.active_colour())]
    return look_at(urls)


async def _until_answered(clients: Clients, plan: Plan) -> None:
    """Wait until the load is answered: the first requests may be slow, and the machine busy.

    Raises:
        CouldNotTell: it is not, after a while.
    """
    deadline_s = clients.now() + _ANSWERED_WITHIN_S
    while True:
        try:
            return _require_answers(plan, clients.rows, clients.now())
        except CouldNotTell:
            if clients.now() > deadline_s:
                raise
        await asyncio.sleep(_LOOK_S)


def _require_answers(plan: Plan, rows: list[Request], now_s: float) -> None:
    """See that what is due to be answered by now is answered."""
    due = [row for row in rows if now_s - FAULT_SEEN_S < row.sent_s]
    asked = [(tenant, False) for tenant in (*plan.tokens, CONTROL)]
    for tenant, operation in [*asked, *((tenant, True) for tenant in plan.operating)]:
        own = [row for row in due if row.stream == (tenant, operation)]
        answered = sum(row.outcome == "acknowledged" for row in own)
        if not own or answered < ANSWERED * len(own):
            raise CouldNotTell(
                f"of the last {len(own)} {'operations' if operation else 'questions'} of {tenant} before the fault {answered} were "
                f"answered within {REQUEST_TIMEOUT_S:g} s; nothing was broken",
                hint="is the platform up, and can this machine carry the load? mcctl status; --rate",
            )


async def _recover(fault: Fault, clients: Clients, plan: Plan, times: Times) -> None:
    await fault.recover(clients, times)
    await _until_recovered(clients, plan, times)
    await fault.settle(clients, times)
    # Whom the fault itself did not fail may be failed when a region wakes
    await _until_recovered(clients, plan, times)


async def _until_recovered(clients: Clients, plan: Plan, times: Times) -> None:
    """Wait until the figures say that each tenant is served again, or patience ends."""
    course = plan.course(times.fault_s, {})
    deadline_s = times.fault_s + plan.patience_s
    while clients.now() < deadline_s:
        await asyncio.sleep(_LOOK_S)
        # A request is known when it has ended: the newest may still turn out to have failed
        settled_s = clients.now() - REQUEST_TIMEOUT_S
        if settled_s < times.fault_s + WINDOW_S:
            continue
        rows = [replace(row, found=True) for row in clients.rows if row.sent_s < settled_s]
        tenants = figures(rows, course)["tenants"].values()
        if all(one["rto_s"] is not None for one in tenants):
            return


@asynccontextmanager
async def _interruptible(say: Say) -> AsyncIterator[asyncio.Event]:
    """An event that is set by Ctrl-C, SIGTERM or SIGHUP instead of what they do else; it is told at once."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()

    def interrupt() -> None:
        say("interrupted: mending what was broken; that may take a minute")
        event.set()

    for number in _INTERRUPTS:
        loop.add_signal_handler(number, interrupt)
    try:
        yield event
    finally:
        for number in _INTERRUPTS:
            loop.remove_signal_handler(number)


async def _unless(interrupted: asyncio.Event, work: Awaitable[_Result]) -> _Result:
    """Do the work unless somebody interrupts it.

    Raises:
        Declined: somebody did.
    """
    doing = asyncio.ensure_future(work)
    told = asyncio.create_task(interrupted.wait())
    try:
        await asyncio.wait((doing, told), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise Declined("the drill was interrupted; the platform is up again")
        return await doing
    finally:
        told.cancel()
        if not doing.done():
            doing.cancel()
