"""Declared actions: an HTTP call and its compensating call.

Both carry `Idempotency-Key`, so a receiver that honours it applies an effect once however often the
call is repeated; a receiver that does not is at-least-once (docs/how-to/actions.md). Redirects are not
followed and proxies from the environment are not used: the catalogue's URL is the only destination.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from mc_contract.keepable import NotJson, NotKeepable, check_keepable, json_bytes
from mc_platform.enact.calls import MOST_DEPTH_OF_RESULT, StepFailed, Values
from mc_platform.enact.templates import Scope, TemplateAbsent, problems, render
from mc_platform.errors import PeerFailed
from mc_platform.model.catalogue import ActionSpec, HttpCall
from mc_platform.model.reply import Reply
from mc_platform.ports import BlockingHttp

MAX_REPLY_BYTES = 64 * 1024
_MAX_BODY_BYTES = 4 * 1024 * 1024  # a template may repeat the input
_REQUEST_TIMEOUT, _TOO_EARLY, _TOO_MANY = 408, 425, 429
_CLIENT_ERROR, _SERVER_ERROR = 400, 500
# How a server sends on whoever it has served; the other redirects ask for the same request again
_FOUND, _SEE_OTHER = 302, 303
_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}


def spec_problems(spec: ActionSpec) -> list[str]:
    """What is wrong with a declared action's bodies; all else the catalogue's form refuses."""
    return [
        f"{phase}: {problem}"
        for phase, declared in (("do", spec.do), ("undo", spec.undo))
        if declared is not None
        for problem in (
            *problems(declared.body, undo=phase == "undo"),
            *_unkeepable(declared.body),
        )
    ]


def _unkeepable(body: Mapping[str, Any]) -> list[str]:
    try:
        check_keepable(body, ("body",))
    except NotKeepable as error:  # TOML knows nan and dates
        return [error.message]
    return []


class HttpAction:
    """An effect and its compensation by the two calls of an `ActionSpec`."""

    def __init__(self, do: HttpCall, undo: HttpCall, http: BlockingHttp) -> None:
        self._do = do
        self._undo = undo
        self._http = http

    def do(
        self, input: Values, key: str, *, tenant: str, home: int = 0, most_s: float = math.inf
    ) -> Values:
        """One attempt of the effect; it takes no longer than `most_s` seconds."""
        timeout_s = min(self._do.timeout_s, most_s)
        return self._send(tenant, self._do, Scope(input), _keys(key, tenant, home), timeout_s)

    def undo(
        self, input: Values, result: Values | None, key: str, *, tenant: str, home: int = 0
    ) -> None:
        """One attempt of the compensation."""
        scope = Scope(input, result, effect_key_of(key))
        self._send(tenant, self._undo, scope, _keys(key, tenant, home), self._undo.timeout_s)

    def _send(
        self,
        tenant: str,
        declared: HttpCall,
        scope: Scope,
        keys: Mapping[str, str],
        timeout_s: float,
    ) -> dict[str, Any]:
        try:
            body = render(declared.body, scope)
        except TemplateAbsent as absent:
            raise StepFailed("a value that the call needs is absent") from absent
        content = json_bytes(body)
        if len(content) > _MAX_BODY_BYTES:
            raise StepFailed("the call is too large")
        try:
            reply = self._http.exchange(
                tenant,
                declared.method,
                declared.url,
                body=content,
                headers={**_HEADERS, **keys},
                timeout_s=timeout_s,
                most_bytes=MAX_REPLY_BYTES,
            )
        except PeerFailed as error:
            if not error.asked:
                raise StepFailed("unreachable", retryable=True) from error
            if error.answered:
                raise StepFailed("reply cannot be taken", effect_possible=True) from error
            reason = "timed out" if error.late else "connection lost"
            raise StepFailed(reason, retryable=True, effect_possible=True) from error
        if not reply.ok:
            raise _failure(reply)
        return _result(reply)


def _keys(key: str, tenant: str, home: int) -> dict[str, str]:
    """The headers by which a receiver knows a repeat, and a former home that wakes."""
    keys = {"Idempotency-Key": key}
    if home:
        keys["MC-Home-Term"] = f'{home};tenant="{tenant}"'  # RFC 8941: an item and its parameter
    return keys


def effect_key_of(undo_key: str) -> str:
    """The idempotency key under which the effect ran that `undo_key` compensates."""
    return undo_key.removesuffix(":undo") + ":do"


def _failure(reply: Reply) -> StepFailed:
    status = reply.status
    if status >= _SERVER_ERROR or status in (_REQUEST_TIMEOUT, _TOO_EARLY, _TOO_MANY):
        what = "unavailable" if status >= _SERVER_ERROR else "not now"
        return StepFailed(
            f"{what} ({status})",
            retryable=True,
            effect_possible=status not in (_TOO_EARLY, _TOO_MANY),
            status=status,
            retry_after_s=_retry_after_s(reply),
        )
    if status >= _CLIENT_ERROR:
        return StepFailed(f"refused ({status})", status=status)
    served = status in (_FOUND, _SEE_OTHER)
    return StepFailed(f"redirected ({status})", effect_possible=served, status=status)


def _retry_after_s(reply: Reply) -> float:
    # The date form is ignored: the policy's own wait then holds
    text = reply.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _result(reply: Reply) -> dict[str, Any]:
    if not reply.body:
        return {}
    try:
        value = reply.json(most_depth=MOST_DEPTH_OF_RESULT)
    except NotJson as error:
        raise StepFailed(f"reply is {error.kind}", effect_possible=True) from error
    except NotKeepable as error:
        # The effect may well have happened: its receiver only tells it in a way that nobody can keep
        raise StepFailed(f"reply cannot be kept ({error.kind})", effect_possible=True) from error
    if not isinstance(value, dict):
        raise StepFailed("reply is not a json object", effect_possible=True)
    return value
