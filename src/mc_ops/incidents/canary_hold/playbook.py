"""The playbook "Slack Canary HOLD": is the verdict right, where does the difference lie, what next.

    diagnosis = diagnose_hold(read_files(folder), name="canary-20260101T000000000000Z")

The verdict is redone from the samples first: all else rests on them. Then the runbook's figure
beside ours, errors by kind, the driver's lateness, the difference by time and by instance, and
the decision tree with a command for each way out of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from mc_contract.judgement.verdict import (
    FULL_MARGIN,
    Judgement,
    SamplesUnusable,
    is_failing,
    judge,
    parse_samples,
    rejudge,
)
from mc_contract.numbers import counted
from mc_ops.canary_folder import BASE, CAND, VERDICT, urls_of
from mc_ops.errors import UnusableInput
from mc_ops.incidents.canary_hold.diagnosis import Conclusion, HoldDiagnosis
from mc_ops.incidents.canary_hold.files import CanaryFiles, failures_of, rate_of
from mc_ops.incidents.canary_hold.next_steps import next_steps
from mc_ops.incidents.canary_hold.now import Now
from mc_ops.incidents.canary_hold.where import (
    Blocks,
    Latencies,
    blocks_of,
    instances_of,
    judged_without,
)
from mc_ops.incidents.finding import Finding, Status

_CLAIMED = ("verdict", "kind")
_BUT_FOR = {
    "void": ", but for the lateness",
    "metrics": ", but for the metrics",
    "changed": ", but for the replica that was replaced",
}
_REPLACED = frozenset({"verdict", "kind"})  # where something else than samples holds


def diagnose_hold(files: CanaryFiles, *, name: str, now: Now | None = None) -> HoldDiagnosis:
    """Go through the steps.

    Args:
        files: The run's.
        name: Of the run, as commands name it.
        now: What there is of it now; None: that is not known.

    Raises:
        UnusableInput: A sample file is none, or the declared parameters are.
    """
    told = files.verdict or {}
    if files.base is None or files.cand is None:
        return _without_samples(files, told, name, now or Now())
    judgement = _judged(files, told)
    base, cand = (parse_samples(data).latencies_s for data in (files.base, files.cand))
    found = HoldDiagnosis(name, files, judgement, now=now or Now())
    found.blocks = blocks_of(base, cand, margin=judgement.margin)
    for side, series in (("baseline", base), ("candidate", cand)):
        if judgement.paired and (urls := urls_of(told, side)):
            found.instances += instances_of(side, urls, series, margin=judgement.margin)
    _find_culprit(found, base, cand)
    found.findings = [
        _recomputed(files, told, judgement),
        _figures(judgement),
        _early(told, judgement),
        _errors(told, judgement),
        _lateness(told),
        _by_time(found.blocks, _clock(told, found.blocks)),
        _by_instance(found),
        *_on_purpose(found.now),
    ]
    found.conclusion = _conclude(told, found)
    found.next = list(next_steps(told, found))
    return found


def _without_samples(
    files: CanaryFiles, told: Mapping[str, Any], name: str, now: Now
) -> HoldDiagnosis:
    if told.get("kind") != "smoke":
        raise UnusableInput(
            f"{files.folder} has no samples", hint=f"expected {BASE} and {CAND} beside {VERDICT}"
        )
    reason = str(told.get("reason", "no reason is given"))
    finding = Finding("smoke", Status.failed, reason, "the candidate is not fit to be compared")
    found = HoldDiagnosis(
        name, files, None, Conclusion.smoke, [finding, *_on_purpose(now)], now=now
    )
    found.next = list(next_steps(told, found))
    return found


def _judged(files: CanaryFiles, told: Mapping[str, Any]) -> Judgement:
    assert files.base is not None
    assert files.cand is not None
    try:
        if files.verdict is None:
            base, cand = parse_samples(files.base), parse_samples(files.cand)
            return judge(base, cand, margin=FULL_MARGIN)
        parameters = told.get("parameters")
        # `mcctl canary judge --output json` has the parameters beside the verdict.
        return rejudge(files.base, files.cand, parameters if isinstance(parameters, dict) else told)
    except SamplesUnusable as error:
        raise UnusableInput(f"{files.folder}: {error.message}", hint=error.hint) from error


# -- steps ----------------------------------------------------------------------------------------


def _recomputed(files: CanaryFiles, told: Mapping[str, Any], judgement: Judgement) -> Finding:
    step = "verdict"
    if files.verdict is None:
        return Finding(
            step,
            Status.warning,
            f"no {VERDICT}: the samples alone say {judgement.verdict} ({judgement.kind}) by a "
            f"margin of {judgement.margin}; what was planned, and who was asked, is not known",
        )
    other = _differences(told, judgement)
    if other:
        return Finding(
            step,
            Status.failed,
            f"{VERDICT} says {told['verdict']} ({told.get('kind')}), its samples give "
            f"{judgement.verdict} ({judgement.kind}); they differ in {', '.join(other)}",
            "somebody changed a file, or it is another version's: run the canary again",
        )
    but_for = _BUT_FOR.get(str(told.get("kind")), "")
    # Other releases word a reason otherwise, and a changed file could say anything
    reason = told.get("reason") if but_for else judgement.reason
    said = f"{told['verdict']} ({told.get('kind')}): {reason}; the samples give the same{but_for}"
    return Finding(step, Status.ok, said)


def _differences(told: Mapping[str, Any], judgement: Judgement) -> list[str]:
    """Fields that say something else; what the file leaves out claims nothing, but the verdict."""
    ignored = _REPLACED if told.get("kind") in _BUT_FOR else frozenset[str]()
    other = [
        name
        for name, value in judgement.as_dict().items()
        if name != "reason"
        and name not in ignored
        and (name in told or name in _CLAIMED)
        and told.get(name) != value
    ]
    # Only what the samples alone would promote can be held by metrics
    if ignored and (
        told.get("verdict") != "HOLD" or (told["kind"] == "metrics" and not judgement.promote)
    ):
        other.append("verdict")
    return other


def _figures(judgement: Judgement) -> Finding:
    runbook = judgement.runbook.get("regression_percent")
    theirs = (
        f"{runbook:+.1f} %, its bare 5 % rule says {judgement.runbook['verdict']}"
        if runbook is not None
        else "not to be computed: a side never answered"
    )
    ours = "not to be computed"
    if judgement.regression is not None:
        ours = f"{judgement.regression:+.1%}"
    if judgement.interval is not None:
        low, high = judgement.interval
        ours += f" (90 % interval {low:+.1%} to {high:+.1%})"
    detail = (
        f"p95 over all pairs sent: ours {ours}, {judgement.margin:.0%} is allowed; the runbook's "
        f"figure {theirs}"
    )
    if judgement.kind == "regressed":
        return Finding("regression", Status.failed, detail)
    if judgement.interval is None or judgement.interval[1] >= judgement.margin:
        return Finding("regression", Status.warning, detail + "; that it is within is not shown")
    return Finding("regression", Status.ok, detail)


def _early(told: Mapping[str, Any], judgement: Judgement) -> Finding:
    sent = min(judgement.baseline.n, judgement.candidate.n)
    planned, decided = judgement.planned_pairs, judgement.decided_at_pairs
    stopped = told.get("stopped")
    detail = f"{sent} of {planned} planned pairs were sent"
    if stopped == "hold" or (decided < planned and judgement.kind in ("regressed", "errors")):
        detail += (
            f"; HOLD after {counted(decided, 'pair')}: the evidence was enough by then (alpha 0.01)"
        )
    elif stopped == "interrupted":
        return Finding("length", Status.warning, detail + "; it was interrupted")
    return Finding("length", Status.ok, detail)


def _errors(told: Mapping[str, Any], judgement: Judgement) -> Finding:
    base, cand = judgement.baseline, judgement.candidate
    detail = f"baseline {base.errors} of {base.n}, candidate {cand.errors} of {cand.n} failed"
    if judgement.error_bound is not None:
        detail += (
            f"; the difference is at most {judgement.error_bound:.2%} (95 %), "
            f"{judgement.error_tolerance:.2%} is allowed"
        )
    kinds = [
        f"{side}: {', '.join(f'{count} x {kind}' for kind, count in failures.items())}"
        for side in ("baseline", "candidate")
        if (failures := failures_of(told, side))
    ]
    if kinds:
        detail += f"; {'; '.join(kinds)}"
    if is_failing(base.errors, base.n):
        return Finding("errors", Status.failed, detail, "the baseline itself fails")
    if judgement.kind == "errors":
        return Finding("errors", Status.failed, detail)
    if judgement.error_bound is None or judgement.error_bound >= judgement.error_tolerance:
        return Finding("errors", Status.warning, detail + "; that it is within is not shown")
    return Finding("errors", Status.ok, detail)


def _lateness(told: Mapping[str, Any]) -> Finding:
    late = told.get("lateness")
    if not isinstance(late, dict) or not all(
        isinstance(late.get(name), int | float) for name in ("p99_ms", "limit_ms")
    ):
        return Finding("driver", Status.unknown, "the run does not tell how late its driver was")
    detail = f"the driver sent {late['p99_ms']:.1f} ms late (p99), limit is {late['limit_ms']:g} ms"
    if late["p99_ms"] <= late["limit_ms"]:
        return Finding("driver", Status.ok, detail)
    return Finding(
        "driver", Status.warning, detail, "lateness can hide a difference, and does not cause one"
    )


def _clock(told: Mapping[str, Any], blocks: Blocks) -> str:
    """From when to when the worst stretches were, by the run's end and rate; empty if unknown."""
    try:
        ended_at = datetime.fromisoformat(str(told["ended_at"]))
        sent = int(told["candidate"]["n"])
    except (KeyError, TypeError, ValueError):
        return ""
    if not blocks.worst or ended_at.tzinfo is None:
        return ""
    stretch_s = sent / rate_of(told) / len(blocks.ratios)
    left = [(len(blocks.ratios) - one) * stretch_s for one in (blocks.worst[0], blocks.worst[-1])]
    try:
        begin = ended_at - timedelta(seconds=left[0])
        end = ended_at - timedelta(seconds=left[1] - stretch_s)
    except OverflowError:
        return ""
    return f", about {begin.astimezone(UTC):%H:%M:%S} to {end.astimezone(UTC):%H:%M:%S} UTC"


