"""The reading side and the operator's handlers: GraphQL over a tenant's own records, the whole ledger
for auditors, aggregates over a tenant's data, and operations, the autonomy switch and the canary's
override for those who run the platform.
"""

from mc_platform.query.aggregate import AggregateHandlers
from mc_platform.query.audit import AuditHandlers
from mc_platform.query.break_glass import BreakGlassHandlers
from mc_platform.query.canary import CanaryHandlers
from mc_platform.query.credentials import CredentialHandlers
from mc_platform.query.dead_letters import DeadLetterHandlers
from mc_platform.query.homes import HomeHandlers
from mc_platform.query.operator import OperatorHandlers
from mc_platform.query.schema import GraphqlHandlers

__all__ = [
    "AggregateHandlers",
    "AuditHandlers",
    "BreakGlassHandlers",
    "CanaryHandlers",
    "CredentialHandlers",
    "DeadLetterHandlers",
    "GraphqlHandlers",
    "HomeHandlers",
    "OperatorHandlers",
]
