"""The decision tree of a canary on HOLD: for each conclusion, commands with their figures.

Never "this may be a false positive": how many pairs would decide, and how much slower than the
baseline the candidate may be if somebody lets it pass all the same.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from mc_contract.judgement.plan import ALPHA_PROMOTE, DECIDABLE
from mc_contract.judgement.statistics import student_t_quantile
from mc_contract.judgement.verdict import Judgement
from mc_contract.proportions import newcombe
from mc_ops.canary_folder import urls_of
from mc_ops.incidents.canary_hold.diagnosis import Conclusion, HoldDiagnosis
from mc_ops.incidents.canary_hold.files import DEFAULT_RATE, failures_of, rate_of
from mc_ops.incidents.canary_hold.now import Now
from mc_ops.incidents.canary_hold.where import BLOCKS

_MOST_TIMES = 20
_LEAST_LEFT = 1e-4  # an estimate at the margin, or beyond it, is no nearer to a PROMOTE
_ALL_LOGS = "mcctl logs --lines 5000"


def next_steps(told: Mapping[str, Any], found: HoldDiagnosis) -> Iterator[tuple[str, str]]:
    """What to do, in order: (what for, command).

    Args:
        told: The run's `verdict.json`; empty if it has none.
        found: With its conclusion.
    """
    conclusion, judgement, now = found.conclusion, found.judgement, found.now
    steps = _Commands(told, now)
    if conclusion is not Conclusion.promoted:
        yield from steps.before()
    match conclusion:
        case Conclusion.promoted:
            return
        case Conclusion.altered:
            yield "measure again; keep this folder as it is", steps.again()
        case Conclusion.smoke:
            yield "see why it failed", steps.logs
            yield "after the repair", steps.again()
        case Conclusion.metrics:
            file = shlex.quote(str(found.files.folder / "metrics.json"))
            yield "see which metric did not pass, and why", f"mcctl canary judge-metrics {file}"
            yield "after the repair, with --metrics and --prometheus as before", steps.again()
        case Conclusion.void | Conclusion.refused:
            yield steps.calmer()
        case Conclusion.changed:
            yield "when nobody restarts or changes either side", steps.again()
        case Conclusion.baseline_failing:
            if any(kind.startswith("refused") for kind in failures_of(told, "baseline")):
                yield steps.calmer()
            yield "see what is wrong with what serves now", "mcctl status"
            yield "the logs of its replicas", _ALL_LOGS
        case Conclusion.errors:
            yield from steps.errors()
            yield "after the repair", steps.again()
        case Conclusion.one_instance:
            assert found.culprit is not None
            yield f"look at {found.culprit.url} and at its machine", "mcctl status"
            yield "repeat with more instances a side, all named", steps.again()
        case Conclusion.regression:
            yield from steps.burst(found)
            yield "what the candidate does more slowly", steps.logs
            yield "after the repair", steps.again()
            if _alone(found):
                what = "a neighbour is told from a regression by several instances a side"
                yield f"{what}: start 3, then compare these", steps.scale(replicas=3)
        case Conclusion.inconclusive:
            assert judgement is not None
            burst = list(steps.burst(found))
            yield from burst
            yield (
                ("once that is understood, repeat", steps.again())
                if burst
                else _repeat(steps, judgement)
            )
            yield _override(found.name, judgement)


@dataclass(frozen=True, slots=True)
class _Commands:
    """Commands about one run, in the state in which it is now."""

    told: Mapping[str, Any]
    now: Now

    @property
    def logs(self) -> str:
        """The candidate's lines."""
        names = "".join(f" {shlex.quote(name)}" for name in self.now.names)
        return f"mcctl logs{names} --lines 5000"

    def before(self) -> Iterator[tuple[str, str]]:
        """What has to be done before anything is compared again."""
        gone = self.now.baseline_gone and not self.now.run_id  # a runbook starts its own
        if self.now.faults:
            what = "the candidate is broken on purpose: restart it whole"
            yield what, self.scale(baseline=gone) + " --fault none"
        elif gone:
            what = (
                "the baseline of then has been stopped: start both sides afresh, at the same place"
            )
            yield what, self.scale()

    def scale(self, replicas: int = 0, *, baseline: bool = True) -> str:
        """Restart the candidate, with as many replicas as it had unless told."""
        words = ["mcctl scale agent-workbench"]
        if self.now.colour:
            words.append(f"--colour {shlex.quote(self.now.colour)}")
        words.append(f"--replicas {replicas or len(self.now.names) or 1}")
        if self.now.colour:
            words.append("--restart --baseline" if baseline else "--restart")
        return " ".join(words)

    def again(self, *, pairs: int | None = None, rate: float | None = None) -> str:
        """The command that measures again; without URLs in the verdict, placeholders.

        What a runbook's run compared, that run compares again, with both sides started afresh. More
        pairs or another rate take a new one, for a run keeps its parameters.
        """
        parameters = self.told.get("parameters")
        planned = parameters.get("planned_pairs") if isinstance(parameters, dict) else None
        wanted = pairs or (planned if isinstance(planned, int) else None)
        speed = rate or rate_of(self.told)
        minutes = 10.0 if wanted is None else math.ceil(wanted / speed / 60 * 10) / 10
        if self.now.run_id:
            name, run_id = shlex.quote(self.now.runbook), shlex.quote(self.now.run_id)
            if pairs is None and rate is None:
                return f"mcctl runbook run {name} --resume {run_id}"
            return f"mcctl runbook run {name} --set MINUTES={minutes:g} --set RATE={speed:g}"
        words = ["mcctl canary run"]
        for side in ("baseline", "candidate"):
            urls = urls_of(self.told, side)
            if not urls or not all(map(_is_plain, urls)):
                urls = (f"{side.upper()}_URL",)
            words += [f"--{side} {shlex.quote(url)}" for url in urls]
        words.append(f"--minutes {minutes:g}")
        if speed != DEFAULT_RATE:
            words.append(f"--rate {speed:g}")
        return " ".join(words)

    def calmer(self) -> tuple[str, str]:
        """Half the rate."""
        return "a calmer machine, or half the rate", self.again(rate=rate_of(self.told) / 2)

    def burst(self, found: HoldDiagnosis) -> Iterator[tuple[str, str]]:
        """Where to look if the difference was one of some minutes."""
        if found.blocks and found.blocks.shape == "burst":
            yield f"see what happened then ({found.blocks.detail})", self.logs

    def errors(self) -> Iterator[tuple[str, str]]:
        """Where to look for each kind of failure."""
        kinds = failures_of(self.told, "candidate")
        if not kinds:
            yield "which requests failed", self.logs
        for kind, count in sorted(kinds.items(), key=lambda item: -item[1]):
            yield f"{count} x {kind}", self._look_at(kind)

    def _look_at(self, kind: str) -> str:
        if kind.startswith("connection"):
            return "mcctl status  # did a replica die or refuse connections?"
        if kind == "timeout":
            return f"{self.logs}  # no answer in 5 s: a stall, or full"
        if kind.startswith(("http 4", "refused")):
            return f"{self.logs}  # the candidate refuses: limits, credentials, policy"
        return f"{self.logs}  # the candidate's own failure"


