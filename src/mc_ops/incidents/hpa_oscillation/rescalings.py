"""The replicas of an HPA from its rescalings, of which events tell the first, the last and how many.

Whoever records an event folds equal ones into one: only the first and the last time and the number
of times are known then. Those between are taken as spread evenly, which can show an oscillation and
never that there is none: `Recorded.most` says how many there may have been.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mc_contract.numbers import counted
from mc_ops.autoscaler.oscillation import THRESHOLD_PER_HOUR, busiest_hour, reversal_times
from mc_ops.autoscaler.record import Recorded
from mc_ops.errors import CouldNotTell, UnusableInput

RESCALED = "SuccessfulRescale"
KEPT_S = 3600.0  # --event-ttl of the API server
_MOST_MOVES = 100_000
_SENT_AT_ONCE = 25  # client-go: of one source about one object; after that one in 5 min
_FIRST_AND_LAST = 2
_SIZE = re.compile(r"New size: (\d{1,9});")
_COMBINED = "(combined from similar events)"  # client-go: ten messages or more in 10 min


@dataclass(frozen=True, slots=True)
class Told:
    """One event about an HPA, which may stand for several.

    Attributes:
        name: The HPA's.
        size: The replicas of the last of them; None where it is no rescaling.
        count: How many; None where the form in which it was printed does not say.
        combined: The others had other sizes, which nobody kept ("combined from similar events").
        uid: The HPA's, where it is told: one that was made anew has the same name.
        namespace: The HPA's, where it is told.
        rounded_s: By how many seconds less its times may be: ages are printed in whole minutes, or more.
    """

    name: str
    size: int | None
    first_s: float
    last_s: float
    count: int | None = 1
    combined: bool = False
    uid: str = ""
    namespace: str = ""
    rounded_s: int = 0

    def since(self, start_s: float) -> int:
        """How many of them may have been after that time, the last included."""
        if self.last_s < start_s:
            return 0
        count = _MOST_MOVES if self.count is None else self.count
        return max(1, count - (self.first_s < start_s))


def size_of(reason: str, message: str) -> tuple[int | None, bool]:
    """The size of a rescaling, None for another event; and whether the event is a combined one.

    Raises:
        UnusableInput: A rescaling does not tell its size.
    """
    if reason != RESCALED:
        return None, False
    size = _SIZE.search(message)
    if size is None:
        raise UnusableInput(f'an event {RESCALED} without "New size": {message.strip()[:80]!r}')
    return int(size[1]), _COMBINED in message


def recorded_of(
    events: Sequence[Told],
    *,
    hpa: str,
    source: str,
    until_s: float | None = None,
    changed_s: float | None = None,
) -> Recorded:
    """The replicas as the events of one HPA tell them.

    Args:
        events: Of any HPA; those that are no rescalings tell whether some may be missing.
        hpa: Its name.
        source: Where they are from, in words.
        until_s: Unix seconds when they were listed; None: the last of them ends the record.
        changed_s: When the rules were changed, before which is judged by itself.

    Raises:
        CouldNotTell: No rescaling of that HPA is among them.
        UnusableInput: They stand for more rescalings than an HPA makes.
    """
    about = [one for one in events if one.name == hpa]
    mine = [one for one in about if one.size is not None]
    if not mine:
        others = sorted({one.name for one in events if one.size is not None})
        raise CouldNotTell(
            f"no event {RESCALED} of the HPA {hpa}",
            hint=f"there are some of {', '.join(others)}: --hpa NAME"
            if others
            else "events are kept for 1 h by default; an HPA emits no ScaledUp and no ScaledDown",
        )
    if sum(one.count or 1 for one in mine) > _MOST_MOVES:
        raise UnusableInput(f"the events stand for over {_MOST_MOVES} rescalings")
    known = _in_order(move for one in mine for move in _known(one))
    moves = _in_order([*known, *(move for one in mine for move in _guessed(one, mine))])
    end_s = max(moves[-1][0], until_s or 0.0)
    folded = sum(one.count for one in mine if one.count and one.count > _FIRST_AND_LAST)
    notes = []
    if folded:
        notes.append(
            f"{folded} of {len(moves)} rescalings are folded into events of which only the first "
            "and the last time are known; those between are taken as spread evenly"
        )
    # A guess at a wrong place hides a reversal that is known; leaving moves out never adds one
    judged_s = end_s if changed_s is None else changed_s
    moves = max(moves, known, key=lambda series: _turns(series, judged_s))
    series = (*moves, (end_s, moves[-1][1])) if end_s > moves[-1][0] else tuple(moves)
    most, doubt = _in_an_hour(about, end_s - KEPT_S)
    return Recorded(series, None, source, tuple(notes), guessed=folded, most=most, doubt=doubt)


def _in_an_hour(about: Sequence[Told], since_s: float) -> tuple[int | None, str]:
    """`bounded` for the first hour in which so many may lie that it matters; else for the last one.

    Args:
        about: The events about one HPA.
        since_s: When the last hour began. One may begin before it, at a time that is rounded.
    """
    last = bounded(about, since_s=since_s)
    rounded = {one.last_s for one in about if one.size is not None and one.rounded_s}
    for begin_s in sorted(begin_s for begin_s in rounded if begin_s < since_s):
        hour = [one for one in about if one.first_s - one.rounded_s < begin_s + KEPT_S]
        most, doubt = bounded(hour, since_s=begin_s)
        if most is not None and most >= THRESHOLD_PER_HOUR:
            return most, doubt
    return last


def bounded(about: Iterable[Told], *, since_s: float) -> tuple[int | None, str]:
    """How many rescalings there may have been since a time, and why that is not known.

    Args:
        about: The events about one HPA.
        since_s: Unix seconds.

    Returns:
        None and an empty text where the events tell each with its time.
    """
    about = [one for one in about if one.since(since_s)]
    mine = [one for one in about if one.size is not None]
    if any(one.count is None for one in mine):
        return _MOST_MOVES, "counts were lost in printing: kubectl get events -o json has them"
    most = _most(mine, since_s)
    if most + sum(one.since(since_s) for one in about if one.size is None) >= _SENT_AT_ONCE:
        return _MOST_MOVES, "so many events that the controller may have dropped some"
    if not any((one.count or 0) > _FIRST_AND_LAST or one.combined or one.rounded_s for one in mine):
        return None, ""
    return (
        most,
        f"up to {counted(most, 'rescaling')} may lie in one hour, whose times are not known",
    )


def _most(mine: Sequence[Told], since_s: float) -> int:
    """No two rescalings to one size follow each other, unless something else scales as well."""
    by_size: dict[int, int] = {}
    surely: dict[int, int] = {}
    unsized = 0
    for one in mine:
        may = one.since(since_s)
        if one.combined:
            unsized += may
        elif one.size is not None:
            by_size[one.size] = by_size.get(one.size, 0) + may
            sure = may if one.first_s >= since_s else 1
            surely[one.size] = surely.get(one.size, 0) + sure
    whole = sum(by_size.values()) + unsized
    for size, sure in surely.items():
        if sure > whole - by_size[size] + 1:
            return whole  # something else moved the replicas between
    most_of_one = max(by_size.values(), default=0)
    return min(whole, 2 * (whole - most_of_one) + 1)


def _turns(series: Sequence[tuple[float, int]], until_s: float) -> int:
    return busiest_hour(reversal_times([move for move in series if move[0] <= until_s]))


def _known(one: Told) -> Iterator[tuple[float, int]]:
    """The rescalings of one event of which time and size are known."""
    assert one.size is not None
    if not (one.count in (None, 1) or one.combined):
        yield one.first_s, one.size
    yield one.last_s, one.size


def _guessed(one: Told, mine: Sequence[Told]) -> Iterator[tuple[float, int]]:
    """The others of one event, evenly between its first and its last.

    After the first of all rescalings, and before the last, there was one to another size: where it
    was first or last of its own, the guessed ones keep half a step away from it.
    """
    assert one.size is not None
    inner = (one.count or 1) - _FIRST_AND_LAST
    if one.combined or inner < 1:
        return
    others = [other for other in mine if other is not one and not other.combined]
    firsts = [other.first_s for other in others]
    lasts = [other.last_s for other in others]
    after = bool(firsts) and one.first_s < min(firsts) < one.last_s
    before = bool(lasts) and one.last_s > max(lasts) > one.first_s
    start_s = min(firsts) if after else one.first_s
    end_s = max(lasts) if before else one.last_s
    step_s = (end_s - start_s) / max(1.0, inner + 1 - (after + before) / 2)
    for place in range(inner):
        yield start_s + step_s * (place + (0.5 if after else 1)), one.size


def _in_order(moves: Iterable[tuple[float, int]]) -> list[tuple[float, int]]:
    """By time; those at one time, such as a rounded age, so that the replicas turn round least."""
    found: list[tuple[float, int]] = []
    for _, group in itertools.groupby(sorted(moves), key=lambda move: move[0]):
        same = list(group)
        down = bool(found) and found[-1][1] >= same[-1][1]
        found += reversed(same) if down else same
    return found
