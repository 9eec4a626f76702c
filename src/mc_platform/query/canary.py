"""The canary's override over HTTP: an operator promotes what the canary holds, and says why.

The service has neither samples nor verdict: it records who overrides which ones, by their digests,
and what the operator was told of them. Whoever acts on an override holds the samples, judges them
again, and finds this entry in the ledger (`mcctl canary override`, `mcctl canary decision`).

    POST /operator/canary/override   {"run", "release", "reason", "kind", "rehearsal", "margin_ppm",
                                      "regression_ppm", "baseline", "candidate", "digests"}

A verdict is overridden once: a second request records nothing and is answered with the place of
the first (`fresh` false).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mc_platform.model.event import Kind
from mc_platform.model.verdict import Action
from mc_platform.query.handlers import Handlers
from mc_platform.query.operator_wire import read_body

_MOST_PPM = 1_000_000_000  # a thousand times as slow
_Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}\Z")]
_Release = Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9._+-]{0,127})?\Z")]
_Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Kind = Annotated[str, msgspec.Meta(pattern=r"^(?!promoted\Z)[a-z][a-z-]{0,31}\Z")]
_Count = Annotated[int, msgspec.Meta(ge=0, le=10**9)]
_Ppm = Annotated[int, msgspec.Meta(ge=-_MOST_PPM, le=_MOST_PPM)]


class Figures(msgspec.Struct, forbid_unknown_fields=True):
    """One side's requests, how many failed, and the p95 of the rest in microseconds."""

    requests: _Count
    failed: _Count
    p95_us: _Count | None


class Digests(msgspec.Struct, forbid_unknown_fields=True):
    """SHA-256 in hex of the verdict's file and of the two sample files."""

    verdict: _Digest
    base: _Digest
    cand: _Digest


class OverrideBody(msgspec.Struct, forbid_unknown_fields=True):
    """Which HOLD is overridden, why, and what it said."""

    run: _Name
    reason: str
    kind: _Kind
    rehearsal: bool
    margin_ppm: _Ppm
    regression_ppm: _Ppm | None
    baseline: Figures
    candidate: Figures
    digests: Digests
    release: _Release = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryHandlers(Handlers):
    """Answers it."""

    def routes(self) -> list[Route]:
        return [Route("/operator/canary/override", self.override, methods=["POST"])]

    async def override(self, request: Request) -> Response:
        principal, decision = await self.permit(request, Action.override_canary)
        asked = await read_body(request, OverrideBody)
        reason = self.reason(asked.reason)
        detail = msgspec.to_builtins(asked) | {"reason": reason, "subject": asked.run}
        recorded = await self.recorder.record_once(
            Kind.canary_overridden, principal, decision, detail, about=asked.digests.verdict
        )
        answer = {
            "event_id": recorded.event_id,
            "index": recorded.index,
            "fresh": recorded.fresh,
            "principal": principal.id,
            "reason": reason,
        }
        return JSONResponse(answer, status_code=201 if recorded.fresh else 200)
