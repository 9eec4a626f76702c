"""Identifiers, each a type of its own so that a task id is never passed as a tenant id."""

from __future__ import annotations

from typing import NewType

TenantId = NewType("TenantId", str)
PrincipalId = NewType("PrincipalId", str)
TaskId = NewType("TaskId", str)
ContextId = NewType("ContextId", str)
OperationId = NewType("OperationId", str)
DecisionId = NewType("DecisionId", str)
EventId = NewType("EventId", str)
AgentName = NewType("AgentName", str)
ActionName = NewType("ActionName", str)
