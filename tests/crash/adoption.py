"""How soon a dead or paused replica's operations go on elsewhere.

A few probes, slow orders, are sent to the victim itself; once it has acknowledged them it is
struck. Those that it was running (the engine's table tells) are watched in the ledger: an
operation goes on when the ledger has an event of it that was recorded after the strike. So the
figure holds all of it: that the death is noticed, the adoption, and the step that was cut off.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg

from .load import TENANTS, Kind, Load, order
from .platform import CrashPlatform

ADOPTED_WITHIN_S = 15.0
_WATCH_S = 40.0
_PROBES = 4
_STEP_S = 0.6
_LOOK_EVERY_S = 0.1
# What the victim had sent to the database when it was struck may still be committed.
_LAST_COMMITS_S = 0.3


@dataclass(frozen=True, slots=True)
class Episode:
    """One replica's death or pause, and what became of what it ran.

    Attributes:
        how: `abandon` or `freeze`.
        orphans: Operations that it was running.
        slowest_s: When the last of them went on, in seconds after the strike; None if there was
            no orphan, or one did not go on while it was watched.
        stranded: Operations that did not go on.
    """

    how: str
    victim: str
    orphans: int
    slowest_s: float | None
    stranded: tuple[str, ...]


async def watch_adoption(
    *,
    platform: CrashPlatform,
    load: Load,
    victim: str,
    how: str,
    strike: Callable[[], None],
    pick: float,
) -> Episode:
    """Give `victim` work, strike it, and wait until its work goes on elsewhere.

    Args:
        platform: All of it serves.
        load: Sends the probes; they are accounted for as everything is.
        victim: A replica.
        how: The episode's name.
        strike: Kills or pauses the victim, and sees that it stays so.
        pick: In [0, 1): how far into the probes' first steps the strike comes.
    """
    rng = random.Random(pick)
    tenants = [TENANTS[n % len(TENANTS)] for n in range(_PROBES)]
    answers = await asyncio.gather(
        *(
            load.send(
                order(
                    tenant,
                    str(uuid.UUID(int=rng.getrandbits(128), version=4)),
                    kind=Kind.background_order,
                    delay_s=_STEP_S,
                    background=True,
                ),
                platform.url_of(victim),
            )
            for tenant in tenants
        )
    )
    await asyncio.sleep(pick * _STEP_S)
    strike()
    struck_at, struck = time.time(), time.monotonic()
    probes = [answer.subject for answer in answers if answer is not None]
    orphans = await asyncio.to_thread(_run_by, platform, victim, probes)
    waiting = set(orphans)
    slowest_s = 0.0
    while waiting and time.monotonic() < struck + _WATCH_S:
        await asyncio.sleep(_LOOK_EVERY_S)
        after = struck_at + _LAST_COMMITS_S
        gone_on = await asyncio.to_thread(_moved, platform, sorted(waiting), after)
        if gone_on:
            waiting -= gone_on
            slowest_s = time.monotonic() - struck
    return Episode(
        how=how,
        victim=victim,
        orphans=len(orphans),
        slowest_s=round(slowest_s, 2) if orphans and not waiting else None,
        stranded=tuple(sorted(waiting)),
    )


def _run_by(platform: CrashPlatform, victim: str, operations: Sequence[str]) -> list[str]:
    """Which operations the engine has in the victim's hands, unfinished."""
    with platform.database() as database:
        rows = database.execute(
            "SELECT workflow_uuid FROM dbos.workflow_status "
            "WHERE workflow_uuid = ANY(%s) AND executor_id = %s AND status = 'PENDING'",
            [list(operations), victim],
        )
        return [str(row[0]) for row in rows]


def _moved(platform: CrashPlatform, operations: Sequence[str], after: float) -> set[str]:
    """Which operations the ledger tells something of that was recorded after a Unix time."""
    try:
        with platform.database() as database:
            rows = database.execute(
                "SELECT convert_from(leaf, 'UTF8')::json->'detail'->>'operation_id' "
                "FROM mc.ledger_event WHERE recorded_at > to_timestamp(%s)",
                [after],
            )
            return {str(row[0]) for row in rows} & set(operations)
    except psycopg.OperationalError:
        return set()
