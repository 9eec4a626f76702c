"""The decision, without its engine: a `Question` in Cedar's terms, and the answer in words.

Pure. Parsing policies and evaluating them is the adapter's (`adapters/cedar.py`); what a label
or a purpose is worth is the policies' (`policies/*.cedar`), never this package's.

    world = describe_world(question)       # the entities that policies look at
    request = describe_request(question)   # principal, action, resource, context
    reason = explain(question, allowed=False, policy_ids=ids, reasons=reason_of_policy)

    asked = record_question(question)             # what the ledger keeps
    question = restore_question(asked, catalogue) # to ask it again

    rows = parse_table("replies", table)   # a policy set's examples, and what they get
    broken = failing(rows, point.decide)
"""

from mc_platform.decide.explanation import explain
from mc_platform.decide.recorded import NotRestorable, record_question, restore_question
from mc_platform.decide.request import (
    ContradictoryQuestion,
    context_key,
    describe_context,
    describe_request,
    describe_world,
    world_key,
)
from mc_platform.decide.scopes import outside_scopes
from mc_platform.decide.tables import BrokenTable, Row, failing, holds, parse_table

__all__ = [
    "BrokenTable",
    "ContradictoryQuestion",
    "NotRestorable",
    "Row",
    "context_key",
    "describe_context",
    "describe_request",
    "describe_world",
    "explain",
    "failing",
    "holds",
    "outside_scopes",
    "parse_table",
    "record_question",
    "restore_question",
    "world_key",
]
