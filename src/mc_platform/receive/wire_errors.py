"""Our errors as A2A errors: JSON-RPC codes, HTTP statuses, reasons, and how long to wait.

The SDK looks an exception's class up in its tables; ours are entered there beside its own, so
that JSON-RPC and HTTP+JSON answer alike. Codes -32050 to -32054 are this platform's.

Whatever layer says "not now", its answer carries `Retry-After`: the middleware opens a note for each
request, who turns an error into an answer writes the wait into it, and the middleware's response bears
it. JSON-RPC answers do, too, although their HTTP status is 200: a client need not read the body to
know that it has to wait.
"""

from __future__ import annotations

import math
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import structlog
from a2a.server.jsonrpc_models import JSONRPCError
from a2a.server.request_handlers.response_helpers import EXCEPTION_MAP
from a2a.utils import errors as sdk
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mc_contract.errors import McError
from mc_contract.governance import (
    AUTONOMY_HALTED_CODE,
    CONFLICT_CODE,
    POLICY_DENIED_CODE,
    RATE_LIMITED_CODE,
    UNAVAILABLE_CODE,
    GovernanceError,
)
from mc_platform import errors

_UNTOLD_S = 1.0
_FAILURE = HTTPStatus.INTERNAL_SERVER_ERROR


@dataclass(slots=True)
class _Note:
    """What a request's errors leave for its answer and for the log."""

    waits: list[float] = field(default_factory=list)
    failure: BaseException | None = None


_notes: ContextVar[_Note] = ContextVar("notes")
_homes: ContextVar[list[errors.HomeElsewhere]] = ContextVar("homes")
_log = structlog.get_logger()


def begin_note() -> None:
    """Open the note of the request that this context serves."""
    _notes.set(_Note())


def _note(error: BaseException) -> None:
    note = _notes.get(_Note())
    wait_s = getattr(error, "retry_after_s", None)
    if wait_s is not None:
        note.waits.append(float(wait_s))
    if note.failure is None and getattr(error, "http_status", 500) >= _FAILURE:
        note.failure = error


def clear_note() -> None:
    """Empty the note: the refusal that wrote into it is not what is answered."""
    note = _notes.get(_Note())
    note.waits.clear()
    note.failure = None


def failure() -> dict[str, Any]:
    """Why this request fails by no fault of its caller, for the log; empty if it does not.

    The words are ours: an agent's failure, or one that is not ours, is told by its kind alone. `status` is
    that of HTTP+JSON, as JSON-RPC tells errors in a 200. `home` is where the caller is referred to.
    """
    error = _notes.get(_Note()).failure
    if error is None:
        return {}
    told = {"status": getattr(error, "http_status", 500), "error": type(error).__name__}
    if isinstance(error, errors.PlatformError):
        told["code"] = error.code
    if isinstance(error, errors.Unavailable):
        told["reason"] = error.message
    if isinstance(error, errors.HomeElsewhere) and error.home:
        told["home"] = error.home
    if error.__cause__ is not None:
        told["cause"] = type(error.__cause__).__name__
    return told


def begin_homes() -> list[errors.HomeElsewhere]:
    """Open a note of what this request is refused for because another region is the home."""
    note: list[errors.HomeElsewhere] = []
    _homes.set(note)
    return note


def retry_after(status: int) -> tuple[bytes, bytes] | None:
    """The header for a response with this status; None if it needs none."""
    waits = _notes.get(_Note()).waits
    if not waits and status not in (429, 503):
        return None
    return b"retry-after", str(math.ceil(max(waits, default=_UNTOLD_S))).encode()


class PolicyDeniedError(sdk.A2AError):
    """Policy does not permit the request or its reply."""


class RateLimitedError(sdk.A2AError):
    """The tenant is over its rate."""


class UnavailableError(sdk.A2AError):
    """A dependency is down."""


class ConflictError(sdk.A2AError):
    """The message id belongs to another request, or the task is not in the needed state."""


class AutonomyHaltedError(sdk.A2AError):
    """Nothing is enacted for the tenant now."""


class AgentFailedError(sdk.InvalidAgentResponseError):
    """The downstream agent failed."""


def _enter(kind: type[sdk.A2AError], code: int, http: int, grpc: str, reason: str) -> None:
    sdk.JSON_RPC_ERROR_CODE_MAP[kind] = code
    sdk.A2A_ERROR_MAPPING[kind] = sdk.ErrorMapping(http, grpc, reason)
    sdk.A2A_ERROR_REASONS[kind] = reason
    EXCEPTION_MAP[kind] = JSONRPCError


