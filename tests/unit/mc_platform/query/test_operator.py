"""The operator's HTTP: who may do what, what is recorded first, and what Alertmanager can stop."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from tests.fakes import handler_fields

from mc_platform.adapters.cedar.decision_point import CedarDecisionPoint
from mc_platform.enact import ResolutionReport
from mc_platform.enact.breaker import Count
from mc_platform.errors import PlatformError
from mc_platform.model.autonomy import ALL, AutonomyStatus, Source, Switch, Thrown
from mc_platform.model.engine_state import EngineState, Phase
from mc_platform.model.event import Kind, LedgerRow
from mc_platform.model.operation_view import (
    OperationState,
    OperationStory,
    OperationView,
)
from mc_platform.model.tenant import PLATFORM, Principal, Role, Tenant
from mc_platform.query.operator import OperatorHandlers

NOW = datetime(2026, 5, 6, 12, 0, 0, tzinfo=UTC)
POINT = CedarDecisionPoint.load(Path(__file__).parents[4] / "policies")
PLATFORM_TENANT = Tenant(PLATFORM, "eu", frozenset(), frozenset(), 0, generally_available=False)
TENANT = replace(PLATFORM_TENANT, id="TENANT_001")


def _view(state=OperationState.running, **more):
    fields = {
        "id": "op-1",
        "tenant": "TENANT_001",
        "principal": "agent@tenant-001",
        "operation": "place-order",
        "state": state,
        "started_at": NOW,
        "updated_at": NOW,
        "said": "",
        "governance": {"steps": [{"action": "reserve"}], "effects": 1, "effects_undone": 0},
    }
    return OperationView(**{**fields, **more})


class MemoryOperations:
    """Operations in memory; keeps what it was asked."""

    def __init__(self):
        self.views = {"op-1": _view()}
        self.asked = None

    async def page(self, wanted):
        self.asked = wanted
        return list(self.views.values())[: wanted.limit]

    async def story(self, operation_id):
        view = self.views.get(operation_id)
        leaf = {
            "id": "e-1",
            "kind": "step.done",
            "occurred_at": NOW.isoformat(),
            "detail": {"step": 0},
        }
        return view and OperationStory(view, [LedgerRow(7, NOW, leaf)])


class MemoryEngine:
    """An engine that keeps what was asked of it, and what stood in the ledger by then."""

    def __init__(self, journal):
        self._journal = journal
        self.done = []
        self.running = True

    async def states(self, operation_ids):
        return {name: EngineState(Phase.running, "blue-2", "1.0") for name in operation_ids}

    async def cancel(self, operation_id):
        self.done.append(("cancel", operation_id, len(self._journal.events)))
        return self.running

    async def resolve(self, operation_id, *, mode, principal, reason):
        self.done.append((mode, operation_id, len(self._journal.events), principal, reason))
        return ResolutionReport(operation_id, 1, mode, True, ())


class MemoryJournal:
    """A ledger in memory."""

    def __init__(self):
        self.events = []

    async def record(self, events, task=None):
        self.events += events


class MemoryAutonomy:
    """The switch in memory, with the rules of the port."""

    def __init__(self):
        self.switches = {}

    async def halted(self, tenant):
        return (await self.status()).halt_of(tenant)

    async def status(self):
        return AutonomyStatus(NOW, dict(self.switches))

    async def set(self, scope, *, halted, reason, principal, source, unless_resumed_since=None):
        before = self.switches.get(scope)
        if (before.halted if before else False) == halted:
            return Thrown(before, changed=False)
        if before and unless_resumed_since and before.at >= unless_resumed_since:
            return Thrown(before, changed=False)
        self.switches[scope] = Switch(uuid.uuid4(), scope, halted, reason, principal, source, NOW)
        return Thrown(self.switches[scope], changed=True)


class Api:
    """The routes over memory, called by whoever `role` says."""

    def __init__(self):
        self.journal = MemoryJournal()
        self.operations = MemoryOperations()
        self.engine = MemoryEngine(self.journal)
        self.autonomy = MemoryAutonomy()
        self.role = Role.operator
        handlers = OperatorHandlers(
            **handler_fields(
                principal_of=self._principal,
                tenants={PLATFORM: PLATFORM_TENANT, "TENANT_001": TENANT},
                decisions=POINT,
                journal=self.journal,
                redact=lambda text: text.replace("joe@example.com", "[email]"),
            ),
            operations=self.operations,
            engine=self.engine,
            autonomy=self.autonomy,
            figures=self._figures,
            breaker={"enabled": True},
            tenants=frozenset({"TENANT_001", "TENANT_002"}),
        )
        app = Starlette(routes=handlers.routes(), exception_handlers={PlatformError: self._told})
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://api")

    def _principal(self, _request):
        tenant = "TENANT_001" if self.role == Role.agent else PLATFORM
        return Principal(f"{self.role}@x", tenant, "0" * 12, self.role)

    async def _figures(self, _status):
        return {ALL: Count(200, 3), "TENANT_001": Count(100, 3)}

    @staticmethod
    async def _told(_request, error):
        return JSONResponse({"error": error.as_dict()}, status_code=error.http_status)

    async def get(self, path):
        answer = await self.http.get(f"/operator/{path}")
        return answer.status_code, answer.json()

    async def post(self, path, body):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = await self.http.post(f"/operator/{path}", content=content)
        return answer.status_code, answer.json()


@pytest.fixture
def api():
    return Api()


GETS = ["operations", "operations/op-1", "autonomy"]
POSTS = {
    "operations/op-1/cancel": {},
    "operations/op-1/resolve": {"mode": "retry", "reason": "x"},
    "autonomy/halt": {"scope": "*", "reason": "x"},
    "autonomy/resume": {"scope": "*", "reason": "x"},
    "alertmanager": {"version": "4", "alerts": []},
}
MAY = {
    Role.agent: set(),
    Role.auditor: set(GETS),
    Role.alertmanager: {"autonomy/halt", "alertmanager"},
}


@pytest.mark.parametrize("role", list(MAY))
@pytest.mark.parametrize("path", [*GETS, *POSTS])
async def test_a_role_can_do_what_it_is_for_and_nothing_else(api, role, path):
    """An agent's token opens none of it; an auditor's reads; an alert's can only halt."""
    api.role = role
    api.operations.views["op-1"] = _view(OperationState.stuck)
    if path in GETS:
        status, body = await api.get(path)
    else:
        status, body = await api.post(path, POSTS[path])
    if path in MAY[role]:
        assert status == 200
    else:
        assert (status, body["error"]["code"]) == (403, "policy-denied")
        assert api.engine.done == []
        assert api.autonomy.switches == {}
        [refused] = api.journal.events
        assert refused.kind is Kind.request_refused
        assert refused.tenant == ("TENANT_001" if role == Role.agent else PLATFORM)
        assert refused.detail["principal"] == f"{role}@x"


