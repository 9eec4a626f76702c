"""The canary's override over HTTP: who may, what is recorded, and that it is recorded once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from tests.fakes import handler_fields

from mc_platform.adapters.cedar.decision_point import CedarDecisionPoint
from mc_platform.errors import PlatformError, Unavailable
from mc_platform.model.event import Kind, Recorded
from mc_platform.model.tenant import PLATFORM, Principal, Role, Tenant
from mc_platform.query import CanaryHandlers

NOW = datetime(2026, 5, 6, 12, 0, 0, tzinfo=UTC)
POINT = CedarDecisionPoint.load(Path(__file__).parents[4] / "policies")
PLATFORM_TENANT = Tenant(PLATFORM, "eu", frozenset(), frozenset(), 0, generally_available=False)
SIDE = {"requests": 3000, "failed": 0, "p95_us": 10_000}
BODY = {
    "run": "day-0-x",
    "release": "v1",
    "reason": "known, joe@example.com agrees",
    "kind": "regressed",
    "rehearsal": True,
    "margin_ppm": 250_000,
    "regression_ppm": 312_000,
    "baseline": SIDE,
    "candidate": {**SIDE, "p95_us": None},
    "digests": {"verdict": "a" * 64, "base": "b" * 64, "cand": "c" * 64},
}


class MemoryJournal:
    """A ledger in memory: an id that is there already is not recorded again."""

    def __init__(self):
        self.events = []
        self.down = False

    async def record(self, events, task=None):
        if self.down:
            raise Unavailable("the ledger cannot be written")
        places = []
        for event in events:
            known = [one.id for one in self.events]
            fresh = event.id not in known
            if fresh:
                self.events.append(event)
            index = len(known) if fresh else known.index(event.id)
            places.append(Recorded(event.id, index, fresh))
        return places


class Api:
    """The route over memory, called by whoever `who` says in `role`."""

    def __init__(self):
        self.journal = MemoryJournal()
        self.role, self.who = Role.operator, "ann"
        handlers = CanaryHandlers(
            **handler_fields(
                principal_of=self._principal,
                tenants={
                    PLATFORM: PLATFORM_TENANT,
                    "TENANT_001": replace(PLATFORM_TENANT, id="TENANT_001"),
                },
                decisions=POINT,
                journal=self.journal,
                redact=lambda text: text.replace("joe@example.com", "[email]"),
            )
        )
        app = Starlette(routes=handlers.routes(), exception_handlers={PlatformError: self._told})
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://api")

    def _principal(self, _request):
        tenant = "TENANT_001" if self.role == Role.agent else PLATFORM
        return Principal(f"{self.who}@x", tenant, "0" * 12, self.role)

    @staticmethod
    async def _told(_request, error):
        return JSONResponse({"error": error.as_dict()}, status_code=error.http_status)

    async def override(self, **changed):
        answer = await self.http.post("/operator/canary/override", json=BODY | changed)
        return answer.status_code, answer.json()


@pytest.fixture
def api():
    return Api()


async def test_an_override_is_recorded_with_who_why_and_what(api):
    """Principal, decision, screened reason, figures and digests, under the platform's name."""
    status, body = await api.override()
    [event] = api.journal.events
    assert (status, body["fresh"], body["index"]) == (201, True, 0)
    assert body["event_id"] == event.id
    assert body["principal"] == "ann@x"
    assert body["reason"] == "known, [email] agrees"
    assert (event.kind, event.tenant) == (Kind.canary_overridden, PLATFORM)
    told = event.detail
    assert (told["principal"], told["reason"]) == ("ann@x", "known, [email] agrees")
    assert (told["run"], told["subject"], told["release"]) == ("day-0-x", "day-0-x", "v1")
    assert told["digests"] == BODY["digests"]
    assert told["candidate"] == {**SIDE, "p95_us": None}
    assert told["allowed"] is True
    assert told["policies"] == ["operators-override-the-canary"]


async def test_a_verdict_is_overridden_once(api):
    """The second is answered with the first's place, and nothing of it is recorded."""
    _, first = await api.override()
    api.who = "bob"
    status, second = await api.override(reason="me too", run="another-name")
    assert (status, second["fresh"]) == (200, False)
    assert (second["event_id"], second["index"]) == (first["event_id"], first["index"])
    [event] = api.journal.events
    assert event.detail["principal"] == "ann@x"
    await api.override(digests={**BODY["digests"], "verdict": "d" * 64})
    assert len(api.journal.events) == 2


async def test_what_is_not_recorded_is_not_overridden(api):
    """A ledger that cannot be written: 503, nothing else."""
    api.journal.down = True
    status, body = await api.override()
    assert (status, "event_id" in body) == (503, False)


@pytest.mark.parametrize("role", [Role.agent, Role.auditor, Role.alertmanager])
async def test_only_an_operator_overrides(api, role):
    """403 for every other role, and the refusal is what the ledger gets."""
    api.role = role
    status, body = await api.override()
    assert (status, body["error"]["code"]) == (403, "policy-denied")
    [refused] = api.journal.events
    assert refused.kind is Kind.request_refused
    assert refused.detail["action"] == "OverrideCanary"


@pytest.mark.parametrize(
    "changed",
    [
        {"reason": ""},
        {"reason": " \t\n "},
        {"reason": "x" * 201},
        {"kind": "promoted"},
        {"kind": "promoted\n"},
        {"kind": "Regressed!"},
        {"run": "../../etc"},
        {"run": ""},
        {"run": "a\n"},
        {"release": "v1 <b>"},
        {"margin_ppm": 0.25},
        {"margin_ppm": True},
        {"margin_ppm": 10**12},
        {"baseline": {"requests": -1, "failed": 0, "p95_us": 1}},
        {"candidate": {"requests": 1}},
        {"digests": {**BODY["digests"], "verdict": "A" * 64}},
        {"digests": {**BODY["digests"], "verdict": "a" * 64 + "\n"}},
        {"digests": {"verdict": "a" * 64}},
        {"more": 1},
    ],
)
async def test_what_cannot_be_recorded_is_refused(api, changed):
    """400, and the ledger has nothing: no reason, a PROMOTE, odd names, floats, other fields."""
    status, body = await api.override(**changed)
    assert (status, body["error"]["code"]) == (400, "bad-request")
    assert api.journal.events == []
