"""Replies that the red-team plants: the sample agent then plays a compromised model.

    POST /plant {"replies": {"KEY": [PART, ...], ...}}

A question that holds `[[plant:KEY]]` is answered with those parts. They are kept in memory; beyond
the bounds the oldest go.
"""

from __future__ import annotations

import json
import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from a2a.types import Part
from google.protobuf.json_format import ParseDict, ParseError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from mc_samples.serving import body_of

_CALL = re.compile(r"\[\[plant:([A-Za-z0-9_-]{1,200})\]\]")
_MOST_REPLIES = 50_000
_MOST_BODY_BYTES = 32 * 1024 * 1024


class Planted:
    """What was planted, by key."""

    def __init__(self) -> None:
        self._replies: OrderedDict[str, list[Part]] = OrderedDict()

    def called_up(self, question: str) -> Sequence[Part] | None:
        """The reply that a question calls up; None: none."""
        found = _CALL.findall(question)  # the last one: what goes before may quote another
        return self._replies.get(found[-1]) if found else None

    async def take(self, request: Request) -> Response:
        """`POST /plant`."""
        body = await body_of(request, _MOST_BODY_BYTES)
        if body is None:
            return JSONResponse({"error": f"over {_MOST_BODY_BYTES} bytes"}, 413)
        try:
            replies = _read(json.loads(body))
        except (ValueError, ParseError) as error:
            return JSONResponse({"error": f"no replies: {error}"[:300]}, 400)
        for key, parts in replies.items():
            self._replies[key] = parts
            self._replies.move_to_end(key)
        while len(self._replies) > _MOST_REPLIES:
            self._replies.popitem(last=False)
        return JSONResponse({"planted": len(replies)})


def _read(told: Any) -> dict[str, list[Part]]:
    replies = told.get("replies") if isinstance(told, dict) else None
    if not isinstance(replies, dict):
        raise ValueError("`replies` must be an object: key to list of parts")  # noqa: TRY004
    return {str(key): [ParseDict(part, Part()) for part in parts] for key, parts in replies.items()}
