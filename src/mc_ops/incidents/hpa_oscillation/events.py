"""The replicas of an HPA from its events: the cluster's, or what `kubectl get events -o json` prints.

An HPA tells of each rescaling by an event `SuccessfulRescale`, "New size: 5; reason: ..."; it
never emits `ScaledUp` or `ScaledDown`. Equal events are folded into one by whoever records them:
then only the first and the last time and the number of times are known, and those between are
taken as spread evenly; so is said in the notes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from mc_ops.autoscaler.record import Recorded, stamp
from mc_ops.errors import CouldNotTell, UnusableInput

RESCALED = "SuccessfulRescale"
_KIND = "horizontalpodautoscaler"
_SIZE = re.compile(r"New size: (\d{1,9});")
_MOST_MOVES = 100_000
_KEPT_S = 3600.0  # --event-ttl of the API server
_SLACK_S = 60.0  # the event is written after the scaling
_CLUSTER = "the cluster's events"


@dataclass(frozen=True, slots=True)
class _Rescaled:
    """One event, which may stand for several."""

    name: str
    size: int
    first_s: float
    last_s: float
    count: int


def read_events(text: str, *, hpa: str) -> Recorded:
    """The replicas as a listing of events tells them.

    Args:
        text: What `kubectl get events -o json` printed; its table has ages alone, no times.
        hpa: The name of the HPA.

    Raises:
        UnusableInput: The text is something else.
        CouldNotTell: No rescaling of that HPA is in it.
    """
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _not_events(error) from error
    items = told["items"] if isinstance(told, dict) and "items" in told else told
    found = _of_objects([items] if isinstance(items, dict) else items)
    return _recorded(found, hpa=hpa, source="events (JSON)")


def recorded_of_cluster(
    events: Iterable[Mapping[str, Any]],
    *,
    hpa: str,
    until_s: float,
    created_at: str,
    status: Mapping[str, Any],
) -> Recorded:
    """The replicas as a cluster's events (core/v1 or events.k8s.io/v1) and the HPA tell them.

    All of the last hour is there, for events are kept that long unless the API server is told
    otherwise; that the HPA's last scaling has its event guards it.

    Args:
        events: Of the HPA's namespace.
        hpa: The name of the HPA.
        until_s: Unix seconds when they were listed.
        created_at: When the HPA was made, RFC 3339; empty when it does not say.
        status: The HPA's `status`.

    Raises:
        UnusableInput: An event is none.
        CouldNotTell: The HPA scaled within the hour, and no event tells of it.
    """
    found = [one for one in _of_objects(events) if one.name == hpa]
    since_s = max(until_s - _KEPT_S, _seconds(created_at) if created_at else 0.0)
    scaled_s = _seconds(str(status["lastScaleTime"])) if status.get("lastScaleTime") else 0.0
    told_s = max((one.last_s for one in found), default=since_s)
    if scaled_s > told_s + _SLACK_S:
        raise CouldNotTell(
            "the HPA scaled after the last event that the cluster still has of it",
            hint="events are lost or kept for less than an hour: --prometheus URL",
        )
    if not found:
        count = int(status.get("currentReplicas") or 0)
        still = ((min(since_s, until_s), count), (until_s, count))
        return Recorded(still, None, _CLUSTER, ("no rescaling in the time that events are kept",))
    recorded = _recorded(found, hpa=hpa, source=_CLUSTER, until_s=until_s)
    first_s, count = recorded.replicas[0]
    if since_s >= first_s:
        return recorded
    note = "what was before the first event is not known, so that one is no reversal"
    begun = ((since_s, count), *recorded.replicas)
    return replace(recorded, replicas=begun, notes=(*recorded.notes, note))


def _not_events(error: Exception) -> UnusableInput:
    return UnusableInput(
        f"the events are not JSON of Kubernetes: {type(error).__name__}",
        hint="kubectl get events -o json",
    )


def _of_objects(events: Iterable[Mapping[str, Any]]) -> list[_Rescaled]:
    try:
        return [one for event in events if (one := _of_object(event))]
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise _not_events(error) from error


def _of_object(event: Mapping[str, Any]) -> _Rescaled | None:
    """The event, if it is a rescaling; fields by either API's name."""
    about = event.get("involvedObject") or event.get("regarding") or {}
    if event.get("reason") != RESCALED or str(about.get("kind", "")).lower() != _KIND:
        return None
    message = str(event.get("message") or event.get("note") or "")
    size = _SIZE.search(message)
    if size is None:
        raise UnusableInput(f'an event {RESCALED} without "New size": {message[:80]!r}')
    series = event.get("series") or {}
    first = _first_of(event, "firstTimestamp", "deprecatedFirstTimestamp", "eventTime")
    last = series.get("lastObservedTime") or _first_of(
        event, "lastTimestamp", "deprecatedLastTimestamp", "eventTime"
    )
    if not (first or last):
        raise UnusableInput("an event has no time", hint="kubectl get events -o json")
    count = series.get("count") or event.get("count") or event.get("deprecatedCount") or 1
    return _Rescaled(
        str(about.get("name", "")),
        int(size[1]),
        _seconds(str(first or last)),
        _seconds(str(last or first)),
        max(1, int(count)),
    )


def _first_of(event: Mapping[str, Any], *names: str) -> Any:
    return next((event[name] for name in names if event.get(name)), None)


def _seconds(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise UnusableInput(f'an event has the time "{text[:40]}"') from error
    return stamp(at)


def _recorded(
    found: list[_Rescaled], *, hpa: str, source: str, until_s: float | None = None
) -> Recorded:
    mine = [one for one in found if one.name == hpa]
    if not mine:
        others = sorted({one.name for one in found})
        raise CouldNotTell(
            f"no event {RESCALED} of the HPA {hpa}",
            hint=f"there are some of {', '.join(others)}: --hpa NAME"
            if others
            else "events are kept for 1 h by default; an HPA emits no ScaledUp and no ScaledDown",
        )
    if sum(one.count for one in mine) > _MOST_MOVES:
        raise UnusableInput(f"the events stand for over {_MOST_MOVES} rescalings")
    moves = sorted(move for one in mine for move in _moves(one))
    end_s = max(moves[-1][0], until_s or 0.0)
    notes = []
    folded = sum(one.count for one in mine if one.count > len(("first", "last")))
    if folded:
        notes.append(
            f"{folded} of {len(moves)} rescalings are folded into events of which only the first "
            "and the last time are known; those between are taken as spread evenly"
        )
    series = (*moves, (end_s, moves[-1][1])) if end_s > moves[-1][0] else tuple(moves)
    return Recorded(series, None, source, tuple(notes), guessed=folded)


def _moves(one: _Rescaled) -> Iterator[tuple[float, int]]:
    steps = max(1, one.count - 1)
    for step in range(one.count):
        yield one.first_s + (one.last_s - one.first_s) * step / steps, one.size
