"""One canary run from smoke check to verdict: the order of things, and what each failure means.

1. Smoke check of every instance: a baseline that fails it leaves nothing to compare with
   (could not tell); a candidate that fails it is held; one that cannot be reached at all is
   could not tell, since no sample of it exists.
2. Warm-up that nobody measures, at a rate that the baseline keeps up with.
3. Pairs, watched: HOLD ends the run early.
4. The verdict, by `mc_contract.judgement.verdict` from the samples alone; files written.
5. What runs is asked of every instance before the pairs and after them: what was exchanged in
   between was not compared, so that is no PROMOTE. A baseline that lost a replica is could not tell.
6. With metrics: what Prometheus has of the run's window, judged too; PROMOTE takes both.

What both sides refused alike for want of a place is the machine's doing: a HOLD that rests on it is
could not tell. A candidate that refuses more than the baseline does is held.

Lateness of the driver dilutes every difference, so it voids a PROMOTE or an inconclusive run.
It does not void a HOLD by evidence: that was found in spite of the dilution. A baseline that fails
too often does: whatever was found, it is no measure.
"""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from mc_contract.judgement.verdict import (
    EarlyHold,
    Judgement,
    Samples,
    is_failing,
    judge,
    look_every,
)
from mc_contract.metric_judgement.verdict import MetricJudgement
from mc_contract.numbers import counted
from mc_contract.running import Groups, Record
from mc_ops.canary import files, metrics_run, smoke
from mc_ops.canary.driver import Load, PairDriver, Progress, Sampled, open_session
from mc_ops.canary.metrics import Span
from mc_ops.canary.metrics_run import RunMetrics
from mc_ops.canary.pace import settle
from mc_ops.canary.plan import TENANT, TOKEN_ENV, Plan
from mc_ops.canary.refusals import refusals_of
from mc_ops.errors import CouldNotTell, Declined, NotAllowed
from mc_ops.service_client.running import look

_LOOK_S = 10.0  # longer than /health waits for what it depends on
Slowed = Callable[[float], None]
"""Told the pairs a second that the run goes on with, when they are fewer than asked for."""


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """A verdict and where its files are; `verdict` is what `verdict.json` has."""

    promote: bool
    verdict: dict[str, Any]
    out_dir: Path
    metrics: MetricJudgement | None = None


def run_canary(
    plan: Plan,
    *,
    token: str,
    out_dir: Path,
    progress: Progress,
    slowed: Slowed | None = None,
    token_source: str = "",
    metrics: RunMetrics | None = None,
    release: str | None = None,
) -> CanaryResult:
    """Run the canary and write its files; blocks until the verdict falls.

    Args:
        plan: What to send where, and the declared margin.
        token: The canary tenant's bearer token; goes into headers only.
        out_dir: Where the files go; must hold no run yet, and is made when the first pair is
            to be sent or the verdict falls before that.
        token_source: Where the token is from, for the hint when it is refused.
        progress: See `PairDriver.run`.
        slowed: Called before the first measured pair, if the baseline cannot keep up with the
            plan's rate: the pairs stay as many, the run takes longer.
        metrics: What else both sides are judged by, if anything.
        release: The release that the candidate is, as the evidence will call it.

    Raises:
        CouldNotTell: The baseline is down or too slow for any rate, the candidate was never
            reached, or the run is void.
        NotAllowed: The baseline refuses the token.
        Declined: Interrupted; what was sampled is written.
        UnusableInput: The folder cannot be used.
    """
    files.check_out_dir(out_dir)
    if metrics is not None:
        metrics.check(plan.pairs / plan.rate / 60)
    said = Measured(release=release)
    return asyncio.run(_run(plan, token, out_dir, progress, slowed, token_source, metrics, said))


@dataclass(slots=True)
class Measured:
    """What was measured: the release's name as declared, and what the instances told of themselves.

    Attributes:
        running: None until they were asked.
    """

    release: str | None = None
    running: Record | None = None

    def as_dict(self) -> dict[str, Any]:
        """As `verdict.json` has it."""
        told = None if self.running is None else self.running.as_dict()
        return {"release": self.release, "running": told}


