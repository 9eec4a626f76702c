"""What the handlers of all routes beside A2A share: who asks, whether policy permits it, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.routing import Route

from mc_platform.model.tenant import Principal
from mc_platform.model.verdict import Action, Decision
from mc_platform.pipeline.enforcement import Enforcement
from mc_platform.query.parameters import reason_line
from mc_platform.record import AuditRecorder


@dataclass(frozen=True, slots=True, kw_only=True)
class Handlers:
    """Base of the classes whose methods answer requests.

    Attributes:
        principal_of: Who sent a request, as the middleware found; raises `RateLimited` where its
            tenant asks too fast.
        redact: A text with all that screening finds in it replaced.
    """

    principal_of: Callable[[Request], Principal]
    enforcement: Enforcement
    recorder: AuditRecorder
    redact: Callable[[str], str]

    def routes(self) -> list[Route]:
        """The routes, for the application to mount."""
        raise NotImplementedError

    async def permit(
        self, request: Request, action: Action, resource: str = "Platform", **circumstances: Any
    ) -> tuple[Principal, Decision]:
        """Who asks, and the decision that permits it; as `Enforcement.permit`."""
        principal = self.principal_of(request)
        return principal, await self.enforcement.permit(
            principal, action, resource, **circumstances
        )

    def reason(self, text: str) -> str:
        """A person's words as they may be recorded: one short line, screened like a reply.

        Raises:
            BadRequest: empty, or longer than 200 characters.
        """
        return self.redact(reason_line(text))
