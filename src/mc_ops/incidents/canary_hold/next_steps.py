"""The decision tree of a canary on HOLD: for each conclusion, commands with their figures.

Never "this may be a false positive": how many pairs would decide, and how much slower than the
baseline the candidate may be if somebody lets it pass all the same.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from mc_contract.judgement.plan import ALPHA_PROMOTE, DECIDABLE
from mc_contract.judgement.statistics import student_t_quantile
from mc_contract.judgement.verdict import Judgement
from mc_contract.proportions import newcombe
from mc_ops.canary_folder import urls_of
from mc_ops.incidents.canary_hold.diagnosis import Conclusion, HoldDiagnosis
from mc_ops.incidents.canary_hold.files import DEFAULT_RATE, failures_of, rate_of
from mc_ops.incidents.canary_hold.where import BLOCKS

_MOST_TIMES = 20
_LEAST_LEFT = 1e-4  # an estimate at the margin, or beyond it, is no nearer to a PROMOTE
_LOGS = "mcctl logs --lines 200"


def next_steps(told: Mapping[str, Any], found: HoldDiagnosis) -> Iterator[tuple[str, str]]:
    """What to do, in order: (what for, command).

    Args:
        told: The run's `verdict.json`; empty if it has none.
        found: With its conclusion.
    """
    conclusion, judgement = found.conclusion, found.judgement
    match conclusion:
        case Conclusion.promoted:
            return
        case Conclusion.altered:
            yield "measure again; keep this folder as it is", _again(told)
        case Conclusion.smoke:
            yield "see why it failed", _LOGS
            yield "after the repair", _again(told)
        case Conclusion.metrics:
            file = shlex.quote(str(found.files.folder / "metrics.json"))
            yield "see which metric did not pass, and why", f"mcctl canary judge-metrics {file}"
            yield "after the repair, with --metrics and --prometheus as before", _again(told)
        case Conclusion.void | Conclusion.refused:
            yield _calmer(told)
        case Conclusion.changed:
            yield "when nobody restarts or changes either side", _again(told)
        case Conclusion.baseline_failing:
            if any(kind.startswith("refused") for kind in failures_of(told, "baseline")):
                yield _calmer(told)
            yield "see what is wrong with what serves now", "mcctl status"
            yield "the logs of its replicas", _LOGS
        case Conclusion.errors:
            yield from _next_errors(told)
            yield "after the repair", _again(told)
        case Conclusion.one_instance:
            assert found.culprit is not None
            yield f"look at {found.culprit.url} and at its machine", "mcctl status"
            yield "repeat with more instances a side, all named", _again(told)
        case Conclusion.regression:
            yield from _next_burst(found)
            yield "what the candidate does more slowly", _LOGS
            yield "after the repair", _again(told)
            if _alone(found):
                yield (
                    "a neighbour is told from a regression by several instances a side",
                    "mcctl scale agent-workbench --replicas 3 (each colour), then repeat",
                )
        case Conclusion.inconclusive:
            assert judgement is not None
            burst = list(_next_burst(found))
            yield from burst
            yield (
                ("once that is understood, repeat", _again(told))
                if burst
                else _repeat(told, judgement)
            )
            yield _override(found.name, judgement)


def _calmer(told: Mapping[str, Any]) -> tuple[str, str]:
    return "a calmer machine, or half the rate", _again(told, rate=rate_of(told) / 2)


def _next_burst(found: HoldDiagnosis) -> Iterator[tuple[str, str]]:
    if found.blocks and found.blocks.shape == "burst":
        yield f"see what happened then ({found.blocks.detail})", _LOGS


def _alone(found: HoldDiagnosis) -> bool:
    return sum(one.side == "candidate" for one in found.instances) <= 1


def _next_errors(told: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    kinds = failures_of(told, "candidate")
    if not kinds:
        yield "which requests failed", _LOGS
    for kind, count in sorted(kinds.items(), key=lambda item: -item[1]):
        yield f"{count} x {kind}", _look_at(kind)


def _look_at(kind: str) -> str:
    if kind.startswith("connection"):
        return "mcctl status (did a replica die or refuse connections?)"
    if kind == "timeout":
        return f"{_LOGS} (no answer in 5 s: a stall, or full)"
    if kind.startswith(("http 4", "refused")):
        return f"{_LOGS} (the candidate refuses: limits, credentials, policy)"
    return f"{_LOGS} (the candidate's own failure)"


def _repeat(told: Mapping[str, Any], judgement: Judgement) -> tuple[str, str]:
    if judgement.error_bound is not None and judgement.error_bound >= judgement.error_tolerance:
        return _repeat_for_errors(told, judgement)
    needed = pairs_that_decide(judgement)
    if needed is None:
        return "no number of pairs can be computed from these; look at the errors", _again(told)
    pairs, assumed = needed
    most = _MOST_TIMES * judgement.planned_pairs
    what = f"repeat with {pairs} pairs: they decide it in 99 of 100 cases if {assumed}"
    if pairs > most:
        what += f" (over {_MOST_TIMES} times what was planned: make the noise smaller first)"
    return what, _again(told, pairs=pairs)


def _repeat_for_errors(told: Mapping[str, Any], judgement: Judgement) -> tuple[str, str]:
    """The errors are what is not decided: the bound on their difference narrows with the pairs."""
    base, cand = judgement.baseline, judgement.candidate
    for times in range(2, _MOST_TIMES + 1):
        counts = (base.errors * times, base.n * times, cand.errors * times, cand.n * times)
        if newcombe(*counts, alpha=ALPHA_PROMOTE)[1] < judgement.error_tolerance:
            pairs = min(base.n, cand.n) * times
            return (
                (
                    f"repeat with {pairs} pairs: if errors stay as frequent as they were, the bound on "
                    f"their difference falls below {judgement.error_tolerance:.2%}"
                ),
                _again(told, pairs=pairs),
            )
    return "more pairs will not help: find out why requests fail first", _LOGS


def pairs_that_decide(judgement: Judgement) -> tuple[int, str] | None:
    """How many pairs would decide it, and under which assumption; None: cannot be computed.

    `pairs_needed` assumes that nothing differs. Where the estimate itself is above 0 but below
    the margin, what is left to show is smaller, and the pairs grow with its inverse square.
    """
    needed = judgement.pairs_needed
    if needed is None:
        return None
    estimate, interval = judgement.regression, judgement.interval
    if estimate is None or interval is None or estimate <= 0:
        return needed, "nothing differs"
    left = math.log1p(judgement.margin) - math.log1p(estimate)
    if left < _LEAST_LEFT:
        return needed, f"nothing differs, but the estimate is {estimate:+.1%}: expect a regression"
    half = (math.log1p(interval[1]) - math.log1p(interval[0])) / 2
    se = half / student_t_quantile(1 - ALPHA_PROMOTE, BLOCKS - 1)
    sent = min(judgement.baseline.n, judgement.candidate.n)
    pairs = math.ceil(sent * (DECIDABLE * se / left) ** 2)
    return max(needed, pairs), f"it is truly {estimate:+.1%}"


def _override(name: str, judgement: Judgement) -> tuple[str, str]:
    interval = judgement.interval
    risk = (
        f"a p95 of up to {100 * interval[1]:+.3g} % (95 %)"
        if interval
        else "a p95 of which nothing is known"
    )
    command = f"mcctl canary override {shlex.quote(name)} --reason 'WHY'"
    return f"or accept the risk: {risk}", command


def _again(told: Mapping[str, Any], *, pairs: int | None = None, rate: float | None = None) -> str:
    """The command that measures again; without URLs in the verdict, placeholders."""
    parameters = told.get("parameters")
    planned = parameters.get("planned_pairs") if isinstance(parameters, dict) else None
    wanted = pairs or (planned if isinstance(planned, int) else None)
    speed = rate or rate_of(told)
    words = ["mcctl canary run"]
    for side in ("baseline", "candidate"):
        urls = urls_of(told, side)
        if not urls or not all(map(_is_plain, urls)):
            urls = (f"{side.upper()}_URL",)
        words += [f"--{side} {shlex.quote(url)}" for url in urls]
    minutes = 10.0 if wanted is None else math.ceil(wanted / speed / 60 * 10) / 10
    words.append(f"--minutes {minutes:g}")
    if speed != DEFAULT_RATE:
        words.append(f"--rate {speed:g}")
    return " ".join(words)


def _is_plain(url: str) -> bool:
    """Whether it may stand in a command that somebody copies: the file may be from anywhere."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.username is None and url.isprintable()
