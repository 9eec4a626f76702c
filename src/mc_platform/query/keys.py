"""Which keys a replica has in use, without a secret, for those who administer them.

    GET /operator/keys    {"log", "keys": [{"purpose", "id", "state", "created_at"?, "retired_at"?,
                           "needed_until"?}], "digest", "retention_days", "refused"}

`digest` is the one that `/health` of each replica tells: whoever tells the same has the same keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mc_contract.keyring import keep_until
from mc_platform.model.verdict import Action
from mc_platform.query.handlers import Handlers
from mc_platform.query.parameters import refuse_unknown


class KeysInUse(Protocol):
    """What is told of them; behind it: `assembly.keys`."""

    log: str
    retention_days: int
    refused: str | None

    def view(self) -> Mapping[str, Mapping[str, str]]:
        """By `purpose.id`: state and times."""

    def digest(self) -> str:
        """Of `view`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyHandlers(Handlers):
    """Answers them."""

    keys: KeysInUse

    def routes(self) -> list[Route]:
        return [Route("/operator/keys", self.listed, methods=["GET"])]

    async def listed(self, request: Request) -> Response:
        await self.permit(request, Action.read_credentials)
        refuse_unknown(request)
        days = self.keys.retention_days
        return JSONResponse(
            {
                "log": self.keys.log,
                "keys": [_told(name, told, days) for name, told in self.keys.view().items()],
                "digest": self.keys.digest(),
                "retention_days": days,
                "refused": self.keys.refused,
            }
        )


def _told(name: str, told: Mapping[str, str], retention_days: int) -> dict[str, Any]:
    purpose, _, key_id = name.partition(".")
    shown: dict[str, Any] = {"purpose": purpose, "id": key_id, **told}
    if "retired_at" in told:
        until = keep_until(purpose, datetime.fromisoformat(told["retired_at"]), retention_days)
        shown["needed_until"] = None if until is None else until.isoformat()
    return shown
