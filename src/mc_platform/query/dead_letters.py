"""Dead letters over HTTP: an operator lists events that a sink refused for good, and has them resent.

Whichever replica ships sends them, in between the batches (`deliver.sender`); what becomes of each
is told by the list. A resend is an act: policy decides, and the ledger has it before it is done.

    GET  /operator/dead-letters          ?limit, after (of the last page's `next`), request
    POST /operator/dead-letters/resend   {"reason", and one of: "all": true, "event_ids": [...],
                                          "since" and "until" (either may be left out)}
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from mc_platform.adapters.postgres.dead_letters import PostgresDeadLetters
from mc_platform.errors import BadRequest, NotFound
from mc_platform.model.dead_letter import DeadLetter, Matching, Selection
from mc_platform.model.event import Kind
from mc_platform.model.verdict import Action
from mc_platform.query.handlers import Handlers
from mc_platform.query.operator_wire import fields_json, read_body
from mc_platform.query.parameters import read_instant, read_number, refuse_unknown

_MOST, _USUAL, _MOST_IDS = 500, 100, 1000
_SHOWN = ("sink", "index", "event_id", "refused_at", "request", "asked_at", "settled_at")
_EventId = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^[\x20-\x7e]+\Z")]


class ResendBody(msgspec.Struct, forbid_unknown_fields=True):
    """Which dead letters, and why."""

    reason: str
    all: bool = False
    event_ids: Annotated[list[_EventId], msgspec.Meta(max_length=_MOST_IDS)] | None = None
    since: str | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterHandlers(Handlers):
    """Answers them."""

    letters: PostgresDeadLetters

    def routes(self) -> list[Route]:
        return [
            Route("/operator/dead-letters", self.listed, methods=["GET"]),
            Route("/operator/dead-letters/resend", self.resend, methods=["POST"]),
        ]

    async def listed(self, request: Request) -> Response:
        await self.permit(request, Action.read_ledger)
        after, limit, of = _parameters(request)
        found = await self.letters.page(after, limit, of)
        ends = found[-1] if len(found) == limit else None
        return JSONResponse(
            {
                "dead_letters": [_json(letter) for letter in found],
                "next": None if ends is None else f"{ends.index}~{ends.sink}",
            }
        )

    async def resend(self, request: Request) -> Response:
        principal, decision = await self.permit(request, Action.resend_dead_letters)
        asked = await read_body(request, ResendBody)
        selection = _selection(asked)
        reason = self.reason(asked.reason)
        found = await self.letters.matching(selection)
        _require_known(selection, found)
        asked_for = 0
        if found.last_index is not None:
            detail = {
                "subject": decision.id,
                "reason": reason,
                "dead_letters": found.count,
                "first_index": found.first_index,
                "last_index": found.last_index,
                "selection": _told(asked),
            }
            await self.recorder.record(
                Kind.dead_letters_resent, principal.tenant, principal, decision, detail
            )
            asked_for = await self.letters.ask(selection, found.last_index, decision.id)
        answer = {
            "request": decision.id if asked_for else None,
            "asked": asked_for,
            "waiting": found.waiting + found.count - asked_for,
            "principal": principal.id,
            "reason": reason,
        }
        return JSONResponse(answer, status_code=202 if asked_for else 200)


def _parameters(request: Request) -> tuple[str, int, str | None]:
    refuse_unknown(request, "limit", "after", "request")
    given = request.query_params
    limit = read_number(request, "limit", least=1, most=_MOST, usual=_USUAL)
    after = given.get("after", "-1~")
    index, _, _ = after.partition("~")
    if not index.removeprefix("-").isdecimal() or not index.isascii() or len(index) > 18:
        raise BadRequest("after must be the `next` of another page")
    return after, limit, given.get("request")


def _selection(asked: ResendBody) -> Selection:
    by_time = asked.since is not None or asked.until is not None
    if [asked.all, asked.event_ids is not None, by_time].count(True) != 1 or asked.event_ids == []:
        raise BadRequest("expected one of: all, event_ids, since and until")
    return Selection(
        event_ids=asked.event_ids,
        since=None if asked.since is None else read_instant(asked.since, "since"),
        until=None if asked.until is None else read_instant(asked.until, "until"),
    )


def _require_known(selection: Selection, found: Matching) -> None:
    known = set(found.known)
    unknown = [event_id for event_id in selection.event_ids or () if event_id not in known]
    if unknown:
        raise NotFound(
            f"{len(unknown)} of the events are no dead letters, or were taken since: "
            f"{unknown[0]} for one",
            hint="GET /operator/dead-letters lists those that are; nothing was sent",
        )


def _told(asked: ResendBody) -> dict[str, Any]:
    if asked.event_ids is not None:
        return {"events": len(asked.event_ids)}
    return {"since": asked.since or "", "until": asked.until or ""}


def _json(letter: DeadLetter) -> dict[str, Any]:
    if letter.request is None:
        state = "refused"
    elif letter.settled_at is None:
        state = "waiting"
    else:
        state = "taken" if letter.taken else "refused-again"
    return {
        **fields_json(letter, *_SHOWN),
        "reason": letter.again_reason or letter.reason,
        "state": state,
    }
