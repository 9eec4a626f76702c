"""Tells on stderr how a long run goes: one line that is rewritten, with its rate and the time left.

Only a terminal can rewrite a line; anywhere else (a log, CI) a new line is printed now and then.
"""

from __future__ import annotations

import sys
import time

from rich.markup import escape

from mc_contract.numbers import duration
from mc_ops.cli.output import note, rewrite

_EVERY_S = 5.0
_EVERY_ON_A_TERMINAL_S = 0.5


class ProgressLine:
    """The line of one run.

    Args:
        what: What is done, in front of each line, such as "canary".
        unit: What is counted, such as "pairs".
    """

    def __init__(self, what: str, unit: str = "") -> None:
        self._what, self._unit = what, unit
        self._rewrites = sys.stderr.isatty()
        self._every_s = _EVERY_ON_A_TERMINAL_S if self._rewrites else _EVERY_S
        self._begun = self._shown_at = time.monotonic()

    def count(self, done: int, planned: int, detail: str = "") -> None:
        """Tell how many are done, if it was not told a moment ago."""
        passed_s = time.monotonic() - self._begun
        text = f"{done} of {planned} {self._unit}"
        if done and passed_s > 0:
            left_s = (planned - done) * passed_s / done
            text += f", {done / passed_s:.3g}/s, {duration(left_s)} left"
        self.text(f"{text}; {detail}" if detail else text)

    def text(self, text: str) -> None:
        """Tell where it stands in words, if it was not told a moment ago."""
        now = time.monotonic()
        if now - self._shown_at < self._every_s:
            return
        self._shown_at = now
        line = f"{self._what}: {text}"
        if self._rewrites:
            rewrite(line)
        else:
            note(escape(line))

    def end(self) -> None:
        """Take the line away; what is printed next begins at the left."""
        if self._rewrites:
            rewrite("")
