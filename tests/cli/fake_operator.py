"""A service with an operator's interface, small enough to read: real HTTP, memory behind it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.loopback import serving_json

AT = "2026-05-06T12:00:00+00:00"


def event(index: int, kind: str, second: float, **detail: Any) -> dict[str, Any]:
    """An event of a timeline, `second` seconds after noon."""
    at = f"2026-05-06T12:00:{second:06.3f}+00:00"
    return {
        "index": index,
        "id": f"e-{index}",
        "kind": kind,
        "occurred_at": at,
        "recorded_at": at,
        "detail": detail,
    }


def operation(state: str = "running", **more: Any) -> dict[str, Any]:
    """An operation as the service tells it."""
    running = {"phase": "running", "replica": "blue-2", "version": "1.0"}
    return {
        "id": "op-1",
        "tenant": "TENANT_001",
        "principal": "agent@tenant-001",
        "operation": "place-order",
        "state": state,
        "canceled": False,
        "started_at": AT,
        "updated_at": "2026-05-06T12:00:02.500000+00:00",
        "effects": None if state == "running" else 2,
        "effects_undone": None if state == "running" else 1,
        "said": "" if state == "running" else f"operation {state}",
        "engine": running if state == "running" else None,
        **more,
    }


class FakeOperator:
    """What it answers, and what it was asked.

    Attributes:
        story: The answers to "show", one after the other; the last stays.
        asked: Method, path, query and body of every request.
        refusal: Status and error with which everything is refused, if any.
        reason: Why the switch was thrown.
        resolution: How a resolution ends.
        found: The operations that a list has.
    """

    token = "mc_0123456789ab_" + "s" * 43

    def __init__(self) -> None:
        self.story: list[dict[str, Any]] = [{"operation": operation(), "timeline": []}]
        self.asked: list[tuple[str, str, dict[str, list[str]], Any]] = []
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.halted: dict[str, bool] = {}
        self.reason = "orders go wrong"
        self.resolution: dict[str, Any] = {"resolved": True, "attempt": 1, "standing": []}
        self.found = [operation(), operation("stuck", id="op-2")]

    def answer(self, method: str, target: str, body: Any, token: str) -> tuple[int, Any]:
        """Status and JSON."""
        parts = urlsplit(target)
        self.asked.append((method, parts.path, parse_qs(parts.query), body))
        if token != f"Bearer {self.token}":
            return 401, {"error": {"message": "the credential is missing or not valid"}}
        if self.refusal:
            return self.refusal
        path = parts.path.removeprefix("/operator")
        if path == "/operations":
            return 200, {"operations": self.found, "next": "t~x" if self.found else None}
        if path == "/autonomy":
            return 200, {
                "at": AT,
                "breaker": {
                    "enabled": True,
                    "ratio": 0.005,
                    "min_operations": 100,
                    "window_s": 86400,
                },
                "scopes": self._scopes(),
            }
        if path == "/homes":
            regions = [{"region": f"local-{n}", "renewed_s_ago": 0.2} for n in (1, 2)]
            home = {"tenant": "TENANT_001", "region": "local-1", "term": 3, "bound_for": None}
            home |= {"from_region": None, "principal": "operator@platform", "reason": "first"}
            return 200, {
                "region": "local-1",
                "decided_by": "arbiter",
                "regions": regions,
                "homes": [home],
            }
        if path.startswith("/autonomy/"):
            return 200, self._throw(body, halted=path.endswith("halt"))
        if path.endswith("/cancel"):
            return 202, {"operation": "op-1", "cancel_requested": True}
        if path.endswith("/resolve"):
            told = {"operation": "op-1", "mode": body["mode"], "resolution": self.resolution}
            return 202, told
        return 200, self.story.pop(0) if len(self.story) > 1 else self.story[0]

    def _throw(self, body: Any, *, halted: bool) -> dict[str, Any]:
        scope = body["scope"]
        changed = self.halted.get(scope, False) != halted
        self.halted[scope] = halted
        return {
            "scope": scope,
            "changed": changed,
            "halted": halted,
            "switch": self._switch(scope),
        }

    def _switch(self, scope: str) -> dict[str, Any] | None:
        if scope not in self.halted:
            return None
        return {
            "id": "s",
            "halted": self.halted[scope],
            "reason": self.reason,
            "principal": "operator@platform",
            "source": "operator",
            "at": "2026-05-06T11:00:00+00:00",
        }

    def _scopes(self) -> list[dict[str, Any]]:
        return [
            {
                "scope": scope,
                "halted": self.halted.get(scope, False) or self.halted.get("*", False),
                "by": "*" if self.halted.get("*") else scope if self.halted.get(scope) else None,
                "switch": self._switch(scope),
                "ended": 200 if scope != "CANARY" else None,
                "compensated": 3 if scope != "CANARY" else None,
            }
            for scope in ("*", "CANARY", "TENANT_001")
        ]


def serving(fake: FakeOperator) -> AbstractContextManager[str]:
    """Serve on a free port; gives the URL."""
    return serving_json(fake.answer)
