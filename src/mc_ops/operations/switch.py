"""The autonomy switch as lines to read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mc_ops.errors import UnusableInput
from mc_ops.operations.text import ago, instant, plain

_ALL = "*"


@dataclass(frozen=True, slots=True)
class ScopeRow:
    """Where the switch of one scope stands, in words.

    Attributes:
        halted: Whether nothing is enacted for it, by its own switch or that of all.
        since: How long ago the switch was thrown; `-` if never.
        figures: What the breaker counts of it.
        thrown: When and by whom it was thrown; empty if never.
        reason: Why; empty if never.
    """

    name: str
    halted: bool
    since: str
    figures: str
    thrown: str = ""
    reason: str = ""


def scope_rows(scopes: Sequence[Mapping[str, Any]], now: datetime) -> list[ScopeRow]:
    """One row a scope.

    Args:
        scopes: As the service tells them.
        now: To say how long ago.
    """
    switch_of = {one["scope"]: one["switch"] for one in scopes}
    return [_row(one, switch_of, now) for one in scopes]


def unknown_tenant(tenant: str, scopes: Sequence[Mapping[str, Any]]) -> UnusableInput | None:
    """The error to raise when no scope is this tenant; None when one is."""
    known = [str(one["scope"]) for one in scopes if one["scope"] != _ALL]
    if tenant in known:
        return None
    return UnusableInput(f'unknown tenant "{tenant[:64]}"', hint=f"known: {', '.join(known)}")


def _row(one: Mapping[str, Any], switch_of: Mapping[str, Any], now: datetime) -> ScopeRow:
    name = "all tenants" if one["scope"] == _ALL else str(one["scope"])
    # What halts it may be the switch of all; otherwise its own is told, halting or not
    switch = switch_of.get(one["by"]) if one["halted"] else one["switch"]
    if switch is None:
        return ScopeRow(name, bool(one["halted"]), "-", _figures(one))
    at = instant(switch["at"])
    by = "with all tenants, " if one["halted"] and one["by"] != one["scope"] else ""
    verb = "halted" if switch["halted"] else "resumed"
    return ScopeRow(
        name,
        bool(one["halted"]),
        ago(at, now),
        _figures(one),
        plain(f"{by}{verb} {at:%Y-%m-%d %H:%M:%SZ} by {switch['principal']} ({switch['source']})"),
        plain(str(switch["reason"])),
    )


def _figures(one: Mapping[str, Any]) -> str:
    ended, compensated = one.get("ended"), one.get("compensated")
    if ended is None or compensated is None:
        return "not counted"
    share = f" ({100 * compensated / ended:.2f} %)" if ended else ""
    return f"{compensated} of {ended}{share}"
