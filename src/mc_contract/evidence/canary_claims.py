"""Claims about a canary: the verdict and its figures, done again from the samples in the pack.

What recomputing can't show: that the samples came from the two services, side by side (the pack's
own control `sample-origin` says so); of an override, that the embedded ledger key is the ledger's
(compare the artefact with `trust/ledger.pub`), and that the reason is a good one.
"""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np

from mc_contract.canary_override import read_override
from mc_contract.canonical import Json
from mc_contract.evidence.claim_inputs import (
    ClaimFunction,
    Inputs,
    NotRecomputable,
    Params,
    json_object,
)
from mc_contract.judgement.statistics import p95
from mc_contract.judgement.verdict import METHOD, parse_samples, rejudge
from mc_contract.ledger.checkpoint import read_public_keys
from mc_contract.metric_judgement.series import parse_window
from mc_contract.metric_judgement.verdict import MetricJudgement, rejudge_metrics
from mc_contract.running import NotRecorded, read_record

# What of a judgement is claimed: the figures, and what they were judged by; wording may change
_CLAIMED = (
    "verdict",
    "kind",
    "rehearsal",
    "margin",
    "error_tolerance",
    "planned_pairs",
    "instances",
    "decided_at_pairs",
    "regression",
    "interval",
    "error_bound",
    "lateness_ms",
)
_OVERRIDE_CLAIMED = (
    *("by", "reason", "at", "kind", "run", "release"),
    *("decision", "event_id", "index", "region"),
)
_WITHOUT_METRICS = 3  # artefacts of a verdict by samples alone
# a candidate found worse is worse however late the driver was
_BY_EVIDENCE = ("regressed", "errors")


def _verdict(inputs: Inputs, _params: Params) -> dict[str, Json]:
    base, cand, told = inputs[0], inputs[1], json_object(inputs[2], "the verdict file")
    if told.get("method", METHOD) != METHOD:
        raise NotRecomputable(
            f'the verdict was reached by another method, "{told["method"]}": the release that made '
            "it can recompute it"
        )
    computed: dict[str, Json] = rejudge(base, cand, told).as_dict()
    computed["lateness_ms"] = lateness = told.get("lateness")
    if _is_late(lateness) and computed["kind"] not in _BY_EVIDENCE:
        computed |= {"verdict": "HOLD", "kind": "void"}
    if _was_exchanged(told) and computed["kind"] not in _BY_EVIDENCE:
        computed |= {"verdict": "HOLD", "kind": "changed"}
    claimed: tuple[str, ...] = _CLAIMED
    if len(inputs) > _WITHOUT_METRICS:
        claimed = (*_CLAIMED, "metrics")
        metrics = _metrics_of(told, inputs[3])
        computed["metrics"] = {"outcome": metrics.outcome, "score": metrics.score}
        if computed["verdict"] == "PROMOTE" and not metrics.passed:
            computed |= {"verdict": "HOLD", "kind": "metrics"}
    elif told.get("metrics") is not None:
        raise NotRecomputable("the verdict file tells of metrics, and they are not among the files")
    # A verdict file that says something else than its samples is a finding, not a rounding
    for name in ("verdict", "rehearsal"):
        if told.get(name) != computed[name]:
            raise NotRecomputable(
                f"the verdict file says {name} {told.get(name)!r}, the samples give "
                f"{computed[name]!r}"
            )
    return {name: computed[name] for name in claimed}


def _metrics_of(told: dict[str, Json], raw: bytes) -> MetricJudgement:
    """The metrics judged again; they must be those that the verdict file tells of, and its run's."""
    document = json_object(raw, "the metrics file")
    judgement = rejudge_metrics(document)
    summary, found = told.get("metrics"), judgement.summary()
    if not isinstance(summary, dict) or any(
        summary.get(key) != found[key] for key in ("outcome", "score", "metrics")
    ):
        raise NotRecomputable("the verdict file tells of other metrics than the metrics file gives")
    run = {"start": told.get("started_at"), "end": told.get("ended_at")}
    whole = parse_window({"baseline": run, "candidate": run})
    for side, window in parse_window(document.get("window")).items():
        if window.start_s < whole[side].start_s or window.end_s > whole[side].end_s:
            raise NotRecomputable(f"the {side}'s metrics are not from within the run")
    return judgement


