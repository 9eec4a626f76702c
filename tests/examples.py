"""How many examples a law is tried with: all in CI, a quarter of them in a developer's run."""

from __future__ import annotations

import os

_SHARE = float(os.environ.get("TEST_EXAMPLES", "0.25"))


def examples(all_of_them: int) -> int:
    """The share of `all_of_them` that TEST_EXAMPLES says, 0.25 by default, and never none."""
    return max(1, round(all_of_them * _SHARE))
