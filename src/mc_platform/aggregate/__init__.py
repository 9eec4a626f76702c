"""Aggregates over a tenant's data: answered with noise, within a budget, or refused.

    query       what a query says, checked and in one canonical form
    select      whom it selects, as keyed digests, and how far two selections lie apart
    noise       OpenDP: the noisy answer, and the noisy test of the group size
    execute     the order of it all: repeat, charge, test, charge, draw, keep

Left to others: who may ask at all (policy), where rows come from, where the accounts are kept.
"""

from mc_platform.aggregate.execute import (
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
)
from mc_platform.aggregate.noise import Answer
from mc_platform.aggregate.query import Asked, Condition, Query, read_query
from mc_platform.aggregate.select import Digests

__all__ = [
    "Aggregates",
    "Answer",
    "Asked",
    "BudgetAccountant",
    "Charge",
    "Condition",
    "Digests",
    "Ended",
    "Opening",
    "Outcome",
    "Query",
    "Rows",
    "Spent",
    "Turn",
    "answer_from",
    "read_query",
]
