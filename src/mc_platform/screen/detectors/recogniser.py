"""What detects: a function that a shape of the prefilter calls, or an object asked about every text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from mc_platform.screen.findings import Budget, Finding

Finder = Callable[[str, str, Budget], Iterator[Finding]]
"""From a normalised string, the key under which it stands (or empty) and the budget: findings."""

Shaped = tuple[str, Finder]
"""An RE2 pattern that must occur in a string, and the finder that is asked if it does."""


class Detector(Protocol):
    """Something that looks at a whole text by means of its own, such as a model.

    It is asked once for each string and must not raise; it has no budget, so its own bound on
    length and time is part of it.
    """

    def find(self, text: str) -> Iterator[Finding]:
        """What it finds in one normalised string."""
        ...  # pragma: no cover - a protocol
