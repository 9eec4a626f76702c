"""Declared actions: an HTTP call and its compensating call.

Both carry `Idempotency-Key`, so a receiver that honours it applies an effect once however often the
call is repeated; a receiver that does not is at-least-once (docs/actions.md). Redirects are not
followed and proxies from the environment are not used: the catalogue's URL is the only destination.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from typing import Any

import httpx

from mc_platform.enact.calls import StepFailed
from mc_platform.enact.templates import Scope, TemplateAbsent, problems, render
from mc_platform.model.catalogue import ActionSpec, HttpCall

_MAX_REPLY_BYTES = 64 * 1024
_MAX_TIMEOUT_S = 60.0
_METHODS = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_REQUEST_TIMEOUT, _TOO_EARLY, _TOO_MANY = 408, 425, 429
_CLIENT_ERROR, _SERVER_ERROR = 400, 500


def http_client(max_connections: int) -> httpx.Client:
    """The client that all declared actions of a process share; it is safe between threads."""
    return httpx.Client(
        follow_redirects=False,
        trust_env=False,
        limits=httpx.Limits(max_connections=max_connections),
    )


def spec_problems(spec: ActionSpec) -> list[str]:
    """Everything that is wrong with a declared action, each as one clause."""
    found: list[str] = []
    for phase, declared in (("do", spec.do), ("undo", spec.undo)):
        if declared is None:
            found.append(f"`{phase}` is missing: every step has an effect and a compensation")
            continue
        found += [f"{phase}: {problem}" for problem in _call_problems(declared)]
        found += [
            f"{phase}: {problem}" for problem in problems(declared.body, undo=phase == "undo")
        ]
    return found


def _call_problems(declared: HttpCall) -> list[str]:
    found = []
    if declared.method not in _METHODS:
        found.append(f"method {declared.method!r} is none of {', '.join(sorted(_METHODS))}")
    try:
        url = httpx.URL(declared.url)
    except httpx.InvalidURL:
        found.append(f"url {declared.url!r} cannot be parsed")
    else:
        if "{" in declared.url:
            found.append(f"url {declared.url!r} has an unresolved placeholder")
        elif url.scheme not in ("http", "https") or not url.host:
            found.append(f"url {declared.url!r} is not an absolute http(s) URL")
    if not (math.isfinite(declared.timeout_s) and 0 < declared.timeout_s <= _MAX_TIMEOUT_S):
        found.append(
            f"timeout_s is {declared.timeout_s}, must be above 0 and at most {_MAX_TIMEOUT_S}"
        )
    return found


class HttpAction:
    """Implements `PythonAction` by the two calls of an `ActionSpec`."""

    def __init__(self, do: HttpCall, undo: HttpCall, client: httpx.Client) -> None:
        self._do = do
        self._undo = undo
        self._client = client

    def do(self, input: Mapping[str, Any], key: str) -> Mapping[str, Any]:
        """One attempt of the effect."""
        return _send(self._client, self._do, Scope(input), key)

    def undo(
        self,
        input: Mapping[str, Any],
        result: Mapping[str, Any] | None,
        key: str,
    ) -> None:
        """One attempt of the compensation."""
        _send(self._client, self._undo, Scope(input, result, effect_key_of(key)), key)


def effect_key_of(undo_key: str) -> str:
    """The idempotency key under which the effect ran that `undo_key` compensates."""
    return undo_key.removesuffix(":undo") + ":do"


def _send(client: httpx.Client, declared: HttpCall, scope: Scope, key: str) -> dict[str, Any]:
    try:
        body = render(declared.body, scope)
    except TemplateAbsent as absent:
        raise StepFailed("a value that the call needs is absent") from absent
    # httpx bounds each read, not the whole reply; a reply that drips is cut off by this
    deadline = time.monotonic() + declared.timeout_s
    try:
        with client.stream(
            declared.method,
            declared.url,
            json=body,
            headers={"Idempotency-Key": key, "Accept": "application/json"},
            timeout=declared.timeout_s,
        ) as reply:
            content = b""
            for chunk in reply.iter_bytes():
                content += chunk
                if time.monotonic() > deadline:
                    raise StepFailed("timed out", retryable=True, effect_possible=True)
                if len(content) > _MAX_REPLY_BYTES:
                    raise StepFailed("reply too large", effect_possible=True)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise StepFailed("unreachable", retryable=True) from error
    except httpx.TimeoutException as error:
        raise StepFailed("timed out", retryable=True, effect_possible=True) from error
    except httpx.HTTPError as error:
        raise StepFailed("connection lost", retryable=True, effect_possible=True) from error
    if not reply.is_success:
        raise _failure(reply)
    return _result(content)


def _failure(reply: httpx.Response) -> StepFailed:
    status = reply.status_code
    if status >= _SERVER_ERROR:
        return StepFailed(
            f"unavailable ({status})",
            retryable=True,
            effect_possible=True,
            status=status,
            retry_after_s=_retry_after_s(reply),
        )
    if status in (_REQUEST_TIMEOUT, _TOO_EARLY, _TOO_MANY):
        return StepFailed(
            f"not now ({status})",
            retryable=True,
            effect_possible=status == _REQUEST_TIMEOUT,
            status=status,
            retry_after_s=_retry_after_s(reply),
        )
    word = "refused" if status >= _CLIENT_ERROR else "redirected"
    return StepFailed(f"{word} ({status})", status=status)


def _retry_after_s(reply: httpx.Response) -> float:
    # The date form is ignored: the policy's own wait then holds
    text = reply.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _result(content: bytes) -> dict[str, Any]:
    if not content:
        return {}
    try:
        value = json.loads(content)
    except ValueError as error:
        raise StepFailed("reply is not json", effect_possible=True) from error
    if not isinstance(value, dict):
        raise StepFailed("reply is not a json object", effect_possible=True)
    return value
