"""The reading side and the operator's desk: GraphQL over a tenant's own records, the whole ledger
for auditors, and operations and the autonomy switch for those who run the platform.
"""

from mc_platform.query.audit import audit_routes
from mc_platform.query.operator import Figures, OperatorDesk, operator_routes
from mc_platform.query.schema import graphql_app

__all__ = ["Figures", "OperatorDesk", "audit_routes", "graphql_app", "operator_routes"]
