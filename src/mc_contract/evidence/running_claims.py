"""Claims about what ran: what the replicas told of themselves when something was measured.

That the parts of a pack are of one thing is no claim, which a pack could leave out: `verify` holds
them against each other itself (`binding`).
"""

from __future__ import annotations

from mc_contract.canonical import Json
from mc_contract.evidence.claim_inputs import (
    ClaimFunction,
    Inputs,
    NotRecomputable,
    Params,
    json_object,
)
from mc_contract.running import MalformedRecord, NotRecorded, read_record

_PROVES = "the replicas told this of themselves then; whether it is true, the pack does not show"


def _recorded(inputs: Inputs, _params: Params) -> Json:
    """Each group's replicas when the measurement ended, and what was exchanged before that."""
    try:
        record = read_record(json_object(inputs[0], "the artefact"), "the artefact")
    except (NotRecorded, MalformedRecord) as cause:
        raise NotRecomputable(cause.message) from cause
    return {"replicas": record.as_dict()["at_end"], "exchanged": [*record.changed()]}


FUNCTIONS = (
    ClaimFunction("running.recorded", 1, (), _PROVES, _recorded),
    ClaimFunction("running.serving", 1, (), _PROVES, _recorded),
)
