"""One figure with its verdict: what was measured, over what, and whether that is as it must be.

The verdict has four words. `unknown` is never taken for `met`: nothing happened, or too little, or
the source does not tell. `not-applicable` is what cannot be here, with the reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from mc_contract.proportions import rate_lower, rate_upper

LEAST_BAD = 3
"""One bad event of seven is bad luck, or the beginning of something; the alerts' floor as well."""


class Verdict(StrEnum):
    """How a figure stands against its target."""

    met = "met"
    missed = "missed"
    unknown = "unknown"
    not_applicable = "not-applicable"


@dataclass(frozen=True, slots=True)
class Budget:
    """An error budget over the figure's own window.

    Attributes:
        allowed: Share of events that may be bad, such as 0.01.
        bad: Events that were.
        left: How many more may be, at this traffic; negative when it is overspent.
        burn_rate: The share that was bad over the share that may be. 1 spends a budget exactly in
            the time it is meant for; it is also the share of this window's budget that is spent.
    """

    allowed: float
    bad: float
    left: float
    burn_rate: float


@dataclass(frozen=True, slots=True)
class Heading:
    """What a figure is called and should be; see `Figure`."""

    name: str
    title: str
    target: str
    unit: str = "ratio"


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure, its target and its verdict.

    Attributes:
        name: Stable, such as `a2a-success` or `p95:TENANT_001`.
        title: For people.
        value: In `unit`; None where it is not known, and then `reason` says why.
        unit: `ratio`, `ms`, `s`, `count`, `x` (a multiple) or a currency.
        target: In words, such as `> 99 %`.
        window: What time it is about, in words.
        few: Whether it is unknown only because nothing, or too little, happened.
        events: How many events it is a share of.
        bounds: One-sided 95 % Clopper-Pearson bounds of a share of few events.
        detail: More figures beside it.
    """

    name: str
    title: str
    value: float | None
    unit: str
    target: str
    verdict: Verdict
    window: str
    source: str
    reason: str = ""
    few: bool = False
    events: float | None = None
    bounds: tuple[float, float] | None = None
    budget: Budget | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """All of it as JSON; what does not apply is null."""
        told = asdict(self) | {"reason": self.reason or None}
        del told["few"]
        if not self.detail:
            del told["detail"]
        return told


@dataclass(frozen=True, slots=True)
class Share:
    """How a share of good events is judged.

    Attributes:
        at_least: The share that must be good.
        strict: Whether exactly that share is not enough.
    """

    at_least: float
    strict: bool = False

    @property
    def least_events(self) -> int:
        """With fewer, a single bad event would be over the budget: 1 / (1 - at_least)."""
        return math.ceil(round(1 / (1 - self.at_least), 6))

    def holds(self, good: float, total: float) -> bool:
        """Whether that many of `total` (above 0) are enough."""
        bad, allowed = total - good, (1 - self.at_least) * total
        if math.isclose(bad, allowed, rel_tol=1e-9):
            return not self.strict
        return bad < allowed


@dataclass(frozen=True, slots=True)
class Judged:
    """What a share came to; `reason` is empty when it is met or plainly missed."""

    verdict: Verdict
    reason: str = ""
    few: bool = False
    bounds: tuple[float, float] | None = None


def judge(share: Share, good: float, total: float) -> Judged:
    """Judge `good` of `total` events (0 or more).

    With too few events it is missed only where the upper bound of the good share says so, by
    `LEAST_BAD` bad events or more, and never met: one more bad event would have decided.
    """
    if total <= 0:
        return Judged(Verdict.unknown, "nothing happened in this time", few=True)
    if total >= share.least_events:
        return Judged(Verdict.met if share.holds(good, total) else Verdict.missed)
    # `increase` extrapolates, so that counts are not whole
    trials = max(1, round(total))
    events = min(trials, max(0, round(good)))
    bounds = (rate_lower(events, trials), rate_upper(events, trials))
    if bounds[1] < share.at_least and trials - events >= LEAST_BAD:
        best = f"at best {bounds[1]:.2%} (95 % bound), target {share.at_least:.2%}"
        return Judged(Verdict.missed, best, bounds=bounds)
    return Judged(
        Verdict.unknown,
        f"too few to tell: {trials} of the {share.least_events} events that it takes",
        few=True,
        bounds=bounds,
    )


def budget_of(share: Share, good: float, total: float) -> Budget | None:
    """The error budget of `total` events; None without any."""
    if total <= 0:
        return None
    allowed, bad = 1 - share.at_least, max(0.0, total - good)
    return Budget(
        allowed=round(allowed, 9),
        bad=bad,
        left=allowed * total - bad,
        burn_rate=bad / total / allowed,
    )


def overall(figures: Iterable[Figure], *, allow_few: bool = False) -> Verdict:
    """The verdict over all: missed before unknown before met; not-applicable does not count.

    Args:
        figures: All that was asked.
        allow_few: Do not count what is unknown only for too few events.
    """
    found = [one for one in figures if one.verdict is not Verdict.not_applicable]
    if any(one.verdict is Verdict.missed for one in found):
        return Verdict.missed
    unknown = [one for one in found if one.verdict is Verdict.unknown]
    if allow_few:
        unknown = [one for one in unknown if not one.few]
    if unknown or not any(one.verdict is Verdict.met for one in found):
        return Verdict.unknown
    return Verdict.met
