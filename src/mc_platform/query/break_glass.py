"""Break-glass, and what pseudonyms stand for, over HTTP.

An operator asks for a way into one tenant's data, another approves, for minutes. While the grant
holds, who asked may read that tenant's tasks and open its pseudonyms; each use is in the ledger
before the answer leaves. A tenant's own agents may open its pseudonyms where policy permits.

    GET  /operator/break-glass                     the newest grants
    POST /operator/break-glass                     {"tenant", "minutes", "reason"}
    POST /operator/break-glass/{id}/approve        {"reason"}
    POST /operator/break-glass/{id}/end            {"reason"}
    GET  /operator/tenants/{tenant}/tasks/{id}     needs a grant
    POST /privacy/reveal                           {"text", "reason", "tenant"?, "purpose"?}
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mc_contract.keepable import json_bytes
from mc_platform.adapters.postgres.break_glass import PostgresBreakGlass
from mc_platform.errors import BadRequest, Conflict, NotFound
from mc_platform.model.break_glass import LONGEST_MINUTES, Grant
from mc_platform.model.event import Kind
from mc_platform.model.ids import TaskId, TenantId
from mc_platform.model.tenant import PLATFORM, Principal, Role
from mc_platform.model.verdict import Action
from mc_platform.ports import Tasks
from mc_platform.query.handlers import Handlers
from mc_platform.query.operator_wire import ReasonBody, fields_json, known_tenant, read_body
from mc_platform.query.parameters import refuse_unstorable

_MOST_LISTED = 100
_LONGEST_TEXT = 1_000_000
_TASK = (
    "id", "tenant", "principal", "context_id", "state", "updated_at", "status_text", "governance",
    "parts",
)  # fmt: skip
Reveal = Callable[[TenantId, TenantId, str], Awaitable[tuple[str, Mapping[str, int]]]]
"""In the turn of one tenant, opens another's pseudonyms in a text: what it says then, and how many of
each type were opened. Raises `Unavailable` where it took too long, or its worker ended."""


class AskBody(msgspec.Struct, forbid_unknown_fields=True):
    """A way into which tenant, for how long, and why."""

    tenant: str
    minutes: int
    reason: str


class RevealBody(msgspec.Struct, forbid_unknown_fields=True):
    """A text with pseudonyms; the tenant is the caller's own unless it is named."""

    text: str
    reason: str
    tenant: str = ""
    purpose: str = "identity-verification"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakGlassHandlers(Handlers):
    """Answers them.

    Attributes:
        reveal_pseudonyms: None where the platform has no key for pseudonyms.
        tenants: Those to which a way can be opened.
    """

    grants: PostgresBreakGlass
    tasks: Tasks
    reveal_pseudonyms: Reveal | None
    tenants: frozenset[TenantId]

    def routes(self) -> list[Route]:
        return [
            Route("/operator/break-glass", self.newest, methods=["GET"]),
            Route("/operator/break-glass", self.ask, methods=["POST"]),
            Route("/operator/break-glass/{id}/approve", self.approve, methods=["POST"]),
            Route("/operator/break-glass/{id}/end", self.end, methods=["POST"]),
            Route("/operator/tenants/{tenant}/tasks/{id}", self.task, methods=["GET"]),
            Route("/privacy/reveal", self.reveal, methods=["POST"]),
        ]

    # -- grants -------------------------------------------------------------------------------

    async def newest(self, request: Request) -> Response:
        await self.permit(request, Action.read_operations)
        found = await self.grants.newest(_MOST_LISTED)
        return JSONResponse({"grants": [fields_json(grant) for grant in found]})

    async def ask(self, request: Request) -> Response:
        principal, decision = await self.permit(request, Action.break_glass)
        asked = await read_body(request, AskBody)
        tenant = known_tenant(asked.tenant, self.tenants)
        if not 1 <= asked.minutes <= LONGEST_MINUTES:
            raise BadRequest(f"minutes must be 1 to {LONGEST_MINUTES}, got {asked.minutes}")
        reason = self.reason(asked.reason)
        grant_id = uuid.uuid4()
        said: dict[str, Any] = {"minutes": asked.minutes, "reason": reason}
        detail = {"subject": str(grant_id), **said}
        await self.recorder.record(Kind.break_glass_requested, tenant, principal, decision, detail)
        grant = await self.grants.ask(grant_id, tenant=tenant, principal=principal.id, **said)
        return JSONResponse(fields_json(grant), status_code=201)

    async def approve(self, request: Request) -> Response:
        principal, decision = await self.permit(request, Action.approve_break_glass)
        reason = self.reason((await read_body(request, ReasonBody)).reason)
        grant = await self._known(request)
        if grant.asked_by == principal.id:
            raise Conflict(
                "who asked for a grant cannot approve it",
                hint="another operator approves; that is what the second person is for",
            )
        if grant.state != "pending":
            raise Conflict(f"the grant is {grant.state}; only a pending one can be approved")
        # Told before it opens: nothing is ever open that the ledger does not know
        detail = {"subject": str(grant.id), "minutes": grant.minutes, "reason": reason}
        detail["asked_by"] = grant.asked_by
        await self.recorder.record(
            Kind.break_glass_approved, grant.tenant, principal, decision, detail
        )
        opened = await self.grants.approve(grant.id, principal.id)
        if opened is None:
            raise Conflict("the grant is no longer pending; the approval has opened nothing")
        return JSONResponse(fields_json(opened))

    async def end(self, request: Request) -> Response:
        principal, decision = await self.permit(request, Action.break_glass)
        reason = self.reason((await read_body(request, ReasonBody)).reason)
        grant = await self._known(request)
        # Closed before it is told: closing must not wait for the ledger
        ended = await self.grants.end(grant.id, principal.id)
        if ended is None:
            raise Conflict(f"the grant is {grant.state} already")
        detail = {"subject": str(grant.id), "reason": reason}
        await self.recorder.record(
            Kind.break_glass_ended, grant.tenant, principal, decision, detail
        )
        return JSONResponse(fields_json(ended))

    # -- what a grant opens -------------------------------------------------------------------

    async def task(self, request: Request) -> Response:
        refuse_unstorable(request)
        principal = self.principal_of(request)
        tenant = TenantId(request.path_params["tenant"])
        grant = await self._grant(principal, tenant)
        decision = await self.enforcement.permit(
            principal, Action.read_task, "Task", owner=tenant, break_glass=grant is not None
        )
        found = await self.tasks.get(tenant, TaskId(request.path_params["id"]))
        if found is None or grant is None:
            raise NotFound("no such task of this tenant")
        detail = {"subject": found.id, "grant": str(grant.id), "what": "task"}
        await self.recorder.record(Kind.break_glass_used, tenant, principal, decision, detail)
        return Response(json_bytes(fields_json(found, *_TASK)), media_type="application/json")

    async def reveal(self, request: Request) -> Response:
        principal = self.principal_of(request)
        asked = await read_body(request, RevealBody)
        reason = self.reason(asked.reason)
        if len(asked.text) > _LONGEST_TEXT:
            raise BadRequest(f"the text exceeds {_LONGEST_TEXT} characters", hint="send less")
        tenant = TenantId(asked.tenant or principal.tenant)
        grant = await self._grant(principal, tenant)
        decision = await self.enforcement.permit(
            principal,
            Action.reveal_pseudonym,
            "Ledger",
            owner=tenant,
            purpose=asked.purpose,
            break_glass=grant is not None,
        )
        if self.reveal_pseudonyms is None:
            raise Conflict(
                "this platform has no key for pseudonyms",
                hint="mcctl keys rotate pseudonym adds one",
            )
        text, opened = await self.reveal_pseudonyms(principal.tenant, tenant, asked.text)
        detail = {"subject": decision.id, "opened": dict(opened), "reason": reason}
        if grant is not None:
            detail["grant"] = str(grant.id)
        await self.recorder.record(Kind.pseudonyms_revealed, tenant, principal, decision, detail)
        told = {"text": text, "opened": dict(opened), "decision_id": decision.id}
        return Response(json_bytes(told), media_type="application/json")

    # -- what all of them need ----------------------------------------------------------------

    async def _grant(self, principal: Principal, tenant: TenantId) -> Grant | None:
        if principal.role != Role.operator or principal.tenant != PLATFORM:
            return None
        return await self.grants.active(principal.id, tenant)

    async def _known(self, request: Request) -> Grant:
        try:
            grant_id = uuid.UUID(request.path_params["id"])
        except ValueError:
            raise BadRequest("the grant's id is no UUID") from None
        grant = await self.grants.get(grant_id)
        if grant is None:
            raise NotFound("no such grant")
        return grant