async def test_a_list_is_filtered_and_told_with_the_engines_word(api):
    """Every parameter reaches the reader; what runs is told with its replica."""
    status, body = await api.get(
        "operations?tenant=TENANT_001&state=running&since=2026-05-06T00:00:00%2B00:00&limit=1"
    )
    assert status == 200
    [operation] = body["operations"]
    assert (operation["id"], operation["state"]) == ("op-1", "running")
    assert operation["engine"] == {"phase": "running", "replica": "blue-2", "version": "1.0"}
    wanted = api.operations.asked
    assert (wanted.tenant, wanted.state) == ("TENANT_001", OperationState.running)
    assert (wanted.since_at, wanted.limit) == (NOW.replace(hour=0), 1)
    await api.http.get("/operator/operations", params={"before": body["next"]})
    assert api.operations.asked.before == (NOW, "op-1")


@pytest.mark.parametrize(
    "query",
    [
        "state=lost",
        "limit=0",
        "limit=501",
        "limit=x",
        "limit=%C2%B2",
        "since=yesterday",
        "since=2026-05-06T00:00:00",
        "since=0001-01-01T00:00:00%2B23:59",
        "before=9999-12-31T23:59:59-23:59~op-1",
        "before=2026-05-06T00:00:00Z~%00",
        "tenant=%00",
        "before=x",
        "order=up",
    ],
)
async def test_a_parameter_that_cannot_be_understood_is_refused(api, query):
    """400, by the parameter's name."""
    status, body = await api.get(f"operations?{query}")
    assert (status, body["error"]["code"]) == (400, "bad-request")


async def test_an_id_that_no_database_takes_is_refused(api):
    """400 for a NUL in the path, before anything is asked for, recorded or done."""
    for answer in (
        await api.get("operations/op%00"),
        await api.post("operations/op%00/cancel", {}),
        await api.post("operations/op%00/resolve", {"mode": "retry", "reason": "x"}),
    ):
        assert (answer[0], answer[1]["error"]["code"]) == (400, "bad-request")
    assert (api.engine.done, api.journal.events) == ([], [])


async def test_an_operation_is_shown_with_its_timeline(api):
    """Steps from its task, events from the ledger."""
    status, body = await api.get("operations/op-1")
    assert status == 200
    assert body["operation"]["steps"] == [{"action": "reserve"}]
    [event] = body["timeline"]
    assert (event["index"], event["kind"], event["detail"]) == (7, "step.done", {"step": 0})
    assert (await api.get("operations/none"))[0] == 404


