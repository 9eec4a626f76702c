"""The reading side and the operator's desk: GraphQL over a tenant's own records, the whole ledger
for auditors, aggregates over a tenant's data, and operations, the autonomy switch and the canary's
override for those who run the platform.
"""

from mc_platform.query.aggregate import AggregateDesk, aggregate_routes
from mc_platform.query.audit import audit_routes
from mc_platform.query.break_glass import BreakGlassDesk, break_glass_routes
from mc_platform.query.canary import CanaryDesk, canary_routes
from mc_platform.query.credentials import CredentialDesk, credential_routes
from mc_platform.query.dead_letters import DeadLetterDesk, dead_letter_routes
from mc_platform.query.operator import Figures, OperatorDesk, operator_routes
from mc_platform.query.schema import graphql_route
from mc_platform.record.audit_recorder import Acts

__all__ = [
    "Acts",
    "AggregateDesk",
    "BreakGlassDesk",
    "CanaryDesk",
    "CredentialDesk",
    "DeadLetterDesk",
    "Figures",
    "OperatorDesk",
    "aggregate_routes",
    "audit_routes",
    "break_glass_routes",
    "canary_routes",
    "credential_routes",
    "dead_letter_routes",
    "graphql_route",
    "operator_routes",
]
