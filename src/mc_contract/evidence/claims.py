"""The registry of named pure functions by which a claim is recomputed from artefact bytes.

A claim names its function; `verify` runs that function again over the embedded artefacts and
compares. An unknown name is no claim at all. Each entry says what recomputing proves, and the
report repeats it, because a recomputed value is only as true as the bytes it came from.

Adding one: a pure function `(inputs, params) -> Json` that raises `NotRecomputable`, and a line
in `REGISTRY`. Names are forever: old packs must verify.
"""

from __future__ import annotations

from collections.abc import Mapping

from mc_contract.canonical import Json, canonical_json
from mc_contract.errors import McError
from mc_contract.evidence import (
    canary_claims,
    drill_claims,
    journal_claims,
    ledger_claims,
    redteam_claims,
    run_claims,
)
from mc_contract.evidence.claim_inputs import ClaimFunction, NotRecomputable

REGISTRY: Mapping[str, ClaimFunction] = {
    function.name: function
    for function in (
        *run_claims.FUNCTIONS,
        *journal_claims.FUNCTIONS,
        *canary_claims.FUNCTIONS,
        *ledger_claims.FUNCTIONS,
        *redteam_claims.FUNCTIONS,
        *drill_claims.FUNCTIONS,
    )
}


def recompute(
    fn: str, sources: tuple[str, ...], params: Mapping[str, Json], artifacts: Mapping[str, bytes]
) -> Json:
    """The value of `fn` over the named artefacts.

    Raises:
        NotRecomputable: an unknown function or artefact, or the function's own reason.
    """
    function = REGISTRY.get(fn)
    if function is None:
        raise NotRecomputable(f"unknown function {fn!r}")
    absent = [name for name in sources if name not in artifacts]
    if absent:
        raise NotRecomputable(f"no artefact {', '.join(repr(name) for name in absent)}")
    if not function.inputs <= len(sources) <= function.inputs + function.optional:
        more = f", and {function.optional} more if wanted" if function.optional else ""
        raise NotRecomputable(f"{fn} takes {function.inputs} artefacts{more}, got {len(sources)}")
    unknown = sorted(set(params) - set(function.params))
    if unknown:
        raise NotRecomputable(f"{fn} has no parameter {', '.join(unknown)}")
    try:
        value = function.call([artifacts[name] for name in sources], params)
        canonical_json(value)  # refuses what JSON can't say, such as NaN
    except NotRecomputable:
        raise
    except McError as error:
        raise NotRecomputable(error.message) from error
    except (ValueError, ArithmeticError, LookupError, TypeError, AttributeError) as error:
        # artefacts come from strangers: whatever a function trips over, the answer is "no"
        raise NotRecomputable(f"{fn} can't use its artefacts: {type(error).__name__}") from error
    return value