async def _look(plan: Plan, token: str, timeout_s: float = _LOOK_S) -> Groups:
    """What runs at each instance; one that does not answer in time is left out, like a dead one."""
    urls = {"baseline": plan.baseline, "candidate": plan.candidate}
    return await asyncio.to_thread(look, urls, token, silent_is_gone=True, timeout_s=timeout_s)


async def _run(
    plan: Plan,
    token: str,
    out_dir: Path,
    progress: Progress,
    slowed: Slowed | None,
    token_source: str,
    metrics: RunMetrics | None,
    measured: Measured,
) -> CanaryResult:
    started_at = datetime.now(UTC)
    load = Load(plan.baseline, plan.candidate, pairs=plan.pairs, rate=plan.rate)
    async with open_session(token) as session:
        failure = await _smoke(session, plan, token_source)
        files.make_out_dir(out_dir)
        at_start = await _look(plan, token)
        if failure is not None:
            measured.running = Record(at_start, at_start)
            verdict = _smoke_verdict(plan, failure, started_at) | measured.as_dict()
            files.write_verdict(out_dir, verdict)
            return CanaryResult(promote=False, verdict=verdict, out_dir=out_dir)
        driver = PairDriver(
            session,
            load,
            random.Random(),  # noqa: S311 - the order within pairs is no secret
            EarlyHold(plan.margin, plan.pairs, plan.instances),
        )
        with _stop_on_signal(driver):
            kept_up = await settle(driver, plan.pairs)
            if not kept_up:
                raise CouldNotTell(
                    f"the baseline does not keep up with {driver.rate:g} pairs/s, "
                    f"and {plan.rate:g} were asked for",
                    hint="the machine is full, or the baseline is slow: mcctl status",
                )
            if driver.rate != plan.rate:
                plan = replace(plan, rate=driver.rate)
                if slowed is not None:
                    slowed(plan.rate)
            sampled = await driver.run(look_every(plan.pairs), progress)
        # Whoever cancels a job waits for seconds
        look_s = _LOOK_S / 5 if sampled.stopped == "interrupted" else _LOOK_S
        measured.running = Record(at_start, await _look(plan, token, look_s))
    return conclude(plan, sampled, started_at, out_dir, metrics, measured)


async def _smoke(
    session: aiohttp.ClientSession, plan: Plan, token_source: str
) -> smoke.Smoke | None:
    """The candidate's smoke failure, None when all is well; raises for the baseline's."""
    for url in plan.baseline:
        found = await smoke.check(session, url)
        if found.refused:
            raise NotAllowed(f"baseline {url}: {found.reason}", hint=_refused_hint(token_source))
        if not found.passed:
            raise CouldNotTell(
                f"baseline {url}: {found.reason}", hint="a healthy baseline is needed to compare"
            )
    failure = None
    for url in plan.candidate:
        found = await smoke.check(session, url)
        if found.unreachable:
            raise CouldNotTell(
                f"candidate {url}: {found.reason}", hint="is it up? mcctl status shows it"
            )
        failure = failure or (None if found.passed else found)
    return failure


def _refused_hint(token_source: str) -> str:
    if token_source == TOKEN_ENV:
        return (
            f"the token is that of {TOKEN_ENV}: give it tenant {TENANT}'s, or unset it to take "
            "the local platform's"
        )
    return f"the token is from {token_source or 'the caller'}; mcctl up renews credentials"


