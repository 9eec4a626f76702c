"""The HTTP of the judge: a measurement for Argo Rollouts, three webhooks for Flagger.

    POST /v1/measurement       Argo's web metric provider: {"comparison", "run"}; 200 with the verdict
    POST /v1/flagger/begin     webhook `pre-rollout` or `rollout`: 200 unless the verdict is hold
    POST /v1/flagger/promote   webhook `confirm-promotion`: 200 for promote alone
    POST /v1/flagger/rollback  webhook `rollback`: 200 for hold alone
    GET  /healthz              whether the server answers; to anybody

Everything else takes the token: as a bearer token, or as the password of HTTP Basic, since Flagger can
send no header and Go's client makes one of a URL's user part. What is not understood is refused.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from mc_contract.configuration import FileProblems, json_of
from mc_ops.canary.serve.comparisons import HOLD, PROMOTE, Comparisons, State
from mc_ops.errors import OpsError

_LARGEST_BODY = 16 * 1024
_BODY_S = 10.0
_AT_ONCE = 32
_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ANYBODY = "/healthz"
_log = logging.getLogger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Refused(Exception):
    """An answer that is none of the verdicts."""

    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.hint = status, code, message, hint

    def answer(self) -> web.Response:
        """As JSON."""
        headers = {
            401: {"WWW-Authenticate": 'Bearer realm="mc-canary"'},
            503: {"Retry-After": "5"},
        }
        error = {"code": self.code, "message": self.message, "hint": self.hint}
        return web.json_response(
            {"error": {key: value for key, value in error.items() if value}},
            status=self.status,
            headers=headers.get(self.status),
        )


@dataclass(slots=True)
class Judge:
    """Answers both protocols.

    Attributes:
        token: Gives the token that counts now; raises `OpsError` if there is none.
    """

    comparisons: Comparisons
    token: Callable[[], str]
    _places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def application(self) -> web.Application:
        """The routes, behind bounds and the token."""
        app = web.Application(client_max_size=_LARGEST_BODY, middlewares=[self._guard])
        app.add_routes(
            [
                web.get(_ANYBODY, self._healthy),
                web.post("/v1/measurement", self._measure),
                web.post("/v1/flagger/begin", self._begin),
                web.post("/v1/flagger/promote", self._promote),
                web.post("/v1/flagger/rollback", self._rollback),
            ]
        )
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        if self._places.locked():
            return _Refused(503, "busy", f"{_AT_ONCE} requests are under way").answer()
        async with self._places:
            try:
                if request.path != _ANYBODY:
                    self._authenticate(request)
                return await handler(request)
            except _Refused as refused:
                return refused.answer()
            except web.HTTPException as error:
                code = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}
                name = code.get(error.status, "refused")
                return _Refused(error.status, name, error.reason).answer()
            except (OpsError, OSError) as error:
                # Paths and settings are the operator's to read, and nobody else's
                _log.warning("%s: %s", request.path, error)
                message = "the judge cannot read or write what it needs; its log has the reason"
                return _Refused(503, "could-not-tell", message).answer()

    def _authenticate(self, request: web.Request) -> None:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode().partition(":")[2]
            except ValueError:
                given = ""
        elif scheme.lower() != "bearer":
            given = ""
        # A header's bytes need not be UTF-8; such ones are no token, and no error of the judge's
        if not hmac.compare_digest(given.encode(errors="surrogateescape"), self.token().encode()):
            raise _Refused(401, "not-authenticated", "the token is missing or wrong")

    async def _healthy(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _measure(self, request: web.Request) -> web.Response:
        asked = await _object(request)
        if unknown := set(asked) - {"comparison", "run"}:
            raise _Refused(400, "bad-request", f"unknown: {', '.join(sorted(unknown))[:200]}")
        name, run = asked.get("comparison"), asked.get("run")
        state = await self._look(name, run)
        begun = None if state.begun_at is None else state.begun_at.isoformat(timespec="seconds")
        return web.json_response(
            {
                "schema_version": 1,
                "comparison": name,
                "run": run,
                "verdict": state.verdict,
                "final": state.final,
                "reason": state.reason,
                "begun_at": begun,
                "measurement": state.measurement,
            }
        )

    async def _begin(self, request: web.Request) -> web.Response:
        state = await self._flagger(request)
        return _gate(state, passes=state.verdict != HOLD)

    async def _promote(self, request: web.Request) -> web.Response:
        state = await self._flagger(request)
        return _gate(state, passes=state.verdict == PROMOTE)

    async def _rollback(self, request: web.Request) -> web.Response:
        # Asked from the first second on: it never begins what the canary is not ready for
        state = await self._flagger(request, begin=False)
        return _gate(state, passes=state.verdict == HOLD)

    async def _flagger(self, request: web.Request, *, begin: bool = True) -> State:
        """What the payload of a webhook asks for: metadata.comparison, of the canary's checksum.

        Members that a later Flagger adds are not looked at.
        """
        asked = await _object(request)
        metadata = asked.get("metadata")
        if not isinstance(metadata, dict):
            raise _Refused(
                400, "bad-request", "metadata is missing", "metadata: {comparison: NAME}"
            )
        run = metadata.get("run", asked.get("checksum"))
        return await self._look(metadata.get("comparison"), run, begin=begin)

    async def _look(self, name: object, run: object, *, begin: bool = True) -> State:
        if not isinstance(name, str) or name not in self.comparisons.known:
            raise _Refused(404, "not-found", "no such comparison", "[comparison.NAME] of --config")
        if not isinstance(run, str) or not _RUN.fullmatch(run):
            raise _Refused(
                400,
                "bad-request",
                "run must be up to 63 letters, digits, . _ or -",
                "the pod template's hash; Flagger's checksum, or metadata.run",
            )
        async with self._turn:
            return await asyncio.to_thread(self.comparisons.look, name, run, begin=begin)


async def _object(request: web.Request) -> dict[str, Any]:
    try:
        async with asyncio.timeout(_BODY_S):
            raw = await request.read()
        asked = json_of(raw, most_bytes=_LARGEST_BODY)
    except TimeoutError:
        raise _Refused(408, "too-slow", f"the body took over {_BODY_S:g} s") from None
    except FileProblems as error:
        raise _Refused(400, "bad-request", f"the body: {error}") from None
    if not isinstance(asked, dict):
        raise _Refused(400, "bad-request", "the body must be a JSON object")
    return asked


def _gate(state: State, *, passes: bool) -> web.Response:
    """200, or 409 with what Flagger writes into its events."""
    text = f"{state.verdict}: {state.reason}\n"
    return web.Response(status=200 if passes else 409, text=text)


async def serve(judge: Judge, *, host: str, port: int, stop: asyncio.Event) -> None:
    """Serve until `stop`; then end what runs.

    Raises:
        OSError: the address is taken, or not ours.
    """
    runner = web.AppRunner(
        judge.application(), access_log=None, keepalive_timeout=15.0, shutdown_timeout=5.0
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        await stop.wait()
    finally:
        await runner.cleanup()
        await asyncio.to_thread(judge.comparisons.close)
