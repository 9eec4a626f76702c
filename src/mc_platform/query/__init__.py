"""The reading side and the operator's desk: GraphQL over a tenant's own records, the whole ledger
for auditors, aggregates over a tenant's data, and operations and the autonomy switch for those who run the platform.
"""

from mc_platform.query.acts import Acts
from mc_platform.query.aggregate import AggregateDesk, aggregate_routes
from mc_platform.query.audit import audit_routes
from mc_platform.query.break_glass import BreakGlassDesk, break_glass_routes
from mc_platform.query.operator import Figures, OperatorDesk, operator_routes
from mc_platform.query.schema import graphql_app

__all__ = [
    "Acts",
    "AggregateDesk",
    "BreakGlassDesk",
    "Figures",
    "OperatorDesk",
    "aggregate_routes",
    "audit_routes",
    "break_glass_routes",
    "graphql_app",
    "operator_routes",
]
