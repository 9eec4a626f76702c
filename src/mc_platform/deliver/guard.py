"""Tells events that a sink refuses from a sink that refuses events.

A refused event becomes a dead letter only while the sink is seen to take others:

- No more than `A_FEW` refused ones in a row, unless a later event, which the sink did not have yet,
  is taken. That it takes again what it had says nothing: by its id it may not even look at it.
- No more than half of the last `WINDOW` events.

One kind may be left out of both accounts: more than `A_FEW` of it were refused and none was taken,
and then another kind was. So it is that kind, however frequent it is. Else the sink is at fault, and
nothing becomes a dead letter.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

A_FEW = 5
WINDOW = 50


@dataclass(frozen=True, slots=True)
class Offered:
    """What became of one event: its kind, and whether the sink took it."""

    kind: str
    taken: bool


class Guard:
    """Judges what a sink says of events, in their order."""

    def __init__(self, recent: Sequence[Offered] = ()) -> None:
        """Begin with what became of the last events before the cursor."""
        self._recent: deque[Offered] = deque(maxlen=WINDOW)
        self._left_out: str | None = None
        self.saw(recent)

    def saw(self, outcomes: Sequence[Offered]) -> None:
        """These were settled, or offered ahead of their turn."""
        if all(item.taken for item in (*self._recent, *outcomes)):
            # The way of nearly every batch: where nothing was refused, no kind is found to be
            if any(item.kind == self._left_out for item in outcomes):
                self._left_out = None
            self._recent.extend(outcomes)
            return
        for item in outcomes:
            if item.taken and item.kind == self._left_out:
                self._left_out = None
            if item.taken or item.kind != self._left_out:
                self._recent.append(item)
            if item.taken and self._left_out is None:
                self._left_out = _refused_kind(self._recent)

    def settled(self, outcomes: Sequence[Offered], later: Sequence[Offered] = ()) -> int:
        """How many of the outcomes of one answer, from the first, may be settled.

        Args:
            later: What became of later events, offered ahead of their turn.
        """
        if all(item.taken for item in outcomes):
            return len(outcomes)
        seen = [*self._recent, *outcomes, *later]
        left_out = self._left_out or _refused_kind(seen)
        counted = [at for at, item in enumerate(outcomes) if item.taken or item.kind != left_out]
        refused = [at for at in counted if not outcomes[at].taken]
        if not refused:
            return len(outcomes)
        if _is_large_share(seen, left_out, len(outcomes)):
            return refused[0]
        before = [item for item in self._recent if item.taken or item.kind != left_out]
        in_a_row = _refused_at_end([*before, *(outcomes[at] for at in counted)])
        if in_a_row <= A_FEW or any(item.taken for item in later):
            return len(outcomes)
        # As many as are at the end of this very answer; all, if none in it was taken
        return refused[-min(in_a_row, _refused_at_end([outcomes[at] for at in counted]))]


def _refused_kind(seen: Sequence[Offered]) -> str | None:
    """The kind that is refused most, if many of it were and none was taken, but others were."""
    taken = {item.kind for item in seen if item.taken}
    refused = Counter(item.kind for item in seen if not item.taken and item.kind not in taken)
    [(kind, count)] = refused.most_common(1) or [("", 0)]
    return kind if taken and count > A_FEW else None


def _is_large_share(seen: Sequence[Offered], left_out: str | None, of_now: int) -> bool:
    last = [item for item in seen[-max(WINDOW, of_now) :] if item.kind != left_out]
    bad = sum(not item.taken for item in last)
    return bad > A_FEW and 2 * bad > len(last)


def _refused_at_end(outcomes: Sequence[Offered]) -> int:
    return next((n for n, item in enumerate(reversed(outcomes)) if item.taken), len(outcomes))