def conclude(
    plan: Plan,
    sampled: Sampled,
    started_at: datetime,
    out_dir: Path,
    metrics: RunMetrics | None = None,
    measured: Measured | None = None,
) -> CanaryResult:
    """Judge what was sampled and measured, write the files, and say what it means.

    Raises:
        CouldNotTell: No pair was completed, the baseline went down, the machine was full, the run
            is void, or Prometheus could not be asked.
        Declined: The run was interrupted.
    """
    # Over 60 lines: which finding has precedence over which stands in one view
    _require_a_pair(sampled)
    base, cand = Samples(sampled.base_s), Samples(sampled.cand_s)
    judgement = judge(
        base, cand, margin=plan.margin, planned_pairs=plan.pairs, instances=plan.instances
    )
    by_evidence = judgement.kind in ("regressed", "errors")
    measured = measured or Measured()
    changed = [] if measured.running is None or by_evidence else measured.running.changed()
    refused = refusals_of(sampled)
    full = refused.alike and not judgement.promote and _rests_on_refusals(judgement, plan, sampled)
    verdict = _verdict(plan, sampled, judgement, started_at) | measured.as_dict()
    verdict["refused"] = {
        "baseline": refused.baseline,
        "candidate": refused.candidate,
        "by_the_machine": full,
    }
    late = "" if by_evidence or changed else _late(plan, sampled)
    # Whoever reads the file alone must not find a PROMOTE in it
    if late:
        verdict |= {"verdict": "HOLD", "kind": "void", "reason": late}
    if changed:
        replaced = f"a replica was replaced during the run: {'; '.join(changed)}"
        verdict |= {"verdict": "HOLD", "kind": "changed", "reason": replaced}
    # An interrupt while Prometheus is waited for must leave the samples, and no PROMOTE
    files.write_run(out_dir, base, cand, metrics_run.pending(verdict) if metrics else verdict)
    judged = None
    if metrics is not None and sampled.stopped != "interrupted":
        judged = metrics.judge(_span(verdict), out_dir)
        verdict = metrics_run.compose(verdict, judged)
        files.write_verdict(out_dir, verdict)
    if sampled.stopped == "interrupted":
        raise Declined(
            f"interrupted after {counted(base.n, 'pair')}", hint=f"samples are in {out_dir}"
        )
    _refuse_lost_baseline(measured.running)
    _refuse_failing_baseline(sampled, base, out_dir)
    if full and not changed:
        raise CouldNotTell(
            f"the machine refused work on both sides alike: {refused.baseline} of {base.n} "
            f"requests of the baseline, {refused.candidate} of the candidate; without these "
            "nothing speaks against the candidate",
            hint=f"give it a calmer machine, or a lower --rate than {plan.rate:g}",
        )
    if late:
        raise CouldNotTell(late, hint="give the driver a calmer machine, or a lower --rate")
    if judged is not None and judgement.promote and not changed:
        metrics_run.refuse_unasked(judged)
    return CanaryResult(verdict["verdict"] == "PROMOTE", verdict, out_dir, judged)


def _require_a_pair(sampled: Sampled) -> None:
    if sampled.base_s.size == 0:
        if sampled.stopped == "interrupted":
            raise Declined("interrupted before the first pair was complete")
        raise CouldNotTell("no pair was completed", hint="is the rate too high for this machine?")


def _verdict(
    plan: Plan, sampled: Sampled, judgement: Judgement, started_at: datetime
) -> dict[str, Any]:
    """What `verdict.json` has of a run that was sampled."""
    return {
        **judgement.as_dict(),
        "stopped": sampled.stopped,
        "failures": {"baseline": sampled.base_failures, "candidate": sampled.cand_failures},
        "parameters": plan.parameters(),
        "urls": {"baseline": list(plan.baseline), "candidate": list(plan.candidate)},
        "lateness": {
            "p99_ms": round(_lateness_s(sampled) * 1000, 3),
            "limit_ms": round(plan.lateness_limit_s * 1000, 3),
        },
        **_times(started_at),
    }


def _lateness_s(sampled: Sampled) -> float:
    return float(np.quantile(sampled.lateness_s, 0.99))


