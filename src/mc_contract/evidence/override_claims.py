"""The claim about an override: a person promoted this very HOLD, and the ledger says so.

What recomputing can't show: that the embedded ledger key is the ledger's (compare the artefact
with `trust/ledger.pub`), and that the reason is a good one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from mc_contract.canary_override import NotOverridden, read_override
from mc_contract.canonical import Json
from mc_contract.evidence import canary_claims
from mc_contract.evidence.claim_inputs import ClaimFunction, Inputs, NotRecomputable, Params
from mc_contract.evidence.ledger_claims import ledger_public_key

_CALLS = {function.name: function.call for function in canary_claims.FUNCTIONS}
_CLAIMED = (
    *("by", "reason", "at", "kind", "run", "release"),
    *("decision", "event_id", "index", "region"),
)


def _override(inputs: Inputs, _params: Params) -> Json:
    raw, base, cand, verdict, pem, *metrics = inputs
    found = _CALLS["canary.verdict"]((base, cand, verdict, *metrics), {})
    if not isinstance(found, Mapping) or found["verdict"] != "HOLD":
        raise NotRecomputable("the samples give no HOLD: there is nothing to override")
    try:
        override = read_override(raw, ledger_public_key(pem), verdict=verdict, base=base, cand=cand)
    except NotOverridden as cause:
        raise NotRecomputable(cause.message) from cause
    if override.kind != found["kind"]:
        raise NotRecomputable(
            f"the override is of a HOLD for {override.kind}, the samples give {found['kind']}"
        )
    told = asdict(override)
    return {name: told[name] for name in _CLAIMED}


FUNCTIONS = (
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
