"""The operator's HTTP: operations of all tenants, the autonomy switch, and Alertmanager's webhook.

Every route asks policy first, by the principal's role; a denial is recorded. Whatever changes
something is in the ledger, with its principal and the decision, before it is done. Left to others: the engine's acts
(`OperationControl`), the switch (`ports.Autonomy`), who the principal is (the middleware).

    GET  /operator/operations               ?tenant= &state= &since= &limit= &before=
    GET  /operator/operations/{id}
    POST /operator/operations/{id}/cancel   {"reason"?}
    POST /operator/operations/{id}/resolve  {"mode": "retry" | "accept", "reason"}
    GET  /operator/autonomy
    POST /operator/autonomy/halt, /resume   {"scope": tenant | "*", "reason"}
    POST /operator/alertmanager             Alertmanager's webhook, version 4
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mc_platform.enact import ResolutionMode, ResolutionReport
from mc_platform.enact.breaker import Count
from mc_platform.errors import BadRequest, Conflict, NotFound
from mc_platform.model.autonomy import ALL, AutonomyStatus, Scope, Source
from mc_platform.model.engine_state import EngineState
from mc_platform.model.event import Kind
from mc_platform.model.ids import OperationId, PrincipalId, TenantId
from mc_platform.model.operation_view import (
    OperationFilter,
    OperationState,
    OperationStory,
    OperationView,
)
from mc_platform.model.tenant import Role
from mc_platform.model.verdict import Action
from mc_platform.ports import Autonomy, Homes
from mc_platform.query.handlers import Handlers
from mc_platform.query.operator_wire import (
    Alert,
    CancelBody,
    Notification,
    ResolveBody,
    ThrowBody,
    cursor,
    event_json,
    known_tenant,
    read_body,
    read_filter,
    scope_json,
    thrown_json,
    view_json,
)
from mc_platform.query.parameters import refuse_unstorable

ALERT = "AutonomyCompensationHigh"
_MOST_ALERTS = 1000
_REASON_CHARS = 200
_SOURCES = {Role.alertmanager.value: Source.alertmanager}


class OperationReader(Protocol):
    """Operations of all tenants. Behind it: PostgreSQL; memory in tests."""

    async def page(self, wanted: OperationFilter) -> list[OperationView]:
        """Those that started last come first.

        Raises:
            Unavailable: they cannot be read.
        """

    async def story(self, operation_id: OperationId) -> OperationStory | None:
        """One operation with its timeline, or None.

        Raises:
            Unavailable: it cannot be read.
        """


class OperationControl(Protocol):
    """What the operation engine does for an operator, and what it says."""

    async def states(
        self, operation_ids: Sequence[OperationId]
    ) -> Mapping[OperationId, EngineState]:
        """Where the engine has each; no entry for one that it does not know."""

    async def cancel(self, operation_id: OperationId) -> bool:
        """Ask it to stop between steps and compensate; False if it has ended."""

    async def resolve(
        self,
        operation_id: OperationId,
        *,
        mode: ResolutionMode,
        principal: PrincipalId,
        reason: str,
    ) -> ResolutionReport:
        """Begin to resolve a stuck operation; the ledger tells how that ends.

        Raises:
            Conflict: it is not stuck.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorHandlers(Handlers):
    """Answers them.

    Attributes:
        engine: What stops and resolves operations.
        figures: What the breaker counts now, by scope.
        breaker: What it halts on, for people to read.
        tenants: All that may be halted.
        homes: Which tenants' home this region is; None: there is one region.
    """

    operations: OperationReader
    engine: OperationControl
    autonomy: Autonomy
    figures: Callable[[AutonomyStatus], Awaitable[Mapping[Scope, Count]]]
    breaker: Mapping[str, Any]
    tenants: frozenset[TenantId]
    homes: Homes | None = None

    def routes(self) -> list[Route]:
        return [
            Route("/operator/operations", self.list_operations, methods=["GET"]),
            Route("/operator/operations/{id}", self.show_operation, methods=["GET"]),
            Route("/operator/operations/{id}/cancel", self.cancel, methods=["POST"]),
            Route("/operator/operations/{id}/resolve", self.resolve, methods=["POST"]),
            Route("/operator/autonomy", self.show_autonomy, methods=["GET"]),
            Route("/operator/autonomy/halt", self.halt, methods=["POST"]),
            Route("/operator/autonomy/resume", self.resume, methods=["POST"]),
            Route("/operator/alertmanager", self.alertmanager, methods=["POST"]),
        ]

    # -- operations ---------------------------------------------------------------------------

    async def list_operations(self, request: Request) -> Response:
        await self.permit(request, Action.read_operations)
        wanted = read_filter(request)
        found = await self.operations.page(wanted)
        engine = await self._engine_states([view for view in found if view.running])
        body = {
            "operations": [view_json(view, engine.get(view.id)) for view in found],
            "next": cursor(found[-1]) if len(found) == wanted.limit else None,
        }
        return JSONResponse(body)

    async def show_operation(self, request: Request) -> Response:
        await self.permit(request, Action.read_operations)
        story = await self._story(request)
        view = story.operation
        engine = await self._engine_states([view])
        body = {
            "operation": {
                **view_json(view, engine.get(view.id)),
                "steps": view.governance.get("steps", []),
            },
            "timeline": [event_json(row) for row in story.timeline],
        }
        return JSONResponse(body)

    async def cancel(self, request: Request) -> Response:
        principal, decision = await self.permit(request, Action.manage_operation)
        asked = await read_body(request, CancelBody)
        reason = self.reason(asked.reason) if asked.reason else ""
        view = (await self._story(request)).operation
        if self.homes is not None:
            self.homes.refer(view.tenant)
        if not view.running:
            raise Conflict(f"the operation is {view.state.value} already")
        detail = _about(view) | ({"reason": reason} if reason else {})
        await self.recorder.record(
            Kind.operation_cancel_requested, view.tenant, principal, decision, detail
        )
        if not await self.engine.cancel(view.id):
            raise Conflict("the operation has ended meanwhile")
        return JSONResponse({"operation": view.id, "cancel_requested": True}, status_code=202)

    async def resolve(self, request: Request) -> Response:
        principal, decision = await self.permit(request, Action.manage_operation)
        asked = await read_body(request, ResolveBody)
        reason = self.reason(asked.reason)
        view = (await self._story(request)).operation
        if self.homes is not None:
            self.homes.require(view.tenant)
        if view.state is not OperationState.stuck:
            raise Conflict(f"the operation is {view.state.value}; only a stuck one can be resolved")
        detail = _about(view) | {"reason": reason, "mode": asked.mode}
        await self.recorder.record(
            Kind.operation_resolve_requested, view.tenant, principal, decision, detail
        )
        begun = await self.engine.resolve(
            view.id, mode=ResolutionMode(asked.mode), principal=principal.id, reason=reason
        )
        body = {"operation": view.id, "mode": asked.mode, "resolution": begun.as_dict()}
        return JSONResponse(body, status_code=202)

    async def _story(self, request: Request) -> OperationStory:
        refuse_unstorable(request)
        story = await self.operations.story(OperationId(request.path_params["id"]))
        if story is None:
            raise NotFound("no such operation")
        return story

    async def _engine_states(
        self, views: Sequence[OperationView]
    ) -> Mapping[OperationId, EngineState]:
        return await self.engine.states([view.id for view in views]) if views else {}

    # -- autonomy -----------------------------------------------------------------------------

    async def show_autonomy(self, request: Request) -> Response:
        await self.permit(request, Action.read_operations)
        status = await self.autonomy.status()
        figures = await self.figures(status)
        scopes = [ALL, *(Scope(tenant) for tenant in sorted(self.tenants))]
        body = {
            "at": status.at.isoformat(),
            "breaker": dict(self.breaker),
            "scopes": [scope_json(scope, status, figures.get(scope)) for scope in scopes],
        }
        return JSONResponse(body)

    async def halt(self, request: Request) -> Response:
        return await self._throw(request, Action.halt_autonomy, halted=True)

    async def resume(self, request: Request) -> Response:
        return await self._throw(request, Action.resume_autonomy, halted=False)

    async def _throw(self, request: Request, action: Action, *, halted: bool) -> Response:
        principal, _ = await self.permit(request, action)
        asked = await read_body(request, ThrowBody)
        thrown = await self.autonomy.set(
            Scope(known_tenant(asked.scope, {ALL, *self.tenants})),
            halted=halted,
            reason=self.reason(asked.reason),
            principal=principal.id,
            source=_SOURCES.get(principal.role, Source.operator),
        )
        return JSONResponse(thrown_json(asked.scope, thrown))

    async def alertmanager(self, request: Request) -> Response:
        principal, _ = await self.permit(request, Action.halt_autonomy)
        told = await read_body(request, Notification)
        if len(told.alerts) > _MOST_ALERTS:
            raise BadRequest(f"{len(told.alerts)} alerts in one notification")
        halted: list[dict[str, Any]] = []
        ignored: list[dict[str, str]] = []
        for alert in told.alerts:
            name, scope = alert.labels.get("alertname", ""), alert.labels.get("tenant") or ALL
            why = self._why_ignored(alert, scope)
            if why:
                ignored.append({"alert": name[:_REASON_CHARS], "why": why})
                continue
            thrown = await self.autonomy.set(
                Scope(scope),
                halted=True,
                reason=f"alert {ALERT} fires since {alert.starts_at.isoformat()}",
                principal=principal.id,
                source=Source.alertmanager,
                # An alert goes on firing for as long as its window; who resumed has seen it.
                unless_resumed_since=alert.starts_at,
            )
            if thrown.switch is not None and not thrown.switch.halted:
                ignored.append({"alert": name, "why": "autonomy was resumed since it began"})
            else:
                halted.append(thrown_json(scope, thrown))
        return JSONResponse({"halted": halted, "ignored": ignored})

    def _why_ignored(self, alert: Alert, scope: str) -> str:
        if alert.labels.get("alertname") != ALERT:
            return "this alert halts nothing"
        if alert.status != "firing":
            return "a resolved alert never resumes autonomy; a person does"
        if scope != ALL and scope not in self.tenants:
            return "its tenant is not in the catalogue"
        return ""


def _about(view: OperationView) -> dict[str, str]:
    return {"operation_id": view.id, "operation": view.operation}