def _by_time(blocks: Blocks, clock: str) -> Finding:
    if blocks.shape == "unknown":
        return Finding("time", Status.unknown, blocks.detail)
    if blocks.shape == "steady":
        return Finding("time", Status.ok, f"steady: {blocks.detail}")
    remedy = {
        "burst": "look at the logs and the machine of those minutes: a stall, a batch, a restart",
        "drift": "it grows or fades while it runs: memory, caches, a queue; or a cold start",
    }[blocks.shape]
    where = ""
    if blocks.worst:
        numbers = ", ".join(str(one + 1) for one in blocks.worst)
        where = f" (stretch {numbers} of {len(blocks.ratios)}{clock})"
    return Finding("time", Status.warning, f"{blocks.shape}: {blocks.detail}{where}", remedy)


def _by_instance(found: HoldDiagnosis) -> Finding:
    step = "instances"
    candidates = [one for one in found.instances if one.side == "candidate"]
    if not candidates:
        return Finding(step, Status.unknown, "which instance got which pair is not known")
    if len(candidates) == 1:
        return Finding(
            step,
            Status.unknown,
            "one candidate instance: a noisy neighbour of its machine looks like a regression",
            "several instances a side tell them apart",
        )
    out = [one for one in found.instances if one.stands_out]
    if not out:
        return Finding(step, Status.ok, f"none of {len(candidates)} candidate instances stands out")
    told = "; ".join(f"{one.side} {one.url}: {one.why}" for one in out)
    if found.rest:
        figure = "" if found.rest.regression is None else f", p95 {found.rest.regression:+.1%}"
        told += f"; without the candidate's: {found.rest.kind}{figure}"
    return Finding(step, Status.warning, told)


