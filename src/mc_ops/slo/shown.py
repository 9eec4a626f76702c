"""How a figure is written for people: a share in percent, a time in milliseconds, a price."""

from __future__ import annotations

import math


def shown(value: float | None, unit: str) -> str:
    """The value with its unit, `-` where there is none."""
    if value is None:
        return "-"
    if unit == "ratio":
        return f"{_share(100 * value)} %"
    if unit == "ok":
        return "ok" if value else "not ok"
    if unit == "count":
        return f"{value:,.0f}"
    if unit in ("ms", "s"):
        return f"{value:.1f} {unit}"
    if unit == "x":
        return f"{value:.2f}x"
    return f"{value:.4g} {unit}"


def _share(percent: float) -> str:
    """Two decimals, and more where these would round a miss up to a hundred."""
    for decimals in (2, 4, 6):
        text = f"{percent:.{decimals}f}"
        if float(text) != 100 or math.isclose(percent, 100, abs_tol=1e-9):
            return text
    return "just under 100"
