"""The order of one drill; whatever happens in between, it ends with the platform up again.

1. Load on every tenant, and on the control; without answers there is nothing to break.
2. The fault, as one instant, for the platform and the control alike.
3. The recovery. Its error is kept: a platform that does not come back is the drill's finding.
4. Load until each tenant's requests have succeeded for long enough, or patience ends.
5. Each acknowledged write is looked up; the figures are computed from the rows alone.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from mc_contract.drill import (
    ANSWERED,
    CONTROL,
    FAULT_SEEN_S,
    LOSING,
    WINDOW_S,
    Request,
    figures,
)
from mc_contract.running import Groups, Record
from mc_ops.drills.clients import Clients
from mc_ops.drills.control_store import ControlStore
from mc_ops.drills.lookup import look_up
from mc_ops.drills.plan import REQUEST_TIMEOUT_S, Plan
from mc_ops.drills.report import Finished, Times, prepare, write, write_rows
from mc_ops.environments import Part, Startable, UpRequest
from mc_ops.environments.drill_lock import RunningDrill, only_drill
from mc_ops.errors import CouldNotTell, Declined, OpsError
from mc_ops.service_client.running import look

_LOOK_S = 0.2
_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Say = Callable[[str], None]


def run_drill(environment: Startable, plan: Plan, folder: Path, say: Say) -> Finished:
    """Carry out one drill and write its files; blocks until it has ended.

    Args:
        environment: The platform, which runs.
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
    with only_drill(
        environment.workspace.home, RunningDrill(folder.parent.name, plan.scenario, began_at)
    ):
        control = ControlStore(folder / "control.txt")
        try:
            return asyncio.run(_run(environment, plan, folder, control, began_at, say))
        finally:
            control.end()
            (folder / "control.txt").unlink(missing_ok=True)


async def _run(
    environment: Startable,
    plan: Plan,
    folder: Path,
    control: ControlStore,
    began_at: str,
    say: Say,
) -> Finished:
    before = await asyncio.to_thread(_serving, environment)
    clients = Clients(environment.url, plan.tokens, control.port, plan.rate_per_s)
    broken = _Broken(environment, plan, control, say)
    failed = ""
    async with _interruptible() as interrupted:
        load = asyncio.create_task(clients.run())
        try:
            await _unless(interrupted, asyncio.sleep(plan.before_s))
            _require_answers(plan, clients.rows, clients.now())
            say(f"fault: {plan.scenario}")
            times = Times(fault_s=clients.now())
            await broken.break_it()
            try:
                await _unless(interrupted, broken.recover(clients, times))
                await _unless(interrupted, _until_recovered(clients, plan, times))
            except OpsError as error:
                if interrupted.is_set():
                    raise
                failed = error.message
                say(f"the recovery failed: {failed}")
        finally:
            clients.stop()
            await broken.mend()
            with suppress(Exception):
                await load
            write_rows(folder, clients.rows)
    say("looking up what was acknowledged")
    rows = await look_up(clients.rows, environment.url, plan.tokens, control.written())
    computed = figures(rows, plan.course(times.fault_s))
    if failed:
        computed["met"] = False
    finished = Finished(
        scenario=plan.scenario,
        region=environment.region(),
        began_at=began_at,
        course=plan.course(times.fault_s),
        times=times,
        figures=computed,
        running=Record(before, await asyncio.to_thread(_serving, environment)),
        problem=failed,
    )
    write(folder, finished, rows)
    return finished


def _serving(environment: Startable) -> Groups:
    """What runs at the replicas that serve, by their own word.

    Raises:
        CouldNotTell: one does not answer.
    """
    urls = [one.url for one in environment.instances(environment.active_colour())]
    return look({"target": urls})


class _Broken:
    """What the drill has broken, and how it is mended: once, whatever happens."""

    def __init__(self, environment: Startable, plan: Plan, control: ControlStore, say: Say) -> None:
        self._environment, self._plan, self._control, self._say = environment, plan, control, say
        self._is_broken = False

    async def break_it(self) -> None:
        part = Part.database if self._plan.scenario == "db-kill" else Part.whole
        number = signal.SIGKILL if self._plan.scenario in LOSING else signal.SIGSTOP
        self._is_broken = True
        names = await asyncio.to_thread(
            self._environment.signal, part, number, (self._control.pid,)
        )
        self._say(f"{signal.Signals(number).name} sent to {', '.join(names)}")

    async def recover(self, clients: Clients, times: Times) -> None:
        """As a person would, who sees the fault at once; for a freeze when its time is over."""
        if self._plan.scenario not in LOSING:
            await asyncio.sleep(self._plan.freeze_s)
        times.decided_s = clients.now()
        await asyncio.to_thread(self._mend)
        times.moved_s = clients.now()

    async def mend(self) -> None:
        """Undo, if that is still to be done.

        Raises:
            CouldNotTell: the platform does not come up again.
        """
        if self._is_broken:
            self._say("bringing the platform up again")
            await asyncio.to_thread(self._mend)

    def _mend(self) -> None:
        if self._plan.scenario not in LOSING:
            self._environment.signal(Part.whole, signal.SIGCONT, (self._control.pid,))
        self._environment.up(UpRequest())
        self._is_broken = False


def _require_answers(plan: Plan, rows: list[Request], now_s: float) -> None:
    """See that what is due to be answered by now is answered; the first requests may be slow."""
    due = [row for row in rows if now_s - FAULT_SEEN_S < row.sent_s]
    for tenant in (*plan.tokens, CONTROL):
        own = [row for row in due if row.tenant == tenant]
        answered = sum(row.outcome == "acknowledged" for row in own)
        if not own or answered < ANSWERED * len(own):
            raise CouldNotTell(
                f"of the last {len(own)} requests of {tenant} before the fault {answered} were "
                f"answered within {REQUEST_TIMEOUT_S:g} s; nothing was broken",
                hint="is the platform up, and can this machine carry the load? mcctl status; --rate",
            )


async def _until_recovered(clients: Clients, plan: Plan, times: Times) -> None:
    """Wait until the figures say that each tenant is served again, or patience ends."""
    course = plan.course(times.fault_s)
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
async def _interruptible() -> AsyncIterator[asyncio.Event]:
    """An event that is set by Ctrl-C, SIGTERM or SIGHUP instead of what they do else."""
    loop, event = asyncio.get_running_loop(), asyncio.Event()
    for number in _INTERRUPTS:
        loop.add_signal_handler(number, event.set)
    try:
        yield event
    finally:
        for number in _INTERRUPTS:
            loop.remove_signal_handler(number)


async def _unless(interrupted: asyncio.Event, work: object) -> None:
    """Do the work unless somebody interrupts it.

    Raises:
        Declined: somebody did.
    """
    doing = asyncio.ensure_future(work)  # type: ignore[call-overload] # a coroutine
    told = asyncio.create_task(interrupted.wait())
    try:
        await asyncio.wait((doing, told), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise Declined("the drill was interrupted; the platform is up again")
        await doing
    finally:
        told.cancel()
        if not doing.done():
            doing.cancel()
