"""Every route of the application, and what it asks policy; a route without an entry here fails.

Each entry is checked by a real call with a decision point that records what it is asked, and denies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Mount, Route
from tests.fakes import (
    KEY,
    NOW,
    ROOT,
    Answers,
    HostileAgent,
    MemoryLedger,
    local_catalogue,
    request_path,
)

from mc_contract.governance import GOVERNANCE_URI
from mc_contract.ledger.checkpoint import verifier_key
from mc_contract.ledger.cosignature import COSIGNATURE
from mc_platform.app import Workbench
from mc_platform.errors import PlatformError
from mc_platform.model.event import Kind
from mc_platform.model.task import Task, TaskState
from mc_platform.model.tenant import Principal
from mc_platform.observe.health import Health
from mc_platform.pipeline.enforcement import Enforcement
from mc_platform.receive import GovernedRequestHandler, a2a_routes
from mc_platform.receive.detail import DETAIL
from mc_platform.receive.handler import PRINCIPAL
from mc_platform.receive.limits import RateLimiter
from mc_platform.receive.routes import agent_card
from mc_platform.record import AuditRecorder
from mc_platform.screen import LibraryScreener
from mc_platform.settings import load_settings

TENANT = "TENANT_001"
UNGOVERNED = {
    ("GET", "/.well-known/agent-card.json"): "public",
    ("GET", "/ledger/checkpoint"): "public: there to be compared",
    ("GET", "/ledger/checkpoint/cosigned"): "public: there to be compared",
    ("POST", "/witness/add-checkpoint"): "public: the log's signature is the credential",
    ("GET", "/v1/tasks"): "the principal's own tasks, and no others",
    ("GET", "/v1/extendedAgentCard"): "not offered",
    ("POST", "/v1/tasks/{id}/pushNotificationConfigs"): "not offered",
    ("GET", "/v1/tasks/{id}/pushNotificationConfigs"): "not offered",
    ("GET", "/v1/tasks/{id}/pushNotificationConfigs/{push_id}"): "not offered",
    ("DELETE", "/v1/tasks/{id}/pushNotificationConfigs/{push_id}"): "not offered",
}
READ, CANCEL = ("ReadTask", "Task"), ("CancelTask", "Task")
SEND, LEDGER = ("SendMessage", "Agent"), ("ReadLedger", "Platform")
OPERATIONS, MANAGE = ("ReadOperations", "Platform"), ("ManageOperation", "Platform")
BREAK_GLASS = ("BreakGlass", "Platform")
CREDENTIALS, CREDENTIAL = ("ReadCredentials", "Platform"), ("ManageCredential", "Platform")
GOVERNED = {
    ("GET", "/health"): LEDGER,
    ("GET", "/metrics"): LEDGER,
    ("POST", "/graphql"): ("ReadRecords", "Ledger"),
    **{
        ("GET", f"/audit/{path}"): LEDGER
        for path in (
            "entries",
            "events",
            "checkpoints",
            "cosigned",
            "tiles",
            "archives",
            "frontier",
            "proof/inclusion",
            "proof/consistency",
            "tenant/{tenant}",
            "decision/{decision}",
        )
    },
    ("POST", "/aggregates"): ("ReadAggregate", "Dataset"),
    ("GET", "/operator/operations"): OPERATIONS,
    ("GET", "/operator/operations/{id}"): OPERATIONS,
    ("POST", "/operator/operations/{id}/cancel"): MANAGE,
    ("POST", "/operator/operations/{id}/resolve"): MANAGE,
    ("GET", "/operator/autonomy"): OPERATIONS,
    ("POST", "/operator/autonomy/halt"): ("HaltAutonomy", "Platform"),
    ("POST", "/operator/autonomy/resume"): ("ResumeAutonomy", "Platform"),
    ("POST", "/operator/alertmanager"): ("HaltAutonomy", "Platform"),
    ("GET", "/operator/break-glass"): OPERATIONS,
    ("POST", "/operator/break-glass"): BREAK_GLASS,
    ("POST", "/operator/break-glass/{id}/approve"): ("ApproveBreakGlass", "Platform"),
    ("POST", "/operator/break-glass/{id}/end"): BREAK_GLASS,
    ("GET", "/operator/tenants/{tenant}/tasks/{id}"): READ,
    ("POST", "/privacy/reveal"): ("RevealPseudonym", "Ledger"),
    ("POST", "/operator/canary/override"): ("OverrideCanary", "Platform"),
    ("GET", "/operator/dead-letters"): LEDGER,
    ("POST", "/operator/dead-letters/resend"): ("ResendDeadLetters", "Platform"),
    ("GET", "/operator/homes"): OPERATIONS,
    ("POST", "/operator/homes/move"): ("MoveHome", "Platform"),
    ("GET", "/operator/credentials"): CREDENTIALS,
    ("POST", "/operator/credentials"): CREDENTIAL,
    ("POST", "/operator/credentials/{id}/rotate"): CREDENTIAL,
    ("POST", "/operator/credentials/{id}/revoke"): CREDENTIAL,
    ("GET", "/operator/keys"): CREDENTIALS,
    ("GET", "/operator/tenants"): CREDENTIALS,
    ("POST", "/operator/rules/declare"): ("ChangeRules", "Platform"),
    ("POST", "/v1/message:send"): SEND,
    ("POST", "/v1/message:stream"): SEND,
    ("GET", "/v1/tasks/{id}"): READ,
    ("GET", "/v1/tasks/{id}:subscribe"): READ,
    ("POST", "/v1/tasks/{id}:subscribe"): READ,
    ("POST", "/v1/tasks/{id}:cancel"): CANCEL,
    ("POST", "/"): SEND,
    ("POST", "/a2a"): SEND,
    ("POST", "/a2a/"): SEND,
}
RPC = {
    "SendMessage": SEND,
    "SendStreamingMessage": SEND,
    "GetTask": READ,
    "SubscribeToTask": READ,
    "CancelTask": CANCEL,
}
MESSAGE = {"message": {"messageId": "m-1", "role": "ROLE_USER", "parts": [{"text": "hello"}]}}
ORDER = {"agent": "", "operation": "place-order", "purpose": "fulfilment"}
BODIES: dict[str, dict[str, Any]] = {
    "/aggregates": {"dataset": "x", "measure": "count", "purpose": "support"},
    "/privacy/reveal": {"text": "x", "reason": "x"},
    "/graphql": {"query": "{tenant}"},
}


class Application:
    """The routes of a real `Workbench`, with memory where it would read a database."""

    def __init__(self) -> None:
        self.asked, self.ledger = Answers(allowed=False), MemoryLedger()
        bench = Workbench(load_settings())
        catalogue = local_catalogue()
        recorder = AuditRecorder(self.ledger, lambda: NOW)
        bench._enforcement = Enforcement(
            catalogue=catalogue, decisions=self.asked, recorder=recorder
        )
        agents: Any = None
        bench._downstream = agents
        bench._probes = bench._make_probes()
        vars(bench._probes)["health"] = Health(identity=dict, vital={}, other={})
        path = request_path(
            catalogue=catalogue,
            decisions=self.asked,
            screener=LibraryScreener(),
            ledger=self.ledger,
            downstream=HostileAgent({}),
        )
        card = agent_card(public_url="http://x", version="1", catalogue=catalogue)
        tasks: Any = self.ledger
        limiter = RateLimiter(rate_per_s=1e6, burst=1_000_000)
        handler = GovernedRequestHandler(path=path, tasks=tasks, limiter=limiter, card=card)
        self.app = Starlette(
            routes=[*bench.routes(), *a2a_routes(handler, card)],
            exception_handlers={PlatformError: self._refused},
        )
        owner = Principal("agent@tenant-001", TENANT, "0" * 12)  # type: ignore[arg-type]
        self.state = {PRINCIPAL: owner, DETAIL: False}
        self.ledger.tasks["x"] = Task(
            "x",
            "c",
            TENANT,
            owner.id,
            "m",
            "d",
            TaskState.working,
            NOW,  # type: ignore[arg-type]
        )
        self.http = httpx.AsyncClient(
            transport=httpx.ASGITransport(self._known), base_url="http://x", timeout=20
        )

    async def _known(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app({**scope, "state": dict(self.state)}, receive, send)

    @staticmethod
    async def _refused(_request: Any, error: Exception) -> JSONResponse:
        assert isinstance(error, PlatformError)
        return JSONResponse({"error": error.as_dict()}, status_code=error.http_status)

    async def ask(self, method: str, path: str, body: Any) -> list[tuple[str, str]]:
        """What policy was asked for one call."""
        self.asked.asked.clear()
        body = {} if body is None and method == "POST" else body
        headers = {"A2A-Version": "1.0"}
        async with self.http.stream(method, path, json=body, headers=headers) as answer:
            await answer.aread()
        return [(question.action.value, question.resource_type) for question in self.asked.asked]


def routes_of(routes: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Method and path of each; what the A2A library mounts for a tenant in the path is the same."""
    for route in routes:
        if isinstance(route, Mount) and route.path != "/{tenant}":
            yield from routes_of(route.routes or [], prefix + route.path)
        elif isinstance(route, Route):
            for method in sorted((route.methods or set()) - {"HEAD"}):
                yield method, prefix + route.path


