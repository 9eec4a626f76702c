"""Declared actions: an HTTP call and its compensating call.

Both carry `Idempotency-Key`, so a receiver that honours it applies an effect once however often the
call is repeated; a receiver that does not is at-least-once (docs/actions.md). Redirects are not
followed and proxies from the environment are not used: the catalogue's URL is the only destination.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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


class HttpClients:
    """HTTP clients for all declared actions of a process, each used by one thread at a time.

    One client shared by threads may close an idle connection that another thread was just given
    (https://github.com/encode/httpcore/issues/1110): a call then fails that nothing was wrong
    with. Clients are kept between calls, and so are their connections.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[httpx.Client] = []
        self._made: list[httpx.Client] = []
        self._tls = httpx.create_ssl_context(trust_env=False)

    @contextmanager
    def exclusive(self) -> Iterator[httpx.Client]:
        """A client that nobody else uses meanwhile."""
        with self._lock:
            client = self._idle.pop() if self._idle else self._make()
        try:
            yield client
        finally:
            with self._lock:
                self._idle.append(client)

    def close(self) -> None:
        """Close them all; a call under way fails."""
        with self._lock:
            made, self._made, self._idle = self._made, [], []
        for client in made:
            client.close()

    def _make(self) -> httpx.Client:
        client = httpx.Client(follow_redirects=False, trust_env=False, verify=self._tls)
        self._made.append(client)
        return client


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

    def __init__(self, do: HttpCall, undo: HttpCall, clients: HttpClients) -> None:
        self._do = do
        self._undo = undo
        self._clients = clients

    def do(self, input: Mapping[str, Any], key: str, most_s: float = math.inf) -> Mapping[str, Any]:
        """One attempt of the effect; it takes no longer than `most_s` seconds."""
        timeout_s = min(self._do.timeout_s, most_s)
        return _send(self._clients, self._do, Scope(input), key, timeout_s)

    def undo(
        self,
        input: Mapping[str, Any],
        result: Mapping[str, Any] | None,
        key: str,
    ) -> None:
        """One attempt of the compensation."""
        scope = Scope(input, result, effect_key_of(key))
        _send(self._clients, self._undo, scope, key, self._undo.timeout_s)


def effect_key_of(undo_key: str) -> str:
    """The idempotency key under which the effect ran that `undo_key` compensates."""
    return undo_key.removesuffix(":undo") + ":do"


def _send(
    clients: HttpClients, declared: HttpCall, scope: Scope, key: str, timeout_s: float
) -> dict[str, Any]:
    try:
        body = render(declared.body, scope)
    except TemplateAbsent as absent:
        raise StepFailed("a value that the call needs is absent") from absent
    # httpx bounds each read, not the whole reply; a reply that drips is cut off by this
    deadline = time.monotonic() + timeout_s
    try:
        with (
            clients.exclusive() as client,
            client.stream(
                declared.method,
                declared.url,
                json=body,
                headers={"Idempotency-Key": key, "Accept": "application/json"},
                timeout=timeout_s,
            ) as reply,
        ):
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