_enter(PolicyDeniedError, POLICY_DENIED_CODE, 403, "PERMISSION_DENIED", "POLICY_DENIED")
_enter(RateLimitedError, RATE_LIMITED_CODE, 429, "RESOURCE_EXHAUSTED", "RATE_LIMITED")
_enter(UnavailableError, UNAVAILABLE_CODE, 503, "UNAVAILABLE", "UNAVAILABLE")
_enter(ConflictError, CONFLICT_CODE, 409, "ABORTED", "CONFLICT")
_enter(AutonomyHaltedError, AUTONOMY_HALTED_CODE, 409, "FAILED_PRECONDITION", "AUTONOMY_HALTED")
_enter(AgentFailedError, -32006, 502, "UNAVAILABLE", "AGENT_FAILED")


def to_wire(error: BaseException) -> sdk.A2AError:
    """The A2A error that a caller sees. What is not ours is told by an incident id only.

    A task that the error ended is named in its data: a failure that was recorded can be looked up.
    """
    told = _on_wire(error)
    if isinstance(error, errors.PlatformError) and error.task_id:
        told.data = {**(told.data or {}), "taskId": error.task_id}
    return told


def _on_wire(error: BaseException) -> sdk.A2AError:
    if isinstance(error, sdk.A2AError):
        return error
    if isinstance(error, errors.PolicyDenied):
        data = {"decisionId": error.decision_id, "why": error.reason}
        return PolicyDeniedError(f"policy denied: {_sentence(error)}", data)
    if isinstance(error, errors.NotFound):
        return sdk.TaskNotFoundError(error.message)
    if isinstance(error, errors.Conflict):
        return ConflictError(_sentence(error))
    if isinstance(error, errors.AutonomyHalted):
        return AutonomyHaltedError(_sentence(error), {"scope": error.scope, "since": error.since})
    if isinstance(error, errors.AgentFailed):
        _note(error)
        return AgentFailedError(_sentence(error))
    if isinstance(error, errors.Unavailable):
        _note(error)
        if isinstance(error, errors.HomeElsewhere):
            _homes.get([]).append(error)
            return UnavailableError(_sentence(error), {"code": error.code, "home": error.home})
        if isinstance(error, errors.PeerAway):
            return UnavailableError(_sentence(error), {"code": error.code})
        return UnavailableError(_sentence(error))
    if isinstance(error, errors.RateLimited):
        _note(error)
        return RateLimitedError(_sentence(error), {"retryAfterS": str(error.retry_after_s)})
    if isinstance(error, (errors.BadRequest, errors.RequestTooLarge, GovernanceError)):
        return sdk.InvalidParamsError(_sentence(error))
    _note(error)
    incident = uuid.uuid4().hex[:12]
    _log.error("request_crashed", incident=incident, exc_info=error)
    return sdk.InternalError(f"internal error, incident {incident}")


def outcome(error: Exception) -> str:
    """The `status` label of `mc_a2a_requests_total` for a failed message."""
    if isinstance(error, (errors.PolicyDenied, errors.AutonomyHalted)):
        return "denied"
    client = (
        errors.BadRequest,
        errors.RequestTooLarge,
        errors.NotFound,
        errors.Conflict,
        errors.RateLimited,
        GovernanceError,
    )
    wire = (sdk.InvalidParamsError, sdk.UnsupportedOperationError, sdk.InvalidRequestError)
    return "client_error" if isinstance(error, client + wire) else "error"


def _sentence(error: McError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message


def _of_router(error: HTTPException) -> Exception:
    if error.status_code == HTTPStatus.NOT_FOUND:
        return errors.NotFound("nothing is served at this path")
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        return errors.MethodNotAllowed(", ".join(sorted(allowed.split(", "))))
    return error  # there is no other


async def answer(_request: Request, error: Exception) -> Response:
    """An error of a route that is not A2A's, or of the router, as JSON."""
    if isinstance(error, HTTPException):
        error = _of_router(error)
    if not isinstance(error, errors.PlatformError):
        told = {"code": "internal", "message": to_wire(error).message, "hint": ""}
        return JSONResponse({"error": {**told, "retryable": False}}, status_code=500)
    _note(error)
    if isinstance(error, errors.HomeElsewhere):
        _homes.get([]).append(error)
    headers = {}
    if isinstance(error, errors.NotAuthenticated):
        headers["WWW-Authenticate"] = 'Bearer realm="agent-workbench"'
    if isinstance(error, errors.MethodNotAllowed):
        headers["Allow"] = error.allow
    return JSONResponse({"error": error.as_dict()}, error.http_status, headers)
