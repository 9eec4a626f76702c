"""Calls to the operator's HTTP: operations of all tenants, the autonomy switch, break-glass.

The values are the service's JSON as it came; what they mean is in docs/reference/operator.md. Nothing is
retried: whoever halts autonomy must know whether it was done.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import httpx

from mc_ops.errors import CouldNotTell, Finding, NotAllowed, OpsError, UnusableInput
from mc_ops.service_client.http import HttpClient

_REFUSED: dict[int, type[OpsError]] = {
    400: UnusableInput,
    401: NotAllowed,
    403: NotAllowed,
    404: UnusableInput,
    409: Finding,
}


class OperatorClient(HttpClient):
    """The operator's side of one service, by the token of an operator or auditor."""

    TIMEOUT_S = 15.0

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

    def homes(self) -> dict[str, Any]:
        """Tenants' `homes`, `regions`, this `region`, who it is `decided_by`; raises as `operations` does."""
        return self._call("GET", "/homes")

    def move_home(
        self, tenant: str, *, to: str, reason: str, force: bool = False
    ) -> dict[str, Any]:
        """Have a tenant's home given up for another region; `force`: or taken by the region that is asked.

        Raises:
            Finding: it is there already, or that region could not take it.
            UnusableInput, NotAllowed, CouldNotTell.
        """
        body = {"tenant": tenant, "to": to, "reason": reason} | ({"force": True} if force else {})
        return self._call("POST", "/homes/move", json=body)

    def grants(self) -> dict[str, Any]:
        """The newest break-glass grants: `grants`; raises as `operations` does."""
        return self._call("GET", "/break-glass")

    def ask_break_glass(self, tenant: str, *, minutes: int, reason: str) -> dict[str, Any]:
        """Ask for a way into a tenant's data: the pending grant; raises as `operations` does."""
        body = {"tenant": tenant, "minutes": minutes, "reason": reason}
        return self._call("POST", "/break-glass", json=body)

    def approve_break_glass(self, grant_id: str, *, reason: str) -> dict[str, Any]:
        """Open another operator's pending grant.

        Raises:
            Finding: it is one's own, or no longer pending.
            UnusableInput, NotAllowed, CouldNotTell.
        """
        path = f"/break-glass/{_segment(grant_id)}/approve"
        return self._call("POST", path, json={"reason": reason})

    def end_break_glass(self, grant_id: str, *, reason: str) -> dict[str, Any]:
        """Close a grant before its time.

        Raises:
            Finding: it is closed already.
            UnusableInput, NotAllowed, CouldNotTell.
        """
        path = f"/break-glass/{_segment(grant_id)}/end"
        return self._call("POST", path, json={"reason": reason})

    def tenant_task(self, tenant: str, task_id: str) -> dict[str, Any]:
        """A tenant's task, which needs an active grant; raises as `operations` does."""
        return self._call("GET", f"/tenants/{_segment(tenant)}/tasks/{_segment(task_id)}")

    def override_canary(
        self, canary: dict[str, Any], *, release: str, reason: str
    ) -> dict[str, Any]:
        """Record that a canary's HOLD is overridden.

        Args:
            canary: `run`, `kind`, `rehearsal`, `margin_ppm`, `regression_ppm`, `baseline`,
                `candidate` and `digests`, as docs/reference/operator.md tells.

        Returns:
            `event_id`, `index`, `fresh` (False: it was overridden before, and that is the place),
            `principal`, and `reason` as it is recorded.

        Raises:
            UnusableInput, NotAllowed, CouldNotTell.
        """
        body = {**canary, "release": release, "reason": reason}
        return self._call("POST", "/canary/override", json=body)

    def dead_letters(self, *, after: str | None = None, request: str | None) -> dict[str, Any]:
        """A page of `dead_letters`, those of one request if it is named; raises as `operations`."""
        given = {"after": after, "request": request}
        return self._call(
            "GET", "/dead-letters", params={k: v for k, v in given.items() if v is not None}
        )

    def resend_dead_letters(self, *, reason: str, **selection: Any) -> dict[str, Any]:
        """Have dead letters sent again: `request`, `asked`, `waiting`; raises as `operations`.

        Args:
            selection: `all`, `event_ids`, or `since` and `until`.
        """
        body = {key: value for key, value in selection.items() if value is not None}
        return self._call("POST", "/dead-letters/resend", json={"reason": reason, **body})

    def declare_rules(self, kind: str, digest: str, *, reason: str) -> dict[str, Any]:
        """Say which policy set, catalogue or keyring comes into force; raises as `operations` does."""
        body = {"kind": kind, "digest": digest, "reason": reason}
        return self._call("POST", "/rules/declare", json=body)

    def keys(self) -> dict[str, Any]:
        """The keys in use, without secrets; raises as `operations` does."""
        return self._call("GET", "/keys")

    def credentials(self, tenant: str | None) -> dict[str, Any]:
        """All `credentials`, or a tenant's; raises as `operations` does."""
        return self._call("GET", "/credentials", params={"tenant": tenant} if tenant else {})

    def tenants(self) -> dict[str, Any]:
        """The catalogue's `tenants`; raises as `operations` does."""
        return self._call("GET", "/tenants")

    def create_credential(self, **asked: Any) -> dict[str, Any]:
        """Make one: what it is, and its `token`; None is left out. Raises as `operations` does."""
        given = {key: value for key, value in asked.items() if value is not None}
        return self._call("POST", "/credentials", json=given)

    def rotate_credential(
        self, key_id: str, *, reason: str, overlap_s: int, expires_in_s: int | None
    ) -> dict[str, Any]:
        """Make one like another, which ends.

        Raises:
            Finding: it has ended already.
            UnusableInput, NotAllowed, CouldNotTell.
        """
        body: dict[str, Any] = {"reason": reason, "overlap_s": overlap_s}
        if expires_in_s is not None:
            body["expires_in_s"] = expires_in_s
        return self._call("POST", f"/credentials/{_segment(key_id)}/rotate", json=body)

    def revoke_credential(self, key_id: str, *, reason: str) -> dict[str, Any]:
        """End one now.

        Raises:
            Finding: it is revoked already.
            UnusableInput, NotAllowed, CouldNotTell.
        """
        return self._call(
            "POST", f"/credentials/{_segment(key_id)}/revoke", json={"reason": reason}
        )

    def reveal(self, text: str, *, reason: str, tenant: str, purpose: str) -> dict[str, Any]:
        """A text with its pseudonyms opened: `text`, `opened`, `decision_id`.

        Raises:
            Finding: the platform has no key for pseudonyms.
            UnusableInput, NotAllowed, CouldNotTell.
        """
        body = {"text": text, "reason": reason, "tenant": tenant, "purpose": purpose}
        return self._send("POST", "/privacy/reveal", json=body)

    def _call(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        return self._send(method, f"/operator{path}", **more)

    def _send(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        response = self.reach(method, path, **more)
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
        kind, message = CouldNotTell, f"{url} has no operator interface (HTTP 404)"
    return kind(message, hint=str(told.get("hint") or ""))


def _segment(text: str) -> str:
    # An id of dots alone would be a path of another route
    if not text.strip(".") or len(text) > 128:
        raise UnusableInput("an id has 1 to 128 characters")
    return quote(text, safe="")
