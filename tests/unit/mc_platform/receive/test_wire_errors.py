"""A halt on the wire: its own code, no invitation to try again."""

from __future__ import annotations

from types import SimpleNamespace

import httpx
import pytest
from a2a.server.request_handlers.response_helpers import EXCEPTION_MAP
from a2a.utils import errors as sdk
from starlette.responses import Response
from structlog.testing import capture_logs

from mc_contract.governance import GovernanceError
from mc_platform.errors import (
    AgentFailed,
    AutonomyHalted,
    HomeElsewhere,
    NotFound,
    RateLimited,
    Unavailable,
)
from mc_platform.receive import GatewayMiddleware
from mc_platform.receive.wire_errors import (
    AutonomyHaltedError,
    begin_note,
    clear_note,
    failure,
    outcome,
    to_wire,
)


def test_a_halt_has_its_own_code_and_status():
    """-32054 in JSON-RPC, 409 in HTTP: not a 503, which proxies would repeat."""
    error = AutonomyHalted("autonomy is halted", scope="*", since="2026-01-02", hint="wait")
    wire = to_wire(error)
    assert isinstance(wire, AutonomyHaltedError)
    assert wire.message == "autonomy is halted; wait"
    assert wire.data == {"scope": "*", "since": "2026-01-02"}
    assert sdk.JSON_RPC_ERROR_CODE_MAP[AutonomyHaltedError] == -32054
    assert sdk.A2A_ERROR_MAPPING[AutonomyHaltedError].http_code == 409
    assert AutonomyHaltedError in EXCEPTION_MAP
    assert not error.retryable


def test_a_halt_counts_as_a_denial():
    """It is no error of the service, nor of the client."""
    assert outcome(AutonomyHalted("x", scope="*", since="")) == "denied"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (HomeElsewhere("it is eu-2", home="eu-2"), ("request_referred", "info", 503)),
        (HomeElsewhere("no home is known"), ("request_failed", "warning", 503)),
        (AgentFailed("x"), ("request_failed", "warning", 502)),
        (KeyError("x"), ("request_failed", "warning", 500)),
        (NotFound("x"), None),
    ],
)
async def test_an_error_in_a_200_is_logged_by_its_kind(error, line):
    """As JSON-RPC tells errors: with the status of HTTP+JSON; a referral alarms nobody."""

    async def app(scope, receive, send):
        to_wire(error)
        await Response()(scope, receive, send)

    nothing = SimpleNamespace(
        closing=False, begun=lambda _scope: None, ended=lambda _one, closed: None
    )
    middleware = GatewayMiddleware(
        app,
        authenticator=None,
        peers=None,
        detail=None,
        connections=nothing,
        max_body_bytes=9,
        body_timeout_s=9,
        tenants=frozenset(),
    )
    transport = httpx.ASGITransport(middleware)
    with capture_logs() as lines:
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            await client.get("/.well-known/agent-card.json")
    told = [
        (one["event"], one["log_level"], one["status"])
        for one in lines
        if one["event"] != "request_crashed"
    ]
    assert told == ([] if line is None else [line])


def test_the_log_tells_why_a_request_fails_and_quotes_nobody():
    """Ours in our words; an agent's failure and a crash by their kinds; what the caller did is none."""

    def told(error: Exception) -> dict[str, object]:
        begin_note()
        to_wire(error)
        return failure()

    assert told(Unavailable("the database is down")) == {
        "status": 503, "error": "Unavailable", "code": "unavailable",
        "reason": "the database is down",
    }  # fmt: skip
    agent = AgentFailed("it said sesame")
    agent.__cause__ = TimeoutError("sesame")
    assert told(agent) == {
        "status": 502, "error": "AgentFailed", "code": "agent-failed", "cause": "TimeoutError",
    }  # fmt: skip
    assert told(KeyError("sesame")) == {"status": 500, "error": "KeyError"}
    assert told(HomeElsewhere("x", home="eu-2"))["home"] == "eu-2"
    assert "home" not in told(HomeElsewhere("no home is known"))
    for error in (NotFound("x"), RateLimited("x", retry_after_s=1), GovernanceError("x")):
        assert told(error) == {}
    to_wire(Unavailable("the first"))
    to_wire(KeyError("then"))
    assert failure()["reason"] == "the first"
    clear_note()
    assert failure() == {}
