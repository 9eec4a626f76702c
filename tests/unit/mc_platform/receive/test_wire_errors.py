"""A halt on the wire: its own code, no invitation to try again."""

from __future__ import annotations

from a2a.server.request_handlers.response_helpers import EXCEPTION_MAP
from a2a.utils import errors as sdk

from mc_contract.governance import GovernanceError
from mc_platform.errors import AgentFailed, AutonomyHalted, NotFound, RateLimited, Unavailable
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


def test_the_log_tells_why_a_request_fails_and_quotes_nobody():
    """Ours in our words; an agent's failure and a crash by their kinds; what the caller did is none."""

    def told(error: Exception) -> dict[str, str]:
        begin_note()
        to_wire(error)
        return failure()

    assert told(Unavailable("the database is down")) == {
        "error": "Unavailable", "code": "unavailable", "reason": "the database is down",
    }  # fmt: skip
    agent = AgentFailed("it said sesame")
    agent.__cause__ = TimeoutError("sesame")
    assert told(agent) == {"error": "AgentFailed", "code": "agent-failed", "cause": "TimeoutError"}
    assert told(KeyError("sesame")) == {"error": "KeyError"}
    for error in (NotFound("x"), RateLimited("x", retry_after_s=1), GovernanceError("x")):
        assert told(error) == {}
    to_wire(Unavailable("the first"))
    to_wire(KeyError("then"))
    assert failure()["reason"] == "the first"
    clear_note()
    assert failure() == {}
