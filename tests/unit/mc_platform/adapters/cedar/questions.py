"""The policy set of the repository, and a question that it answers with yes."""

from __future__ import annotations

from pathlib import Path

from mc_platform.model.ids import AgentName, PrincipalId, TenantId
from mc_platform.model.tenant import Principal, Tenant
from mc_platform.model.verdict import Action, Question

POLICY_DIR = Path(__file__).parents[5] / "policies"
TENANT = Tenant(
    id=TenantId("TENANT_001"),
    residency="eu",
    purposes=frozenset({"support"}),
    agents=frozenset({AgentName("records")}),
    autonomy_tier=1,
)
QUESTION = Question(
    principal=Principal(PrincipalId("bot"), TENANT.id, "0" * 12),
    tenant=TENANT,
    action=Action.send_message,
    resource_type="Agent",
    resource_id="records",
    resource_residency="eu",
    purpose="support",
)
