"""Whether delivery works again: what the replicas say of it, looked at until they are content.

Recovered means: no replica says that it fails, one of them ships, and nothing older than a few
seconds waits. A backlog of zero alone would not do: under load there is always something on the
way; nor would the end of failures: what had piled up must have drained. Dead letters are reported
beside it: they wait for nobody, so they are in no backlog, and the SIEM never gets them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mc_ops.errors import OpsError
from mc_ops.service_client.client import ServiceClient

SETTLED_S = 10.0
_POLL_S = 1.0
_TIMEOUT_S = 5.0
_BACKLOG, _AGE = "mc_siem_backlog_events", "mc_siem_backlog_age_seconds"
_PARKED = "mc_siem_parked"


class Recovery(StrEnum):
    """How delivery stands."""

    recovered = "recovered"
    draining = "draining"
    failing = "failing"
    unknown = "unknown"


@dataclass(frozen=True, slots=True)
class Watch:
    """One look at all replicas.

    Attributes:
        backlog: Events that the SIEM has not taken; None if no replica tells.
        oldest_s: How long the oldest of them waits; None likewise.
        said: What the shipping replica says of itself.
        dead_letters: Events that the SIEM refused for good; None likewise.
    """

    recovery: Recovery
    backlog: int | None
    oldest_s: float | None
    said: str
    dead_letters: int | None

    def as_dict(self) -> dict[str, str | int | float | None]:
        """The look as it appears in JSON."""
        return {
            "recovery": self.recovery.value,
            "backlog_events": self.backlog,
            "backlog_age_s": self.oldest_s,
            "shipper": self.said,
            "parked_events": self.dead_letters,
        }


def look(replicas: Sequence[str]) -> Watch:
    """Ask each replica (by URL) for health and metrics; one that does not answer tells nothing."""
    said: list[str] = []
    down = False
    backlog, oldest_s, dead_letters = None, None, None
    for url in replicas:
        try:
            with ServiceClient(url, timeout_s=_TIMEOUT_S) as client:
                siem = client.health().dependencies.get("siem", {})
                siem = siem if isinstance(siem, Mapping) else {}
                values = {sample.name: sample.value for sample in client.metrics()}
        except OpsError:
            continue
        said.append(str(siem.get("shipper") or siem.get("reason") or "says nothing"))
        down = down or siem.get("state") != "ok"
        if _BACKLOG in values and _AGE in values:
            backlog = max(backlog or 0, int(values[_BACKLOG]))
            oldest_s = max(oldest_s or 0.0, values[_AGE])
        if _PARKED in values:
            dead_letters = max(dead_letters or 0, int(values[_PARKED]))
    telling = next((one for one in said if one != "standby"), said[0] if said else "")
    if not said or backlog is None or oldest_s is None:
        reason = telling or "no replica answers"
        return Watch(Recovery.unknown, backlog, oldest_s, reason, dead_letters)
    if down or telling.startswith("failing"):
        return Watch(Recovery.failing, backlog, oldest_s, telling, dead_letters)
    shipping = telling == "ok" or telling.startswith("draining")
    done = shipping and (backlog == 0 or oldest_s <= SETTLED_S)
    recovery = Recovery.recovered if done else Recovery.draining
    return Watch(recovery, backlog, oldest_s, telling, dead_letters)


def watch_until_recovered(
    looked: Callable[[], Watch],
    *,
    timeout_s: float,
    tell: Callable[[Watch], None],
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Watch:
    """Look until recovery or until the time is over; the last look is the answer.

    Args:
        looked: One look.
        timeout_s: 0 looks once.
        tell: Is told each look that differs from the one before.
        sleep: Waits so many seconds.
        clock: Seconds that only grow.
    """
    deadline = clock() + timeout_s
    before: Watch | None = None
    while True:
        now = looked()
        if before is None or (now.recovery, now.backlog) != (before.recovery, before.backlog):
            tell(now)
        before = now
        if now.recovery is Recovery.recovered or clock() >= deadline:
            return now
        sleep(_POLL_S)
