"""The decision, without its engine: a `Question` in Cedar's terms, and the answer in words.

Pure. Parsing policies and evaluating them is the adapter's (`adapters/cedar.py`); what a label
or a purpose is worth is the policies' (`policies/*.cedar`), never this package's.

    world = describe_world(question)       # the entities that policies look at
    request = describe_request(question)   # principal, action, resource, context
    reason = explain(question, allowed=False, policy_ids=ids, reasons=reason_of_policy)
"""

from mc_platform.decide.explanation import explain
from mc_platform.decide.request import (
    ContradictoryQuestion,
    describe_request,
    describe_world,
    world_key,
)

__all__ = [
    "ContradictoryQuestion",
    "describe_request",
    "describe_world",
    "explain",
    "world_key",
]
