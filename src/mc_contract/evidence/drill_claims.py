"""Claims about a drill: RTO and RPO, computed again from its clients' rows in the pack.

What recomputing can't show: that each row tells what happened. The pack's own control
`drill-origin` says so.
"""

from __future__ import annotations

from mc_contract.canonical import Json, same_value
from mc_contract.drill import DrillRows, course_of, figures, request_of, require_held
from mc_contract.evidence.claim_inputs import (
    ClaimFunction,
    Inputs,
    NotRecomputable,
    Params,
    json_object,
    utf8,
)


def _figures(inputs: Inputs, _params: Params) -> Json:
    report = json_object(inputs[1], "the drill's report")
    try:
        rows = [
            request_of(json_object(line.encode(), f"row {number}"))
            for number, line in enumerate(utf8(inputs[0], "the rows").split("\n"), 1)
            if line.strip()
        ]
        course = course_of(report)
        require_held(rows, course)
        computed: dict[str, Json] = figures(rows, course)
    except DrillRows as cause:
        raise NotRecomputable(cause.message) from cause
    problem = report.get("problem")
    if problem:  # a platform that its recovery did not bring back has not met the target
        computed["met"] = False
    if not same_value(report.get("figures"), computed):
        raise NotRecomputable("the drill's report tells other figures than its rows give")
    return computed


FUNCTIONS = (
    ClaimFunction(
        "drill.figures",
        2,
        (),
        "RTO, RPO and the verdict against the target follow from the clients' rows, none of which is missing,"
        " and the report tells the same; whether each row tells what happened, the pack does not show",
        _figures,
    ),
)
