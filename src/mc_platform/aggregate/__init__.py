"""Aggregates over a tenant's data: answered with noise, within a budget, or refused.

    asking      what a query says, checked and in one canonical form
    selecting   whom it selects, as keyed digests, and how far two selections lie apart
    noise       OpenDP: the noisy answer, and the noisy test of the group size
    answering   the order of it all: repeat, charge, test, charge, draw, keep

Left to others: who may ask at all (policy), where rows come from, where the accounts are kept.
"""

from mc_platform.aggregate.answering import (
    Aggregates,
    BudgetAccountant,
    Charge,
    Ended,
    Opening,
    Outcome,
    Rows,
    Spent,
    Turn,
    answer_from,
    answer_json,
)
from mc_platform.aggregate.asking import Asked, Condition, Query, read_query
from mc_platform.aggregate.noise import Answer

__all__ = [
    "Aggregates",
    "Answer",
    "Asked",
    "BudgetAccountant",
    "Charge",
    "Condition",
    "Ended",
    "Opening",
    "Outcome",
    "Query",
    "Rows",
    "Spent",
    "Turn",
    "answer_from",
    "answer_json",
    "read_query",
]
