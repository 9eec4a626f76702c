"""The order of a run: bring up, load, break, let heal, account.

What comes out is a `Result`: checks that must all be 0, figures, and problems that kept the run
from being one (nothing was broken, nothing promised, it did not come to rest).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import psycopg

from .accounting import Account, account, outage_account
from .adoption import ADOPTED_WITHIN_S, Episode
from .evidence import SiemFile, World, gather, ledger_size, open_tasks
from .faults import Supervisor, Tally, plan
from .load import TENANTS, Load
from .platform import SIEM, CrashPlatform

SCHEMA_VERSION = 1
_WARM_UP_S = 2.0
_OPERATIONS_END_WITHIN_S = 120.0
_QUESTIONS_END_WITHIN_S = 150.0
_DRAINED_WITHIN_S = 180.0
_LOOK_EVERY_S = 0.25
_AFTER_OUTAGE_S = 5.0
# The file lags by a wait between two tries of the SIEM (10 s at most), and by its own batch.
_FILE_LAGS_S = 13.0
_OPERATIONS = "operations have not ended"
_QUESTIONS = "questions have not ended"
_SIEM = "the SIEM has not got everything"
_WAITED = {
    _OPERATIONS: "afterwards: s until all operations had ended",
    _QUESTIONS: "afterwards: s until all questions had ended",
    _SIEM: "afterwards: s until the SIEM had everything",
}

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run is asked for.

    Attributes:
        outage_s: How long the SIEM is down after the kills; 0 for not at all.
        gap_s: The longest time between two faults.
        questions_must_end: Wait until questions whose replica died are failed, about a minute.
        adopted_within_s: How soon operations of a dead or paused replica must go on.
    """

    seed: int
    kills: int
    outage_s: float
    replicas: int
    rate_per_s: float
    clients: int
    gap_s: float
    questions_must_end: bool = True
    keep: bool = False
    adopted_within_s: float = ADOPTED_WITHIN_S


@dataclass(frozen=True, slots=True)
class Outage:
    """What a time without SIEM looked like.

    Attributes:
        first, last: Indexes of the log when it went, and when it came back.
        file_holds: Indexes that the file had the time to take.
        resumed_s: When the SIEM got its first event after it was started again, in seconds.
        drained_s: When it had all that was recorded when it was started again.
        per_s: Events that it got in a second, between the two.
    """

    seconds: float
    first: int
    last: int
    file_holds: range
    resumed_s: float | None
    drained_s: float | None
    per_s: float | None


@dataclass(slots=True)
class Result:
    """What a run found."""

    wanted: Wanted
    account: Account = field(default_factory=Account)
    problems: list[str] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    outage: Outage | None = None
    crashes: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return self.account.good and not self.problems

    def as_dict(self) -> dict[str, Any]:
        """The report for other programs."""
        return {
            "schema_version": SCHEMA_VERSION,
            "good": self.good,
            "seed": self.wanted.seed,
            "problems": self.problems,
            "checks": {
                check.name: {
                    "count": check.count,
                    "promise": check.promise,
                    "examples": check.examples,
                }
                for check in self.account.checks
            },
            "figures": self.account.figures,
            "internal_errors": self.crashes,
            "faults": dict(self.tally.faults),
            "episodes": [asdict(episode) for episode in self.tally.episodes],
        }


async def run(platform: CrashPlatform, wanted: Wanted, say: Say) -> Result:
    """Load and break a platform that is up, and account for everything.

    Raises:
        psycopg.Error, httpx.HTTPError: what is to be accounted for cannot be read.
    """
    load = Load(
        url=platform.layout.url,
        tokens={tenant: platform.token(tenant) for tenant in TENANTS},
        journal=platform.home / "acknowledged.jsonl",
        rate_per_s=wanted.rate_per_s,
        clients=wanted.clients,
        seed=wanted.seed,
    )
    supervisor = Supervisor(platform, load)
    siem = SiemFile(platform.siem_events)
    result = Result(wanted, tally=supervisor.tally)
    supervisor.start()
    try:
        began = time.monotonic()
        await load.start()
        await asyncio.sleep(_WARM_UP_S)
        faults = plan(seed=wanted.seed, kills=wanted.kills, gap_s=wanted.gap_s)
        say(f"{len(faults)} faults, {wanted.kills} of them kill -9, seed {wanted.seed}")
        await supervisor.carry_out(faults)
        broken_s = time.monotonic() - began
        say(f"{supervisor.tally.kills} kills in {broken_s:.0f} s; everything comes back now")
        await supervisor.all_ready()
        if wanted.outage_s:
            say(f"the SIEM goes down for {wanted.outage_s:g} s")
            result.outage = await _outage(platform, supervisor, siem, wanted.outage_s)
        await load.stop()
        say(f"{len(load.acknowledged)} acknowledgements; waiting until all is at rest")
        await _come_to_rest(platform, supervisor, siem, result)
        world = await asyncio.to_thread(gather, platform, siem)
        result.crashes = platform.crashes()
        _conclude(result, world, load, broken_s)
    finally:
        await supervisor.stop()
        await load.close()
    return result


