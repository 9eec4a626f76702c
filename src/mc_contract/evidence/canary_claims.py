"""Claims about a canary: the verdict and its figures, done again from the samples in the pack.

What recomputing can't show: that the samples came from the two services, side by side. The pack's
own control `sample-origin` says so.
"""

from __future__ import annotations

import numpy as np

from mc_contract.canonical import Json
from mc_contract.evidence.claim_inputs import (
    ClaimFunction,
    Inputs,
    NotRecomputable,
    Params,
    json_object,
)
from mc_contract.judgement import parse_samples, rejudge
from mc_contract.judgement_statistics import p95

# What of a judgement is claimed: the figures, and what they were judged by; wording may change
_CLAIMED = (
    "verdict",
    "kind",
    "rehearsal",
    "margin",
    "error_tolerance",
    "planned_pairs",
    "decided_at_pairs",
    "regression",
    "interval",
    "error_bound",
    "lateness_ms",
)
# a candidate found worse is worse however late the driver was
_BY_EVIDENCE = ("regressed", "errors")


def _verdict(inputs: Inputs, _params: Params) -> Json:
    base, cand, told = inputs[0], inputs[1], json_object(inputs[2], "the verdict file")
    computed: dict[str, Json] = rejudge(base, cand, told).as_dict()
    computed["lateness_ms"] = lateness = told.get("lateness")
    if _is_late(lateness) and computed["kind"] not in _BY_EVIDENCE:
        computed |= {"verdict": "HOLD", "kind": "void"}
    # A verdict file that says something else than its samples is a finding, not a rounding
    for name in ("verdict", "rehearsal"):
        if told.get(name) != computed[name]:
            raise NotRecomputable(
                f"the verdict file says {name} {told.get(name)!r}, the samples give "
                f"{computed[name]!r}"
            )
    return {name: computed[name] for name in _CLAIMED}


def _is_late(lateness: Json) -> bool:
    """Whether the driver, by its own account, sent too late for its samples to count."""
    if lateness is None:
        return False
    figures = lateness if isinstance(lateness, dict) else {}
    p99, limit = figures.get("p99_ms"), figures.get("limit_ms")
    if not isinstance(p99, int | float) or not isinstance(limit, int | float):
        raise NotRecomputable("the verdict file's 'lateness' has no figures")
    return p99 > limit


def _p95_ms(inputs: Inputs, _params: Params) -> Json:
    values = parse_samples(inputs[0]).latencies_s
    answered = values[~np.isnan(values)]
    return round(p95(answered) * 1000, 6) if answered.size else None


def _requests(inputs: Inputs, _params: Params) -> Json:
    samples = parse_samples(inputs[0])
    return {"sent": samples.n, "failed": samples.errors}


_ORIGIN = "whether the services gave these samples, the pack does not show"

FUNCTIONS = (
    ClaimFunction(
        "canary.verdict",
        3,
        (),
        f"the verdict follows from the samples, margin and lateness that were told; {_ORIGIN}",
        _verdict,
    ),
    ClaimFunction("canary.p95_ms", 1, (), f"the p95 of the samples; {_ORIGIN}", _p95_ms),
    ClaimFunction("canary.requests", 1, (), f"how many samples there are; {_ORIGIN}", _requests),
)
