"""The reading side: GraphQL over a tenant's own operations, tasks and ledger events."""

from mc_platform.query.schema import graphql_app

__all__ = ["graphql_app"]