def _alone(found: HoldDiagnosis) -> bool:
    return sum(one.side == "candidate" for one in found.instances) <= 1


def _repeat(steps: _Commands, judgement: Judgement) -> tuple[str, str]:
    if judgement.error_bound is not None and judgement.error_bound >= judgement.error_tolerance:
        return _repeat_for_errors(steps, judgement)
    needed = pairs_that_decide(judgement)
    if needed is None:
        return "no number of pairs can be computed from these; look at the errors", steps.again()
    pairs, assumed = needed
    most = _MOST_TIMES * judgement.planned_pairs
    what = f"repeat with {pairs} pairs: they decide it in 99 of 100 cases if {assumed}"
    if pairs > most:
        what += f" (over {_MOST_TIMES} times what was planned: make the noise smaller first)"
    return what, steps.again(pairs=pairs)


def _repeat_for_errors(steps: _Commands, judgement: Judgement) -> tuple[str, str]:
    """The errors are what is not decided: the bound on their difference narrows with the pairs."""
    base, cand = judgement.baseline, judgement.candidate
    for times in range(2, _MOST_TIMES + 1):
        counts = (base.errors * times, base.n * times, cand.errors * times, cand.n * times)
        if newcombe(*counts, alpha=ALPHA_PROMOTE)[1] < judgement.error_tolerance:
            pairs = min(base.n, cand.n) * times
            what = (
                f"repeat with {pairs} pairs: if errors stay as frequent as they were, the bound on "
                f"their difference falls below {judgement.error_tolerance:.2%}"
            )
            return what, steps.again(pairs=pairs)
    return "more pairs will not help: find out why requests fail first", steps.logs


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


def _is_plain(url: str) -> bool:
    """Whether it may stand in a command that somebody copies: the file may be from anywhere."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and parts.username is None and url.isprintable()
