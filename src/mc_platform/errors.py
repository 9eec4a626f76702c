"""The service's errors, by what the caller does next.

    PlatformError(McError)
      NotAuthenticated      present a valid credential                 401
      PolicyDenied          ask for something else, or change policy   403, JSON-RPC -32050
      BadRequest            mend the request                           400, JSON-RPC -32602
      MethodNotAllowed      use the method that the path has           405
      RequestTimeout        send the body in time                      408
      RequestTooLarge       send less                                  413
      HeadTooLarge          send shorter headers                       431
      RateLimited           send slower, after `retry_after_s`         429
      BudgetSpent           ask for no more aggregates until the period has gone on    429
      NotFound              the object is not there, or not yours      404, JSON-RPC -32001
      Conflict              this message id was used for another request  409
      NotTrusted            sign the checkpoint with a key that this witness knows  403
      OtherSize             prove from the size that this witness cosigned last     409
      Inconsistent          find out why the log is no continuation                 422
      AutonomyHalted        wait until an operator resumes autonomy    409, JSON-RPC -32054
      AgentFailed           the downstream agent failed                502, JSON-RPC -32006
      PeerFailed            an outgoing HTTP call failed; adapters tell it in their stage's words
      Unavailable           try again later                            503
        Overdue             its examination took too long; send less   503
        HomeElsewhere       ask the tenant's home region, or wait until there is one  503
        PeerAway        repeat it: it may be done, and the peer region has not confirmed it   503
      Misconfigured         mend the settings; raised at start-up only
        LedgerDamaged       find out who changed the ledger; it is not what was signed    503

No error carries message content, credentials or personal data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mc_contract.errors import McError

if TYPE_CHECKING:
    from mc_platform.model.tenant import Principal


class PlatformError(McError):
    """Root of the service's errors.

    Attributes:
        task_id: The task that the error ended, where there is one.
    """

    http_status: int = 500
    task_id: str = ""


class NotAuthenticated(PlatformError):
    """The credential is missing, malformed, unknown or revoked, or its tenant is; not told which.

    Attributes:
        strayed: Whose it is, if all is right with it but that its tenant is not in the catalogue.
            For the log; never in an answer.
    """

    code = "not-authenticated"
    http_status = 401

    def __init__(self, message: str, *, hint: str = "", strayed: Principal | None = None) -> None:
        super().__init__(message, hint=hint)
        self.strayed = strayed


class PolicyDenied(PlatformError):
    """Policy does not permit it; `decision_id` finds the decision in the ledger."""

    code = "policy-denied"
    http_status = 403

    def __init__(
        self,
        message: str,
        *,
        decision_id: str,
        reason: str,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.decision_id = decision_id
        self.reason = reason

    def as_dict(self) -> dict[str, object]:
        """As other errors, with the decision's id."""
        return {**super().as_dict(), "decisionId": self.decision_id}


class BadRequest(PlatformError):
    """The request cannot be understood."""

    code = "bad-request"
    http_status = 400


class MethodNotAllowed(PlatformError):
    """The path is there, but not for this method.

    Attributes:
        allow: The methods that it is for, as `Allow` tells them.
    """

    code = "method-not-allowed"
    http_status = 405

    def __init__(self, allow: str) -> None:
        super().__init__(f"this path is for {allow}")
        self.allow = allow


class RequestTimeout(PlatformError):
    """The body did not come in time."""

    code = "request-timeout"
    http_status = 408


class RequestTooLarge(PlatformError):
    """The body exceeds the limit."""

    code = "request-too-large"
    http_status = 413


class HeadTooLarge(PlatformError):
    """The request line and the headers exceed the limit."""

    code = "head-too-large"
    http_status = 431


class RateLimited(PlatformError):
    """The tenant sends faster than its limit."""

    code = "rate-limited"
    http_status = 429
    retryable = True

    def __init__(self, message: str, *, retry_after_s: float, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class BudgetSpent(PlatformError):
    """The privacy budget of the principal, or of its tenant, does not reach for the query.

    Attributes:
        epsilon: What this request has spent all the same, in millionths.
    """

    code = "privacy-budget-spent"
    http_status = 429
    retry_after_s = 86_400.0  # the budget comes back by the day

    def __init__(self, message: str, *, hint: str = "", epsilon: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.epsilon = epsilon


class NotFound(PlatformError):
    """No such object for this tenant; another tenant's object is as absent as none."""

    code = "not-found"
    http_status = 404


class Conflict(PlatformError):
    """The idempotency key was used for a different request."""

    code = "conflict"
    http_status = 409


class NotTrusted(PlatformError):
    """No key that is known for the log signed the checkpoint."""

    code = "not-trusted"
    http_status = 403


class OtherSize(PlatformError):
    """The last checkpoint that was cosigned of the log has another size, or another root."""

    code = "other-size"
    http_status = 409

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


class Inconsistent(PlatformError):
    """A log's checkpoint is not shown to continue what was cosigned of it."""

    code = "inconsistent-log"
    http_status = 422


class AutonomyHalted(PlatformError):
    """Nothing is enacted for the tenant now: an operator, an alert or the breaker has stopped it.

    Not retryable: it lasts until a person resumes autonomy. Hence 409 and not 503, which proxies
    and clients would try again, and which would count against the service's own health.
    """

    code = "autonomy-halted"
    http_status = 409

    def __init__(self, message: str, *, scope: str, since: str, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.scope = scope
        self.since = since


class AgentFailed(PlatformError):
    """The downstream agent did not answer, or answered what is no A2A reply."""

    code = "agent-failed"
    http_status = 502
    retryable = True


class PeerFailed(PlatformError):
    """A peer gave no answer over HTTP that could be taken; quotes nothing of what it sent.

    Attributes:
        asked: Whether the request, or a part of it, may have reached the peer.
        late: Whether it was the deadline that ended it.
        answered: Whether an answer came that cannot be taken; another one would be no better.
    """

    code = "peer-failed"
    http_status = 502
    retryable = True

    def __init__(
        self, message: str, *, asked: bool, late: bool = False, answered: bool = False
    ) -> None:
        super().__init__(message)
        self.asked = asked
        self.late = late
        self.answered = answered


class Unavailable(PlatformError):
    """A dependency is down; nothing was done that is not recorded."""

    code = "unavailable"
    http_status = 503
    retryable = True
    retry_after_s = 1.0


class Overdue(Unavailable):
    """Work on one message took longer than any may; mostly it ends in a label instead."""

    code = "overdue"


class HomeElsewhere(Unavailable):
    """Another region enacts for the tenant, or it is not sure now that this one does.

    Attributes:
        home: The region to ask; empty where none is known to be it.
    """

    code = "home-elsewhere"
    retry_after_s = 2.0

    def __init__(self, message: str, *, hint: str = "", home: str = "") -> None:
        super().__init__(message, hint=hint)
        self.home = home

    def as_dict(self) -> dict[str, object]:
        """As other errors, with the home's name."""
        return {**super().as_dict(), "home": self.home}


class PeerAway(Unavailable):
    """A `sync` tenant's answer is withheld: the peer region has not confirmed what it would tell.

    What was asked for may be done here; the same message again gets the same task.
    """

    code = "peer-away"
    retry_after_s = 2.0


class LedgerDamaged(Unavailable):
    """The ledger contradicts itself or what was signed of it; nothing is signed or recorded."""

    code = "ledger-damaged"
    retryable = False


class Misconfigured(PlatformError):
    """Settings do not hold together; the message lists every problem."""

    code = "misconfigured"