def _on_purpose(now: Now) -> list[Finding]:
    """That the candidate is broken on purpose, which explains what else would have to be found."""
    if not now.faults:
        return []
    told = ", ".join(f"{name} runs with {faults}" for name, faults in now.faults.items())
    return [Finding("faults", Status.failed, told, "this is injected: end it, then compare again")]


def _find_culprit(found: HoldDiagnosis, base: Latencies, cand: Latencies) -> None:
    """Where just one candidate instance stands out: judge all but its pairs by the same method."""
    candidates = [one for one in found.instances if one.side == "candidate"]
    out = [place for place, one in enumerate(candidates) if one.stands_out]
    if found.judgement is None or len(out) != 1:
        return
    found.culprit = candidates[out[0]]
    found.rest = judged_without(base, cand, len(candidates), out[0], margin=found.judgement.margin)


def _conclude(told: Mapping[str, Any], found: HoldDiagnosis) -> Conclusion:
    judgement = found.judgement
    assert judgement is not None
    if found.files.verdict is not None and _differences(told, judgement):
        return Conclusion.altered
    if told.get("kind") == "void":
        return Conclusion.void
    if told.get("kind") == "metrics":
        return Conclusion.metrics
    if told.get("kind") == "changed":
        return Conclusion.changed
    if judgement.promote:
        return Conclusion.promoted
    if is_failing(judgement.baseline.errors, judgement.baseline.n):
        return Conclusion.baseline_failing
    refused = told.get("refused")
    full = isinstance(refused, dict) and refused.get("by_the_machine") is True
    if full:
        return Conclusion.refused
    if found.rest is not None and found.rest.kind not in ("regressed", "errors"):
        return Conclusion.one_instance
    if judgement.kind == "errors":
        return Conclusion.errors
    return Conclusion.regression if judgement.kind == "regressed" else Conclusion.inconclusive