async def test_a_cancel_is_recorded_before_it_is_asked_for(api):
    """With principal, decision and reason; asking twice is two acts."""
    assert await api.post("operations/op-1/cancel", {"reason": "wrong order"}) == (
        202,
        {"operation": "op-1", "cancel_requested": True},
    )
    assert api.engine.done == [("cancel", "op-1", 1)]
    [event] = api.journal.events
    assert (event.kind, event.tenant) == (Kind.operation_cancel_requested, "TENANT_001")
    assert event.detail["principal"] == "operator@x"
    assert event.detail["reason"] == "wrong order"
    assert event.detail["operation_id"] == "op-1"
    assert event.detail["policies"] == ["operators-run-the-platform"]
    await api.post("operations/op-1/cancel", {})
    assert len({event.id for event in api.journal.events}) == 2


async def test_what_has_ended_is_neither_cancelled_nor_recorded(api):
    """409, whether it was known or turns out."""
    api.operations.views["op-1"] = _view(OperationState.completed)
    status, body = await api.post("operations/op-1/cancel", {})
    assert (status, body["error"]["message"]) == (409, "the operation is completed already")
    assert api.journal.events == []
    api.operations.views["op-1"] = _view()
    api.engine.running = False
    assert (await api.post("operations/op-1/cancel", {}))[0] == 409


async def test_only_a_stuck_operation_is_resolved_and_the_reason_is_screened(api):
    """The operator's words go through screening before the ledger has them."""
    body = {"mode": "accept", "reason": "joe@example.com was\trefunded by hand"}
    assert (await api.post("operations/op-1/resolve", body))[0] == 409
    api.operations.views["op-1"] = _view(OperationState.stuck)
    status, told = await api.post("operations/op-1/resolve", body)
    assert (status, told["resolution"]["attempt"]) == (202, 1)
    reason = "[email] was refunded by hand"
    assert api.engine.done == [("accept", "op-1", 1, "operator@x", reason)]
    [event] = api.journal.events
    assert event.kind is Kind.operation_resolve_requested
    assert (event.detail["mode"], event.detail["reason"]) == ("accept", reason)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("operations/op-1/resolve", {"mode": "wish", "reason": "x"}),
        ("operations/op-1/resolve", {"mode": "retry"}),
        ("operations/op-1/resolve", {"mode": "retry", "reason": " "}),
        ("operations/op-1/cancel", {"reason": "x" * 201}),
        ("operations/op-1/cancel", {"because": "x"}),
        ("autonomy/halt", {"scope": "TENANT_999", "reason": "x"}),
        ("autonomy/halt", {"scope": "*"}),
        ("autonomy/resume", {"scope": "*", "reason": ""}),
        ("autonomy/halt", b"{"),
        ("autonomy/halt", []),
        ("alertmanager", {"version": "3", "alerts": []}),
        ("alertmanager", {"alerts": []}),
        ("alertmanager", {"version": "4", "alerts": [{"status": "on"}]}),
        ("alertmanager", b"alerts!"),
    ],
)
async def test_a_malformed_body_is_400_and_does_nothing(api, path, body):
    """Nothing is recorded, nothing is done."""
    api.operations.views["op-1"] = _view(OperationState.stuck)
    status, told = await api.post(path, body)
    assert (status, told["error"]["code"]) == (400, "bad-request")
    assert (api.engine.done, api.journal.events, api.autonomy.switches) == ([], [], {})


@pytest.mark.parametrize(
    ("path", "body", "known"),
    [
        ("operations/op-1/resolve", {"mode": "wish", "reason": "x"}, "accept, retry"),
        ("operations/op-1/resolve", {"mod": "accept", "reason": "x"}, "mode, reason"),
        ("alertmanager", {"version": "3", "alerts": []}, "4"),
        ("alertmanager", {"version": "4", "alerts": [{"status": "on"}]}, "firing, resolved"),
        ("alertmanager", {"version": "4", "alerts": [{"status": 1}]}, "firing, resolved"),
        ("alertmanager", {"version": "4", "alerts": [1]}, ""),
        ("autonomy/halt", {"scope": 1, "reason": "x"}, ""),
        ("autonomy/halt", {"scope": "*", "reason": "x", "y` - at `$.z": 1}, ""),
    ],
)
async def test_a_word_that_is_not_known_is_answered_with_those_that_are(api, path, body, known):
    """Of a field as of its value; what is no word has none."""
    api.operations.views["op-1"] = _view(OperationState.stuck)
    status, told = await api.post(path, body)
    assert (status, told["error"]["hint"]) == (400, f"known: {known}" if known else "")


async def test_a_long_word_is_not_quoted_whole(api):
    """An answer is no echo."""
    _, told = await api.post("autonomy/halt", {"x" * 9000: 1})
    assert len(told["error"]["message"]) < 400
    assert told["error"]["hint"] == "known: scope, reason"


