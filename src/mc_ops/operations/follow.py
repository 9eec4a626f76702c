"""Following an operation to its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mc_ops.errors import CouldNotTell
from mc_ops.operations.text import ENDED, engine_text, instant, timeline_lines

_EVERY_S = 0.5
_MOST_FAILURES = 20


@dataclass(frozen=True, slots=True)
class News:
    """What there is to tell now: new lines, and the operation as it stands."""

    lines: tuple[str, ...]
    operation: Mapping[str, Any]

    @property
    def ended(self) -> bool:
        """Whether nothing can follow."""
        return str(self.operation["state"]) in ENDED


def follow(
    ask: Callable[[], Mapping[str, Any]], *, sleep: Callable[[float], None] = time.sleep
) -> Iterator[News]:
    """News of an operation until it has ended, the end included.

    A service that does not answer for a while (a cutover, a restart) is asked again.

    Args:
        ask: Gives the operation and its timeline; may raise.

    Raises:
        CouldNotTell: no answer about ten seconds long.
        OpsError: whatever else `ask` raises.
    """
    told_index, begin, engine, failures = -1, None, "", 0
    while True:
        try:
            found = ask()
            failures = 0
        except CouldNotTell:
            failures += 1
            if failures > _MOST_FAILURES:
                raise
            sleep(_EVERY_S)
            continue
        begin = begin or _begin(found)
        fresh = [event for event in found["timeline"] if event["index"] > told_index]
        told_index = max((event["index"] for event in fresh), default=told_index)
        lines = timeline_lines(fresh, first_at=begin)
        now = engine_text(found["operation"].get("engine"))
        if now != engine and now:
            lines.append(f"engine: {now}")
        engine = now
        news = News(tuple(lines), found["operation"])
        yield news
        if news.ended:
            return
        sleep(_EVERY_S)


def _begin(found: Mapping[str, Any]) -> datetime | None:
    return instant(found["timeline"][0]["occurred_at"]) if found["timeline"] else None
