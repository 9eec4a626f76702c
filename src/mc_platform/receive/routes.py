"""The A2A surface: agent card, JSON-RPC and HTTP+JSON, by the SDK's own routes."""

from __future__ import annotations

from collections.abc import Iterable

from a2a.server.context import ServerCallContext
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.routes.common import DefaultServerCallContextBuilder
from a2a.server.routes.jsonrpc_dispatcher import JsonRpcDispatcher
from a2a.server.routes.rest_dispatcher import RestDispatcher
from a2a.types import a2a_pb2 as pb
from google.protobuf.json_format import ParseDict
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router

from mc_contract.governance import GOVERNANCE_URI
from mc_platform.model.catalogue import Catalogue
from mc_platform.receive.exact_values import CLAIMED, VALUES, ExactJson
from mc_platform.receive.fast_path import JSON_RPC_PATHS
from mc_platform.receive.handler import PRINCIPAL, GovernedRequestHandler
from mc_platform.receive.sdk_parsing import adapt_parsers
from mc_platform.receive.untraced import untrace

_INTERFACES = (("JSONRPC", "/a2a", "1.0"), ("HTTP+JSON", "/v1", "1.0"), ("JSONRPC", "/a2a", "0.3"))


class _ContextBuilder(DefaultServerCallContextBuilder):
    """Carries the principal that the middleware found into the handler; no header but the version's."""

    def build(self, request: Request) -> ServerCallContext:
        context = super().build(request)
        version = request.headers.get("a2a-version")
        context.state["headers"] = {} if version is None else {"A2A-Version": version}
        found = request.scope.get("state", {})
        context.state[PRINCIPAL] = found.get(PRINCIPAL)
        context.state[VALUES] = found.get(VALUES)
        context.state[CLAIMED] = found.get(CLAIMED, ())
        return context


def agent_card(*, public_url: str, version: str, catalogue: Catalogue) -> pb.AgentCard:
    """The gateway's own card: its interfaces, credentials, extension and skills."""
    base = public_url.rstrip("/")
    modes = ["text/plain", "application/json"]
    questions = [
        {
            "id": f"ask-{agent.name}",
            "name": f"Ask {agent.name}",
            "description": f"Forwards a question to the agent {agent.name}, under policy.",
            "tags": ["question"],
        }
        for agent in catalogue.agents.values()
    ]
    operations = [
        {
            "id": operation.name,
            "name": operation.name,
            "description": f"Durable operation: {', '.join(operation.steps)}; "
            "compensated in reverse if a step fails.",
            "tags": ["operation"],
        }
        for operation in catalogue.operations.values()
    ]
    extension = {
        "uri": GOVERNANCE_URI,
        "description": "Agent, purpose, residency and operation of a request; "
        "decision, outcome and steps of its task.",
    }
    card = {
        "name": "agent-workbench",
        "description": "Governed gateway for autonomous agents: every request is authenticated, "
        "screened, decided by policy, recorded in a tamper-evident ledger, and undoable.",
        "version": version,
        "capabilities": {"streaming": True, "pushNotifications": False, "extensions": [extension]},
        "defaultInputModes": modes,
        "defaultOutputModes": modes,
        # Rendered, the last one stands in 0.3's own fields too, which its clients read
        "supportedInterfaces": [
            {"url": f"{base}{path}", "protocolBinding": binding, "protocolVersion": version}
            for binding, path, version in _INTERFACES
        ],
        "securitySchemes": {"bearer": {"httpAuthSecurityScheme": {"scheme": "Bearer"}}},
        "securityRequirements": [{"schemes": {"bearer": {}}}],
        "skills": [*questions, *operations],
    }
    return ParseDict(card, pb.AgentCard())


def _card_route(card: pb.AgentCard) -> Route:
    """The card, rendered once: anyone may ask for it, as often as it likes."""
    [sdk] = create_agent_card_routes(card, cache_control="public, max-age=60")
    rendered: list[Response] = []

    async def get(request: Request) -> Response:
        if not rendered:
            scope = {"type": "http", "method": "GET", "headers": []}
            rendered.append(await sdk.endpoint(Request(scope)))
        [whole] = rendered
        if request.headers.get("if-none-match") == whole.headers["etag"]:
            kept = {name: whole.headers[name] for name in ("etag", "cache-control")}
            return Response(status_code=304, headers=kept)
        return whole

    return Route(sdk.path, get)


def a2a_routes(handler: GovernedRequestHandler, card: pb.AgentCard) -> Iterable[BaseRoute]:
    """All A2A routes. JSON-RPC is served at `/a2a`, `/a2a/` and `/`."""
    adapt_parsers()
    untrace(JsonRpcDispatcher, RestDispatcher)
    builder = _ContextBuilder()
    yield _card_route(card)
    for path in JSON_RPC_PATHS:
        for route in create_jsonrpc_routes(
            handler, path, context_builder=builder, enable_v0_3_compat=True
        ):
            route.app = ExactJson(route.app, json_rpc=True)
            yield route
    # Mounted rather than prefixed: the SDK puts its `/{tenant}/...` routes at the root otherwise.
    routes = create_rest_routes(handler, context_builder=builder)
    mount = Mount("/v1", routes=routes, middleware=[Middleware(ExactJson, json_rpc=False)])
    for router in (mount._base_app, *(each.app for each in routes if isinstance(each, Mount))):
        assert isinstance(router, Router)
        router.redirect_slashes = False
    yield mount
