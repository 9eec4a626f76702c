"""Calls to the operator's HTTP: operations of all tenants, and the autonomy switch.

The values are the service's JSON as it came; what they mean is in docs/operator.md. Nothing is
retried: whoever halts autonomy must know whether it was done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import quote

import httpx

from mc_ops.errors import CouldNotTell, Finding, NotAllowed, OpsError, UnusableInput

_TIMEOUT_S = 15.0
_REFUSED: dict[int, type[OpsError]] = {
    400: UnusableInput,
    401: NotAllowed,
    403: NotAllowed,
    404: UnusableInput,
    409: Finding,
}


class OperatorClient:
    """The operator's side of one service, by the token of an operator or auditor."""

    def __init__(
        self, url: str, *, token: str, transport: httpx.BaseTransport | None = None
    ) -> None:
        """Make a client; nothing is sent yet."""
        self.url = url.rstrip("/")
        self._http = httpx.Client(
            base_url=f"{self.url}/operator",
            headers={"Authorization": f"Bearer {token}"},
            timeout=_TIMEOUT_S,
            transport=transport,
            trust_env=False,
        )

    @classmethod
    @contextmanager
    def open(cls, url: str, *, token: str) -> Iterator[Self]:
        """A client that is closed at the end."""
        client = cls(url, token=token)
        try:
            yield client
        finally:
            client.close()

    def close(self) -> None:
        """Close its connections."""
        self._http.close()

    def operations(self, **wanted: str | None) -> dict[str, Any]:
        """A page of operations: `operations`, and `next` (None at the end).

        Args:
            wanted: `tenant`, `state`, `since`, `limit`, `before`; None is left out.

        Raises:
            UnusableInput, NotAllowed, CouldNotTell.
        """
        given = {key: value for key, value in wanted.items() if value is not None}
        return self._call("GET", "/operations", params=given)

    def operation(self, operation_id: str) -> dict[str, Any]:
        """One operation and its `timeline`; raises as `operations` does."""
        return self._call("GET", f"/operations/{_segment(operation_id)}")

    def cancel(self, operation_id: str, *, reason: str) -> dict[str, Any]:
        """Ask it to stop and compensate.

        Raises:
            Finding: it has ended.
            UnusableInput, NotAllowed, CouldNotTell.
        """
        body = {"reason": reason} if reason else {}
        return self._call("POST", f"/operations/{_segment(operation_id)}/cancel", json=body)

    def resolve(self, operation_id: str, *, mode: str, reason: str) -> dict[str, Any]:
        """Resolve a stuck operation; `mode` is `retry` or `accept`.

        Raises:
            Finding: it is not stuck.
            UnusableInput, NotAllowed, CouldNotTell.
        """
        body = {"mode": mode, "reason": reason}
        return self._call("POST", f"/operations/{_segment(operation_id)}/resolve", json=body)

    def autonomy(self) -> dict[str, Any]:
        """Where the switch stands: `at` and `scopes`; raises as `operations` does."""
        return self._call("GET", "/autonomy")

    def halt(self, scope: str, *, reason: str) -> dict[str, Any]:
        """Halt a tenant, or `*`; raises as `operations` does."""
        return self._call("POST", "/autonomy/halt", json={"scope": scope, "reason": reason})

    def resume(self, scope: str, *, reason: str) -> dict[str, Any]:
        """Resume a tenant, or `*`; raises as `operations` does."""
        return self._call("POST", "/autonomy/resume", json={"scope": scope, "reason": reason})

    def _call(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, **more)
        except httpx.HTTPError as error:
            raise CouldNotTell(
                f"{self.url} does not answer ({type(error).__name__})",
                hint="is it running? mcctl status",
            ) from error
        try:
            body = response.json()
        except ValueError:
            body = None
        if not response.is_success:
            raise _refusal(self.url, response.status_code, body)
        if not isinstance(body, dict):
            raise CouldNotTell(f"{self.url} answered {response.status_code} without a JSON object")
        return body


def _refusal(url: str, status: int, body: Any) -> OpsError:
    told = body.get("error") if isinstance(body, dict) else None
    told = told if isinstance(told, dict) else {}
    kind = _REFUSED.get(status, CouldNotTell)
    message = str(told.get("message") or f"no reason given, HTTP {status}")
    if status == httpx.codes.NOT_FOUND and not told:
        kind, message = CouldNotTell, f"{url} has no operator's interface (HTTP 404)"
    return kind(message, hint=str(told.get("hint") or ""))


def _segment(text: str) -> str:
    # An id of dots alone would be a path of another route
    if not text.strip(".") or len(text) > 128:
        raise UnusableInput("an operation's id has 1 to 128 characters")
    return quote(text, safe="")