async def test_autonomy_is_halted_resumed_and_shown(api):
    """The status tells who is stopped, by which switch, and what the breaker counts."""
    status, told = await api.post("autonomy/halt", {"scope": "TENANT_001", "reason": "bad"})
    assert (status, told["changed"], told["halted"]) == (200, True, True)
    _, again = await api.post("autonomy/halt", {"scope": "TENANT_001", "reason": "worse"})
    assert (again["changed"], again["switch"]["reason"]) == (False, "bad")
    _, shown = await api.get("autonomy")
    scopes = {one["scope"]: one for one in shown["scopes"]}
    assert list(scopes) == ["*", "TENANT_001", "TENANT_002"]
    assert (scopes["TENANT_001"]["halted"], scopes["TENANT_001"]["by"]) == (True, "TENANT_001")
    assert (scopes["TENANT_001"]["ended"], scopes["TENANT_001"]["compensated"]) == (100, 3)
    assert (scopes["TENANT_002"]["halted"], scopes["TENANT_002"]["ended"]) == (False, None)
    assert scopes["*"]["halted"] is False

    await api.post("autonomy/halt", {"scope": "*", "reason": "all"})
    await api.post("autonomy/resume", {"scope": "TENANT_001", "reason": "mended"})
    _, shown = await api.get("autonomy")
    scopes = {one["scope"]: one for one in shown["scopes"]}
    assert (scopes["TENANT_001"]["halted"], scopes["TENANT_001"]["by"]) == (True, "*")
    assert scopes["TENANT_001"]["switch"]["reason"] == "mended"
    assert api.autonomy.switches["*"].source is Source.operator


def _alert(name="AutonomyCompensationHigh", status="firing", at=NOW, **labels):
    return {
        "status": status,
        "labels": {"alertname": name, **labels},
        "annotations": {"summary": "s"},
        "startsAt": at.isoformat().replace("+00:00", "Z"),
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": "0123456789abcdef",
    }


def _notification(*alerts):
    return {
        "version": "4",
        "groupKey": "{}:{}",
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "mc",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "alerts": list(alerts),
    }


async def test_a_firing_alert_halts_its_tenant_or_all(api):
    """By its label `tenant`; without one it is about everybody."""
    api.role = Role.alertmanager
    status, told = await api.post(
        "alertmanager", _notification(_alert(tenant="TENANT_002"), _alert())
    )
    assert status == 200
    assert [(one["scope"], one["changed"]) for one in told["halted"]] == [
        ("TENANT_002", True),
        ("*", True),
    ]
    switch = api.autonomy.switches["TENANT_002"]
    assert (switch.source, switch.principal) == (Source.alertmanager, "alertmanager@x")
    assert "AutonomyCompensationHigh fires since 2026-05-06T12:00:00+00:00" in switch.reason


async def test_what_halts_nothing_is_answered_200_and_listed(api):
    """Alertmanager would send a refused notification again and again."""
    api.role = Role.alertmanager
    status, told = await api.post(
        "alertmanager",
        _notification(
            _alert("DiskFull"),
            _alert(tenant="unknown"),
            _alert(status="resolved", tenant="TENANT_001"),
        ),
    )
    assert (status, told["halted"], api.autonomy.switches) == (200, [], {})
    assert [one["why"] for one in told["ignored"]] == [
        "this alert halts nothing",
        "its tenant is not in the catalogue",
        "a resolved alert never resumes autonomy; a person does",
    ]


async def test_a_resolved_alert_never_resumes(api):
    """Only a person does."""
    api.role = Role.alertmanager
    await api.post("alertmanager", _notification(_alert(tenant="TENANT_001")))
    await api.post("alertmanager", _notification(_alert(status="resolved", tenant="TENANT_001")))
    assert api.autonomy.switches["TENANT_001"].halted


async def test_an_alert_that_a_person_has_overruled_stays_overruled(api):
    """It goes on firing for as long as its window; sent again it halts nothing, a new one does."""
    old, new = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
    notification = _notification(_alert(tenant="TENANT_001", at=old))
    await api.post("alertmanager", notification)
    await api.post("autonomy/resume", {"scope": "TENANT_001", "reason": "mended"})
    _, told = await api.post("alertmanager", notification)
    assert told["halted"] == []
    assert told["ignored"][0]["why"] == "autonomy was resumed since it began"
    _, told = await api.post("alertmanager", _notification(_alert(tenant="TENANT_001", at=new)))
    assert told["halted"][0]["changed"]


async def test_a_halt_by_the_alerts_credential_is_never_told_as_a_persons(api):
    """Whichever path it takes, the switch says what threw it."""
    api.role = Role.alertmanager
    await api.post("autonomy/halt", {"scope": "TENANT_001", "reason": "x"})
    assert api.autonomy.switches["TENANT_001"].source is Source.alertmanager
