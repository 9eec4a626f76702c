"""`/audit/...`: the whole ledger, for those who check it. JSON, read-only, permitted by policy.

Nothing here is to be believed: an auditor recomputes every hash and holds it against checkpoints
that the ledger's key has signed. `mcctl audit` does that; so can anyone with RFC 6962 and ed25519.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mc_contract.keepable import json_bytes
from mc_contract.ledger.checkpoint import parse_checkpoint
from mc_platform.errors import BadRequest, NotFound
from mc_platform.model.event import Kind
from mc_platform.model.made_ids import second_of
from mc_platform.model.verdict import Action
from mc_platform.query.handlers import Handlers
from mc_platform.query.operator_wire import base64_text, fields_json
from mc_platform.query.parameters import MOST_INDEX, read_instant, read_number, refuse_unknown
from mc_platform.record import AuditLedger, CosignedNote, Prover, Wanted, act_ids
from mc_platform.record.ledger import MOST_PAGE_BYTES

_DECISION = re.compile(r"dec_[A-Za-z0-9_-]{1,64}")
SignHead = Callable[[], Awaitable[str]]
MOST_ENTRIES = 1000
MOST_PROVEN = 200
MOST_TILES = 64
_FILTERS = ("tenant", "kind", "subject", "since", "until", "denied")


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditHandlers(Handlers):
    """Answers them.

    Attributes:
        sign_head: Signs a checkpoint over the log as it is now.
        cosigned_notes: Checkpoints of a log that witnesses have cosigned, the newest first, from at
            most so many cosignatures.
        former: The logs of the region's earlier epochs by name, each with its prover, and with what
            gives the newest checkpoint that was signed of it: it is signed no more.
    """

    ledger: AuditLedger
    prover: Prover
    sign_head: SignHead
    cosigned_notes: Callable[[str, int], Awaitable[Sequence[CosignedNote]]]
    former: Mapping[str, tuple[AuditLedger, Prover, SignHead]] = field(default_factory=dict)

    def routes(self) -> list[Route]:
        span = ("size", "limit", "since", "until", "after_index")
        return [
            self._route("/audit/entries", AuditHandlers.entries, "start", "limit"),
            self._route("/audit/checkpoints", AuditHandlers.checkpoints, "from_size", "limit"),
            self._route("/audit/cosigned", AuditHandlers.cosigned, "limit"),
            self._route("/audit/tiles", AuditHandlers.tiles, "first", "limit"),
            self._route("/audit/archives", AuditHandlers.archives),
            self._route("/audit/frontier", AuditHandlers.frontier, "size"),
            self._route(
                "/audit/proof/inclusion", AuditHandlers.inclusion, "index", "event_id", "size"
            ),
            self._route("/audit/proof/consistency", AuditHandlers.consistency, "first", "second"),
            self._route("/audit/events", AuditHandlers.events, *_FILTERS, "before", "limit"),
            self._route("/audit/decision/{decision}", AuditHandlers.decision),
            self._route("/audit/tenant/{tenant}", AuditHandlers.tenant, *span),
        ]

    def _route(self, path: str, handler: _Handler, *parameters: str) -> Route:
        async def answer(request: Request) -> Response:
            await self.permit(request, Action.read_ledger)
            refuse_unknown(request, *parameters, "log")
            asked = self._of(request.query_params.get("log"))
            whole = {"region": asked.ledger.region, **await handler(asked, request)}
            body = await asyncio.to_thread(json_bytes, whole)
            return Response(body, media_type="application/json")

        return Route(path, answer, methods=["GET"])

    def _of(self, log: str | None) -> AuditHandlers:
        """The handlers of the log that is asked for: by default the one that is written."""
        if log in (None, self.ledger.region):
            return self
        if log not in self.former:
            known = ", ".join([*self.former, self.ledger.region])
            raise BadRequest(f"log is none of this region's: {known}")
        ledger, prover, newest = self.former[log]
        return replace(self, ledger=ledger, prover=prover, sign_head=newest)

    async def entries(self, request: Request) -> Mapping[str, Any]:
        """Rows from `start`, by index; whatever the table holds, twice or not in order of time."""
        start = read_number(request, "start", least=0, usual=0)
        limit = read_number(request, "limit", least=1, most=MOST_ENTRIES, usual=MOST_ENTRIES)
        found = await self.ledger.entries(start, limit)
        return {"entries": [entry.as_dict() for entry in found]}

    async def checkpoints(self, request: Request) -> Mapping[str, Any]:
        """Stored notes of at least `from_size`, by size."""
        size = read_number(request, "from_size", least=0, usual=0)
        limit = read_number(request, "limit", least=1, most=MOST_ENTRIES, usual=MOST_ENTRIES)
        found = await self.ledger.checkpoints(size, limit)
        return {"checkpoints": [fields_json(checkpoint) for checkpoint in found]}

    async def cosigned(self, request: Request) -> Mapping[str, Any]:
        """Notes with their cosignatures, by size, the newest first."""
        limit = read_number(request, "limit", least=1, most=MOST_ENTRIES, usual=MOST_ENTRIES)
        found = await self.cosigned_notes(self.ledger.region, limit)
        return {"checkpoints": [{"size": one.size, "note": one.note} for one in found]}

    async def tiles(self, request: Request) -> Mapping[str, Any]:
        """Kept tiles of level 0, from tile `first`: 256 leaf hashes each."""
        first = read_number(request, "first", least=0, usual=0)
        limit = read_number(request, "limit", least=1, most=MOST_TILES, usual=MOST_TILES)
        found = await self.ledger.tile_hashes(first, limit)
        return {
            "tiles": [{"index": index, "hashes": base64_text(hashes)} for index, hashes in found]
        }

    async def archives(self, _request: Request) -> Mapping[str, Any]:
        """What has left the database, by index."""
        return {"archives": [fields_json(archive) for archive in await self.ledger.archives()]}

    async def frontier(self, request: Request) -> Mapping[str, Any]:
        """The log's frontier at `size`: enough to go on hashing from there."""
        size = read_number(request, "size", least=0)
        frontier = await self.prover.frontier(size)
        return {"size": size, "frontier": base64_text(frontier.to_bytes())}

    async def inclusion(self, request: Request) -> Mapping[str, Any]:
        """One entry's proof at `size`; without a size, at a checkpoint signed now."""
        index = await self._which(request)
        size, note = await self._size(request)
        [proof] = await self.prover.inclusion([index], size)
        return {"index": index, "size": size, "proof": _hashes(proof), "checkpoint": note}

    async def consistency(self, request: Request) -> Mapping[str, Any]:
        """That the log of `second` entries begins with that of `first`."""
        first = read_number(request, "first", least=1)
        second = read_number(request, "second", least=1)
        proof = await self.prover.consistency(first, second)
        return {"first": first, "second": second, "proof": _hashes(proof)}

    async def decision(self, request: Request) -> Mapping[str, Any]:
        """Where the first event stands that tells the decision: by its own id, or by its second.

        Null: none is recorded here, or the id is of a version whose ids hold no time.
        """
        decision = request.path_params["decision"]
        if not _DECISION.fullmatch(decision):
            raise BadRequest("expected the id of a decision: dec_...")
        index = await self.ledger.index_of(*act_ids(decision))
        second = second_of(decision.removeprefix("dec_"))
        if index is None and second is not None:
            index = await self.ledger.index_of_decision(decision, second)
        return {"decision": decision, "index": index}

    async def events(self, request: Request) -> Mapping[str, Any]:
        """Entries that all of the filters let through, the newest first; ask on with `next`."""
        asked = request.query_params
        kinds = asked.getlist("kind")
        if unknown := sorted(set(kinds) - set(Kind)):
            raise BadRequest(
                f"unknown kind of event {unknown[0][:64]!r}", hint=f"known: {', '.join(Kind)}"
            )
        if (denied := asked.get("denied", "false")) not in ("true", "false"):
            raise BadRequest("denied must be true or false")
        if (tenant := asked.get("tenant")) is not None:
            await self._require_tenant(tenant)
        found, following = await self.ledger.matching(
            Wanted(
                tenant=tenant,
                kinds=kinds,
                subject=asked.get("subject"),
                since=_time(request, "since"),
                until=_time(request, "until"),
                denied=denied == "true",
            ),
            before=read_number(request, "before", least=0, usual=MOST_INDEX),
            limit=read_number(request, "limit", least=1, most=MOST_ENTRIES, usual=MOST_ENTRIES),
        )
        return {"entries": [entry.as_dict() for entry in found], "next": following}

    async def _require_tenant(self, name: str) -> None:
        """See that a tenant is one: nothing found would pass for nothing done.

        Raises:
            NotFound: the catalogue has none of this name, and no entry is of one.
        """
        if self.enforcement.is_tenant(name):
            return
        found, _ = await self.ledger.matching(Wanted(tenant=name), before=MOST_INDEX, limit=1)
        if not found:
            raise NotFound(
                f"no tenant {name[:64]!r}: the catalogue has none, and no entry is of it",
                hint="mcctl tenant list",
            )

    async def tenant(self, request: Request) -> Mapping[str, Any]:
        """A tenant's entries with their proofs at one size; ask on with that size."""
        since, until = _time(request, "since"), _time(request, "until")
        after_index = read_number(request, "after_index", least=-1, usual=-1)
        limit = read_number(request, "limit", least=1, most=MOST_PROVEN, usual=MOST_PROVEN)
        await self._require_tenant(request.path_params["tenant"])
        size, note = await self._size(request)
        found = await self.ledger.of_tenant(
            request.path_params["tenant"],
            since=since,
            until=until,
            after_index=after_index,
            below=size,
            limit=limit,
        )
        proofs = (
            await self.prover.inclusion([entry.index for entry in found], size) if found else []
        )
        return {
            "size": size,
            "checkpoint": note,
            "entries": [
                {**entry.as_dict(), "proof": _hashes(proof)}
                for entry, proof in zip(found, proofs, strict=True)
            ],
            "more": len(found) == limit or sum(len(e.leaf) for e in found) >= MOST_PAGE_BYTES,
        }

    async def _which(self, request: Request) -> int:
        event_id = request.query_params.get("event_id")
        if (event_id is None) == ("index" not in request.query_params):
            raise BadRequest("expected either index or event_id")
        if event_id is None:
            return read_number(request, "index", least=0)
        index = await self.ledger.index_of(event_id)
        if index is None:
            raise NotFound("no event with this id was recorded in this region")
        return index

    async def _size(self, request: Request) -> tuple[int, str | None]:
        if "size" in request.query_params:
            return read_number(request, "size", least=1), None
        note = await self.sign_head()
        text, _, _ = note.rpartition("\n\n")
        return parse_checkpoint(f"{text}\n").size, note


def _time(request: Request, name: str) -> datetime | None:
    text = request.query_params.get(name)
    return None if text is None else read_instant(text, name)


def _hashes(proof: Sequence[bytes]) -> list[str]:
    return [base64_text(item) for item in proof]


_Handler = Callable[[AuditHandlers, Request], Awaitable[Mapping[str, Any]]]
