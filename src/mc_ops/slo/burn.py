"""How fast the error budget is spent: requests answered 5xx, over the share that may be.

A rate of errors is no burn. The burn rate is the share of bad requests over the 0.1 % that may be
bad; it is judged by a long and a short window together, so that what is over does not page.
"""

from __future__ import annotations

from dataclasses import replace

from mc_ops.slo import targets
from mc_ops.slo.figure import Figure, Heading, Judged, Share, Verdict, budget_of, judge
from mc_ops.slo.measure import Measure
from mc_ops.slo.source import Window

_ANSWERS = "mc_answers_total"


def burn(measure: Measure, window: Window) -> Figure:
    """The burn rate of requests answered 5xx over one window."""
    good, total = _available(measure, window)
    heading = Heading(f"error-budget-burn:{window.text}", "error budget burn (5xx)", "<= 1", "x")
    if total is None:
        return measure.absent(heading, _ANSWERS, window)
    judged = judge(targets.AVAILABILITY, good, total)
    budget = budget_of(targets.AVAILABILITY, good, total)
    figure = measure.figure(heading, budget.burn_rate if budget else None, judged, window)
    return replace(figure, events=total, budget=budget)


def burns(measure: Measure) -> list[Figure]:
    """The burn rate by a long and a short window each; over one span, if the source has one."""
    if not measure.source.looks_back or measure.asked:
        one = burn(measure, measure.window(Window.parse("24h")))
        return [replace(one, name="error-budget-burn")]
    return [_burn_pair(measure, *pair) for pair in targets.BURNS]


def _burn_pair(measure: Measure, kind: str, long: Window, short: Window, most: float) -> Figure:
    slow, quick = burn(measure, long), burn(measure, short)
    target = f"<= {most:g} ({long.text}, {short.text})"
    heading = Heading(f"error-budget-burn:{kind}", f"error budget burn ({kind})", target, "x")
    # The limit as a share that must be good, so that few events are judged as everywhere
    share = Share(1 - most * (1 - targets.AVAILABILITY.at_least))
    verdicts = []
    for one in (slow, quick):
        if one.budget is None or one.events is None:
            verdicts.append(Judged(Verdict.unknown, one.reason, few=one.few))
        else:
            verdicts.append(judge(share, one.events - one.budget.bad, one.events))
    figure = measure.figure(heading, slow.value, _both_burn(*verdicts), long)
    detail = {"long": slow.value, "short": quick.value, "limit": most}
    return replace(figure, budget=slow.budget, events=slow.events, detail=detail)


def _available(measure: Measure, window: Window) -> tuple[float, float | None]:
    """Requests not answered 5xx, and all of them; None where the source has no such counter."""
    rows = measure.source.increases(_ANSWERS, ("result", "route", "audience"), window)
    asked = {
        key: value
        for key, value in rows.items()
        if key[1] not in targets.PROBES and key[2] not in (targets.CANARY, targets.STRANGERS)
    }
    bad = sum(value for (result, _, _), value in asked.items() if result == "failed")
    total = sum(asked.values())
    return total - bad, total if rows else None


def _both_burn(slow: Judged, quick: Judged) -> Judged:
    """Missed when both windows are over the limit; met when one surely is not."""
    if Verdict.met in (slow.verdict, quick.verdict):
        return Judged(Verdict.met)
    if slow.verdict is quick.verdict is Verdict.missed:
        return Judged(Verdict.missed)
    reason = slow.reason or quick.reason
    return Judged(Verdict.unknown, reason, few=slow.few or quick.few)