async def _outage(
    platform: CrashPlatform, supervisor: Supervisor, siem: SiemFile, seconds: float
) -> Outage:
    """Keep the SIEM down under load, then see it catch up."""
    supervisor.hold(SIEM)
    supervisor.kill(SIEM)
    first = _size(platform)
    await asyncio.sleep(max(0.0, seconds - _FILE_LAGS_S))
    due = _size(platform)
    await asyncio.sleep(min(seconds, _FILE_LAGS_S))
    last = _size(platform)
    siem.read_on()
    had = len(siem.ids)
    supervisor.release(SIEM)
    back = time.monotonic()
    resumed_s = drained_s = None
    while drained_s is None and time.monotonic() < back + _DRAINED_WITHIN_S:
        await asyncio.sleep(_LOOK_EVERY_S)
        siem.read_on()
        passed_s = time.monotonic() - back
        resumed_s = passed_s if resumed_s is None and len(siem.ids) > had else resumed_s
        drained_s = passed_s if len(siem.ids) >= last else None
    await asyncio.sleep(_AFTER_OUTAGE_S)
    draining_s = max(_LOOK_EVERY_S, (drained_s or 0.0) - (resumed_s or 0.0))
    return Outage(
        seconds=seconds,
        first=first,
        last=last,
        file_holds=range(first, due),
        resumed_s=None if resumed_s is None else round(resumed_s, 2),
        drained_s=None if drained_s is None else round(drained_s, 2),
        per_s=None if drained_s is None else round((last - had) / draining_s),
    )


async def _come_to_rest(
    platform: CrashPlatform, supervisor: Supervisor, siem: SiemFile, result: Result
) -> None:
    if not await supervisor.all_ready():
        result.problems.append("a process does not come back")

    def operations_ended() -> bool:
        return _open(platform)[0] == 0

    def questions_ended() -> bool:
        return _open(platform)[1] == 0

    def drained() -> bool:
        siem.read_on()
        return len(siem.ids) >= _size(platform)

    waits: list[tuple[str, Callable[[], bool], float]] = [
        (_OPERATIONS, operations_ended, _OPERATIONS_END_WITHIN_S),
        (_SIEM, drained, _DRAINED_WITHIN_S),
    ]
    if result.wanted.questions_must_end:
        # Before the SIEM: failing a question is an event, too.
        waits.insert(1, (_QUESTIONS, questions_ended, _QUESTIONS_END_WITHIN_S))
    figures = result.account.figures
    for problem, condition, within_s in waits:
        deadline = time.monotonic() + within_s
        began = time.monotonic()
        while not await asyncio.to_thread(condition):
            if time.monotonic() > deadline:
                result.problems.append(f"{problem} within {within_s:g} s")
                break
            await asyncio.sleep(_LOOK_EVERY_S)
        figures[_WAITED[problem]] = round(time.monotonic() - began, 1)


def _conclude(result: Result, world: World, load: Load, broken_s: float) -> None:
    wanted, tally = result.wanted, result.tally
    waited = result.account.figures
    result.account = account(world, load.acknowledged, questions_must_end=wanted.questions_must_end)
    result.account.figures |= waited
    adopted = result.account.check(
        "adoption: late",
        f"a dead or paused replica's operations go on within {wanted.adopted_within_s:g} s",
    )
    for episode in tally.episodes:
        slowest_s = episode.slowest_s
        if episode.orphans and (slowest_s is None or slowest_s > wanted.adopted_within_s):
            adopted.found(f"{episode.how} {episode.victim}: {episode.slowest_s} s")
    figures = result.account.figures
    figures["seconds under faults"] = round(broken_s)
    figures["kill -9"] = tally.kills
    figures["ended by themselves"] = dict(tally.ended_by_itself)
    figures["internal errors that clients met"] = len(result.crashes)
    figures["requests begun"] = dict(sorted(load.started.items()))
    figures["requests without an answer"] = len(load.unanswered)
    figures["faults that clients met"] = dict(load.faults_met.most_common())
    figures.update(_adoption_figures(tally.episodes))
    if result.outage is not None:
        _conclude_outage(result, result.outage, world)
    result.problems += tally.not_back
    result.problems += _emptiness(wanted, tally, figures)


def _conclude_outage(result: Result, outage: Outage, world: World) -> None:
    outage_account(result.account, world.ledger, world.filed, must_hold=outage.file_holds)
    result.account.figures |= {
        "outage: seconds": outage.seconds,
        "outage: events": outage.last - outage.first,
        "outage: events that the file must hold": len(outage.file_holds),
        "outage: deliveries resumed after s": outage.resumed_s,
        "outage: drained after s": outage.drained_s,
        "outage: drained, events/s at least": outage.per_s,
    }
    if outage.drained_s is None:
        result.problems.append(f"not drained within {_DRAINED_WITHIN_S:g} s after the outage")
    if not world.filed:
        result.problems.append("the file backup was not used")


def _adoption_figures(episodes: list[Episode]) -> Mapping[str, Any]:
    figures: dict[str, Any] = {}
    for how in ("abandon", "freeze"):
        of_kind = [one for one in episodes if one.how == how and one.orphans]
        times = [one.slowest_s for one in of_kind if one.slowest_s is not None]
        figures[f"adoption after {how}: episodes"] = len(of_kind)
        figures[f"adoption after {how}: operations"] = sum(one.orphans for one in of_kind)
        figures[f"adoption after {how}: slowest s"] = max(times, default=None)
    return figures


def _emptiness(wanted: Wanted, tally: Tally, figures: Mapping[str, Any]) -> list[str]:
    """What would make a clean account worthless."""
    needed = ("operations completed", "operations compensated", "questions answered")
    found = [f"{figure}: none, so nothing was proved" for figure in needed if not figures[figure]]
    if tally.kills < wanted.kills:
        found.append(f"{tally.kills} kills were made, {wanted.kills} were asked for")
    if wanted.kills:
        found += [
            f"adoption after {how} was never measured: no operation was amid its work"
            for how in ("abandon", "freeze")
            if not figures[f"adoption after {how}: episodes"]
        ]
    return found


def _size(platform: CrashPlatform) -> int:
    with platform.database() as database:
        return ledger_size(database)


def _open(platform: CrashPlatform) -> tuple[int, int]:
    try:
        with platform.database() as database:
            return open_tasks(database)
    except psycopg.OperationalError:
        return (-1, -1)  # not known, so not none