@pytest.fixture
def application(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Application:
    key, witness_key = tmp_path / "key.pem", tmp_path / "witness.pem"
    other = Ed25519PrivateKey.generate()
    for path, private in ((key, KEY), (witness_key, other)):
        path.write_bytes(
            private.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
    public = Ed25519PrivateKey.generate().public_key()
    witnesses = tmp_path / "witnesses.toml"
    witnesses.write_text(
        f'[[witness]]\nname = "w"\nurl = "http://127.0.0.1:9/w"\nkey = "'
        f'{verifier_key("example.com/w", public, COSIGNATURE)}"\n'
        f'[[log]]\nkey = "{verifier_key("example.com/log", public)}"\n'
    )
    for name, value in {
        "MC_DATABASE_URL": "postgresql://x:y@127.0.0.1:9/mc",
        "MC_LEDGER_KEY_FILE": str(key),
        "MC_WITNESS_KEY_FILE": str(witness_key),
        "MC_WITNESSES_FILE": str(witnesses),
        "MC_CATALOGUE": str(ROOT / "deploy" / "local" / "catalogue.toml"),
        "MC_POLICY_DIR": str(ROOT / "policies"),
        "MC_RECORDS_AGENT_URL": "http://127.0.0.1:9",
        "MC_FULFILMENT_AGENT_URL": "http://127.0.0.1:9",
        "MC_RATE_LIMIT_PER_S": "1000000",
        "MC_RATE_LIMIT_BURST": "1000000",
    }.items():
        monkeypatch.setenv(name, value)
    return Application()


async def test_every_route_asks_what_is_written_here(application: Application) -> None:
    """And each refusal has one form in the ledger, but for those of probes, which are not kept."""
    there = set(routes_of(application.app.routes))
    assert there == set(GOVERNED) | set(UNGOVERNED)
    for (method, route), expected in GOVERNED.items():
        body = BODIES.get(route) if not route.startswith("/v1/message") else MESSAGE
        if route in ("/", "/a2a", "/a2a/"):
            body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": MESSAGE}
        path = route.replace("{id}", "x").replace("{tenant}", TENANT)
        application.ledger.events.clear()
        assert await application.ask(method, path, body) == [expected], (method, route)
        if route in ("/health", "/metrics"):
            assert application.ledger.events == []
            continue
        [refused] = application.ledger.events
        kind = Kind.aggregate_refused if route == "/aggregates" else Kind.request_refused
        keys = {"subject", "principal", "action", "asked", "decision", "allowed", "policies"}
        assert (refused.kind, keys - set(refused.detail)) == (kind, set()), (method, route)
        assert refused.detail["action"] == expected[0]


async def test_what_is_not_governed_asks_nothing(application: Application) -> None:
    for method, route in UNGOVERNED:
        # These would sign or ask the database
        if not route.startswith(("/ledger/checkpoint", "/witness/")):
            path = route.replace("{id}", "x").replace("{push_id}", "x")
            assert await application.ask(method, path, None) == [], (method, route)


@pytest.mark.parametrize("method", RPC)
async def test_each_method_of_json_rpc_asks(application: Application, method: str) -> None:
    params = MESSAGE if RPC[method] == SEND else {"id": "x"}
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    assert await application.ask("POST", "/a2a", call) == [RPC[method]]


async def test_an_operation_asks_to_enact(application: Application) -> None:
    order = dict.fromkeys(
        ("sku", "quantity", "customer", "item", "amount_cents", "address_ref"), "1"
    )
    message = {
        **MESSAGE["message"],
        "metadata": {GOVERNANCE_URI: ORDER},
        "parts": [{"data": order}],
    }
    asked = await application.ask("POST", "/v1/message:send", {"message": message})
    assert asked == [("Enact", "Operation")]