def _metrics(inputs: Inputs, _params: Params) -> Json:
    document = json_object(inputs[0], "the metrics file")
    computed = rejudge_metrics(document)
    if not agree(document.get("result"), computed.as_dict()):
        raise NotRecomputable("the metrics file's result is not what its series give")
    return {
        "outcome": computed.outcome,
        "score": computed.score,
        "metrics": {result.metric.name: result.outcome for result in computed.results},
    }


def _was_exchanged(told: dict[str, Json]) -> bool:
    """Whether an instance was another at the run's end than at its begin; False if not recorded."""
    try:
        return bool(read_record(told, "the verdict file").changed())
    except NotRecorded:
        return False


def _is_late(lateness: Json) -> bool:
    """Whether the driver, by its own account, sent too late for its samples to count."""
    if lateness is None:
        return False
    figures = lateness if isinstance(lateness, dict) else {}
    p99, limit = figures.get("p99_ms"), figures.get("limit_ms")
    if not isinstance(p99, int | float) or not isinstance(limit, int | float):
        raise NotRecomputable("the verdict file's 'lateness' has no figures")
    return p99 > limit


def agree(told: object, computed: object) -> bool:
    """Whether a stored result says the same: figures to five digits, and no matter the wording."""
    if isinstance(computed, dict):
        return isinstance(told, dict) and all(
            key in told and agree(told[key], value)
            for key, value in computed.items()
            if key not in ("reason", "method")
        )
    if isinstance(computed, list):
        return (
            isinstance(told, list)
            and len(told) == len(computed)
            and all(map(agree, told, computed))
        )
    if isinstance(computed, float):
        return isinstance(told, int | float) and math.isclose(
            told, computed, rel_tol=1e-5, abs_tol=1e-12
        )
    return told == computed


def _p95_ms(inputs: Inputs, _params: Params) -> Json:
    values = parse_samples(inputs[0]).latencies_s
    answered = values[~np.isnan(values)]
    return round(p95(answered) * 1000, 6) if answered.size else None


def _requests(inputs: Inputs, _params: Params) -> Json:
    samples = parse_samples(inputs[0])
    return {"sent": samples.n, "failed": samples.errors}


def _override(inputs: Inputs, params: Params) -> Json:
    """A person promoted this very HOLD, and the ledger says so."""
    raw, base, cand, verdict, pem, *metrics = inputs
    found = _verdict((base, cand, verdict, *metrics), params)
    if found["verdict"] != "HOLD":
        raise NotRecomputable("the samples give no HOLD: there is nothing to override")
    key = read_public_keys(pem)
    override = asdict(read_override(raw, key, verdict=verdict, base=base, cand=cand))
    if override["kind"] != found["kind"]:
        raise NotRecomputable(
            f"the override is of a HOLD for {override['kind']}, the samples give {found['kind']}"
        )
    return {name: override[name] for name in _OVERRIDE_CLAIMED}


_ORIGIN = "whether the services gave these samples, the pack does not show"

FUNCTIONS = (
    ClaimFunction(
        "canary.verdict",
        3,
        (),
        f"the verdict follows from the samples, margin and lateness that were told; {_ORIGIN}",
        _verdict,
        optional=1,
    ),
    ClaimFunction(
        "canary.metrics",
        1,
        (),
        "the metrics' outcomes and score follow from the series and rules that were told; whether "
        "Prometheus gave these series, the pack does not show",
        _metrics,
    ),
    ClaimFunction("canary.p95_ms", 1, (), f"the p95 of the samples; {_ORIGIN}", _p95_ms),
    ClaimFunction("canary.requests", 1, (), f"how many samples there are; {_ORIGIN}", _requests),
    ClaimFunction(
        "canary.override",
        5,
        (),
        "the ledger has an entry by which this person promoted this HOLD, for this reason; that "
        "the key is the ledger's, only a copy of it from outside the pack tells",
        _override,
        optional=1,  # the metrics of a verdict that tells of some
    ),
)