def _late(plan: Plan, sampled: Sampled) -> str:
    """Why the driver was too late for its samples to count; empty if it was not."""
    if _lateness_s(sampled) <= plan.lateness_limit_s:
        return ""
    return (
        f"the run is void: the driver sent its requests {_lateness_s(sampled) * 1000:.1f} ms late "
        f"(p99; limit {plan.lateness_limit_s * 1000:.0f} ms)"
    )


def _rests_on_refusals(judgement: Judgement, plan: Plan, sampled: Sampled) -> bool:
    """Whether the HOLD is gone, or no longer by evidence, where refused pairs count for nobody."""
    excused = sampled.base_refused | sampled.cand_refused
    base, cand = (
        Samples(np.where(excused, np.nan, side)) for side in (sampled.base_s, sampled.cand_s)
    )
    without = judge(
        base, cand, margin=plan.margin, planned_pairs=plan.pairs, instances=plan.instances
    )
    return without.kind != judgement.kind and without.kind not in ("regressed", "errors")


def _refuse_lost_baseline(running: Record | None) -> None:
    """A side that has lost a replica, or its node, has failed requests that say nothing of the other."""
    if running is None:
        return
    before, after = (at.get("baseline", ()) for at in (running.at_start, running.at_end))
    if len(after) < len(before):
        raise CouldNotTell(
            f"the baseline lost {len(before) - len(after)} of {len(before)} replicas during the run: "
            "nothing can be compared with the rest",
            hint="look why (a node that is down?), then run the canary again with a fresh baseline",
        )


def _refuse_failing_baseline(sampled: Sampled, base: Samples, out_dir: Path) -> None:
    if sampled.stopped == "baseline-failing" or is_failing(base.errors, base.n):
        why = ", ".join(f"{count} x {name}" for name, count in sampled.base_failures.items())
        raise CouldNotTell(
            f"the baseline failed {base.errors} of {base.n} requests ({why})",
            hint=f"nothing can be compared with it; lower --rate if the machine is full, "
            f"or see {out_dir}",
        )


def _smoke_verdict(plan: Plan, failure: smoke.Smoke, started_at: datetime) -> dict[str, Any]:
    """A HOLD without samples; every figure that was not measured is null."""
    nothing = {"n": 0, "errors": 0, "p95_ms": None}
    return {
        "verdict": "HOLD",
        "kind": "smoke",
        "reason": f"candidate {failure.url}: {failure.reason}",
        "rehearsal": plan.rehearsal,
        "baseline": nothing,
        "candidate": nothing,
        "regression": None,
        "interval": None,
        "margin": plan.margin,
        "looks": 0,
        "pairs_needed": None,
        "method": "smoke check: agent card, and an operation that is undone",
        "runbook": None,
        "parameters": plan.parameters(),
        "urls": {"baseline": list(plan.baseline), "candidate": list(plan.candidate)},
        "lateness": None,
        **_times(started_at),
    }


def _span(verdict: dict[str, Any]) -> Span:
    """The run's window, by the times that its verdict tells."""
    return Span(*(datetime.fromisoformat(verdict[key]) for key in ("started_at", "ended_at")))


def _times(started_at: datetime) -> dict[str, str]:
    ended_at = datetime.now(UTC)
    return {
        "started_at": started_at.isoformat(timespec="milliseconds"),
        "ended_at": ended_at.isoformat(timespec="milliseconds"),
    }


@contextmanager
def _stop_on_signal(driver: PairDriver) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal stop the sending, so that samples can be written."""
    loop = asyncio.get_running_loop()
    before: dict[signal.Signals, Any] = {}
    stop: Callable[[], None] = lambda: driver.stop("interrupted")  # noqa: E731
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        handler = signal.getsignal(number)
        if handler is signal.SIG_IGN and number != signal.SIGINT:
            continue  # nohup; a shell's background job ignores SIGINT alone, and may be sent it
        try:
            loop.add_signal_handler(number, stop)
        except (ValueError, RuntimeError, NotImplementedError):  # not the main thread, or Windows
            continue
        before[number] = handler
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
