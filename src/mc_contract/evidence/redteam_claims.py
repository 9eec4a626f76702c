"""Claims about a privacy red-team: its rates and bounds, done again from the rows in the pack.

What recomputing can't show: that each row tells what happened. The pack's own control
`redteam-origin` says so.
"""

from __future__ import annotations

from mc_contract.canonical import Json, same_value
from mc_contract.evidence.claim_inputs import (
    ClaimFunction,
    Inputs,
    NotRecomputable,
    Params,
    json_object,
    utf8,
)
from mc_contract.redteam import THRESHOLDS, RedTeamRows, figures


def _figures(inputs: Inputs, _params: Params) -> Json:
    rows = [
        json_object(line.encode(), f"row {number}")
        for number, line in enumerate(utf8(inputs[0], "the rows").split("\n"), 1)
        if line.strip()
    ]
    try:
        computed: dict[str, Json] = figures(rows)
    except RedTeamRows as cause:
        raise NotRecomputable(str(cause)) from cause
    told = json_object(inputs[1], "the red-team's report")
    if not same_value(told.get("figures"), computed):
        raise NotRecomputable("the red-team's report tells other figures than its rows give")
    if told.get("met") not in (computed["met"], None):  # it may doubt more than the rows do
        raise NotRecomputable("the red-team's report judges otherwise than its rows")
    if told.get("thresholds") != THRESHOLDS:
        raise NotRecomputable("the red-team's report names other thresholds than were judged by")
    for outcome in ("missed", "changed", "invalid"):
        if _ids(told.get(outcome)) != computed[outcome]:
            raise NotRecomputable(
                f"the red-team's report lists other {outcome} cases than its rows"
            )
    return {**computed, "met": told.get("met")}


def _ids(listed: Json) -> Json:
    if not isinstance(listed, list):
        return None
    return [one.get("id") if isinstance(one, dict) else None for one in listed]


FUNCTIONS = (
    ClaimFunction(
        "redteam.figures",
        2,
        (),
        "rates, bounds and what was missed follow from the rows, and the report tells the same;"
        " whether each row tells what happened, the pack does not show",
        _figures,
    ),
)
