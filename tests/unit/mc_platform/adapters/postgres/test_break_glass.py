"""Break-glass over HTTP on a real PostgreSQL: two people, a bounded time, everything told."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from tests.fakes import handler_fields, pseudonym_keys

from mc_platform.adapters.cedar.decision_point import CedarDecisionPoint
from mc_platform.adapters.postgres.break_glass import PostgresBreakGlass
from mc_platform.errors import PlatformError
from mc_platform.model.event import Kind
from mc_platform.model.task import Task, TaskState
from mc_platform.model.tenant import PLATFORM, Principal, Role, Tenant
from mc_platform.query.break_glass import BreakGlassHandlers
from mc_platform.screen.pseudonyms import Pseudonymiser

NOW = datetime(2026, 5, 6, 12, 0, 0, tzinfo=UTC)
POINT = CedarDecisionPoint.load(Path(__file__).parents[5] / "policies")
MAKER = Pseudonymiser(pseudonym_keys(bytes(32)))
TENANTS = {
    "PLATFORM": Tenant(PLATFORM, "eu", frozenset(), frozenset(), 0),
    "T1": Tenant("T1", "eu", frozenset({"support", "identity-verification"}), frozenset(), 0),
    "T2": Tenant("T2", "eu", frozenset({"support"}), frozenset(), 0),
}
TASK = Task("task-1", "c", "T1", "agent@t1", "m", "d", TaskState.completed, NOW, ({"text": "hi"},))
BOB = Principal("bob@platform", PLATFORM, "", Role.operator)
AUDITOR = Principal("eve@platform", PLATFORM, "", Role.auditor)
AGENT = Principal("agent@t1", "T1", "")
OTHER = Principal("agent@t2", "T2", "")


class MemoryJournal:
    def __init__(self):
        self.events = []

    async def record(self, events, task=None):
        self.events += events

    def kinds(self):
        return [event.kind for event in self.events]


class OneTask:
    async def get(self, tenant, task_id):
        return TASK if (tenant, task_id) == ("T1", "task-1") else None


@pytest.fixture
async def platform(pools):
    """The routes, a client for each principal, and what the ledger was told."""
    journal = MemoryJournal()
    # A fresh one for each story: the database keeps the grants of the others
    ann = Principal(f"ann-{uuid.uuid4()}@platform", PLATFORM, "", Role.operator)
    principals = {"ann": ann, "bob": BOB, "eve": AUDITOR, "agent": AGENT, "other": OTHER}

    async def answer(_request, error):
        return JSONResponse({"error": error.as_dict()}, status_code=error.http_status)

    async def reveal(_asking, tenant, text):
        return MAKER.reveal(tenant, text)

    handlers = BreakGlassHandlers(
        **handler_fields(
            principal_of=lambda request: principals[request.headers["who"]],
            tenants=TENANTS,
            decisions=POINT,
            journal=journal,
            redact=lambda text: text.replace("secret", "[x]"),
        ),
        grants=PostgresBreakGlass(pools),
        tasks=OneTask(),
        reveal_pseudonyms=reveal,
        tenants=frozenset({"T1", "T2"}),
    )
    app = Starlette(routes=handlers.routes(), exception_handlers={PlatformError: answer})
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://mc") as client:

        async def call(who, method, path, **body):
            more = {"json": body} if method == "POST" else {}
            return await client.request(method, path, headers={"who": who}, **more)

        yield SimpleNamespace(call=call, journal=journal)


async def asked(platform, who="ann", tenant="T1", minutes=10):
    answer = await platform.call(
        who,
        "POST",
        "/operator/break-glass",
        tenant=tenant,
        minutes=minutes,
        reason="a secret outage",
    )
    assert answer.status_code == 201
    return answer.json()


async def approved(platform, **more):
    grant = await asked(platform, **more)
    path = f"/operator/break-glass/{grant['id']}/approve"
    answer = await platform.call("bob", "POST", path, reason="go")
    assert answer.status_code == 200
    return answer.json()


async def test_nothing_is_open_until_another_person_approves(platform):
    """Asking opens nothing, approving oneself is refused, a second person opens it."""
    grant = await asked(platform)
    task = "/operator/tenants/T1/tasks/task-1"
    assert (await platform.call("ann", "GET", task)).status_code == 403
    path = f"/operator/break-glass/{grant['id']}/approve"
    assert (await platform.call("ann", "POST", path, reason="me")).status_code == 409
    assert (await platform.call("ann", "GET", task)).status_code == 403
    opened = await platform.call("bob", "POST", path, reason="go")
    assert opened.json()["state"] == "active"
    read = await platform.call("ann", "GET", task)
    assert read.json()["parts"] == [{"text": "hi"}]
    # What screening keeps of the conversation is not shown
    shown = "id tenant principal context_id state updated_at status_text governance parts"
    assert set(read.json()) == set(shown.split())
    # It is hers alone, for this tenant alone
    assert (await platform.call("bob", "GET", task)).status_code == 403
    other = await platform.call("ann", "GET", "/operator/tenants/T2/tasks/task-1")
    assert other.status_code == 403
    kinds = platform.journal.kinds()
    assert [kind for kind in kinds if kind is not Kind.request_refused] == [
        Kind.break_glass_requested,
        Kind.break_glass_approved,
        Kind.break_glass_used,
    ]
    assert kinds.count(Kind.request_refused) == 4
    assert "secret" not in str([event.detail for event in platform.journal.events])


async def test_a_grant_ends_at_once_when_somebody_ends_it(platform):
    """And cannot be opened or ended again."""
    grant = await approved(platform)
    for who, path, status in (
        ("bob", f"/operator/break-glass/{grant['id']}/end", 200),
        ("bob", f"/operator/break-glass/{grant['id']}/end", 409),
        ("bob", f"/operator/break-glass/{grant['id']}/approve", 409),
    ):
        assert (await platform.call(who, "POST", path, reason="done")).status_code == status
    answer = await platform.call("ann", "GET", "/operator/tenants/T1/tasks/task-1")
    assert answer.status_code == 403


async def test_a_grant_expires_and_an_old_request_lapses_by_the_databases_clock(
    platform, pools, database
):
    """Moved back in time by the owner, since nobody else may."""
    active = await approved(platform)
    pending = await asked(platform)
    owner = await asyncpg.connect(database.admin_url.rsplit("/", 1)[0] + "/mc")
    try:
        await owner.execute(
            "UPDATE mc.break_glass SET asked_at = asked_at - interval '1 hour',"
            " approved_at = approved_at - interval '1 hour',"
            " expires_at = expires_at - interval '1 hour' WHERE id = ANY($1::uuid[])",
            [active["id"], pending["id"]],
        )
    finally:
        await owner.close()
    answer = await platform.call("ann", "GET", "/operator/tenants/T1/tasks/task-1")
    assert answer.status_code == 403
    path = f"/operator/break-glass/{pending['id']}/approve"
    assert (await platform.call("bob", "POST", path, reason="late")).status_code == 409
    listed = (await platform.call("eve", "GET", "/operator/break-glass")).json()["grants"]
    states = {grant["id"]: grant["state"] for grant in listed}
    assert (states[active["id"]], states[pending["id"]]) == ("expired", "lapsed")


async def test_the_database_itself_keeps_two_people_apart_and_the_time_short(pools):
    """Whatever a program that is broken would write."""
    grants = PostgresBreakGlass(pools)
    grant = await grants.ask(
        uuid.uuid4(), tenant="T1", reason="why", minutes=5, principal="ann@platform"
    )
    for change in (
        "approved_by = 'ann@platform', approved_at = now(), expires_at = now()",
        "approved_by = 'bob', approved_at = now(), expires_at = now() + interval '1 day'",
    ):
        with pytest.raises(asyncpg.CheckViolationError):
            await pools.record.execute(
                f"UPDATE mc.break_glass SET {change} WHERE id = $1",
                grant.id,
            )
    for forbidden in (
        "UPDATE mc.break_glass SET minutes = 200",
        "UPDATE mc.break_glass SET asked_by = 'x'",
        "DELETE FROM mc.break_glass",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await pools.record.execute(forbidden)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pools.tenant.execute("SELECT * FROM mc.break_glass")


async def test_only_operators_ask(platform):
    """Auditors look, agents do neither."""
    for who in ("eve", "agent"):
        answer = await platform.call(
            who, "POST", "/operator/break-glass", tenant="T1", minutes=5, reason="x"
        )
        assert answer.status_code == 403
    assert (await platform.call("agent", "GET", "/operator/break-glass")).status_code == 403


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"tenant": "T9", "minutes": 5, "reason": "x"}, "unknown tenant 'T9'"),
        ({"tenant": "PLATFORM", "minutes": 5, "reason": "x"}, "unknown tenant"),
        ({"tenant": "T1", "minutes": 0, "reason": "x"}, "minutes must be 1 to 240"),
        ({"tenant": "T1", "minutes": 241, "reason": "x"}, "minutes must be 1 to 240"),
        ({"tenant": "T1", "minutes": 5, "reason": " "}, "a reason has 1 to 200"),
        ({"tenant": "T1", "minutes": 5}, "reason"),
    ],
)
async def test_a_request_that_cannot_be_understood_is_told_why(platform, body, told):
    """400, nothing recorded."""
    answer = await platform.call("ann", "POST", "/operator/break-glass", **body)
    assert answer.status_code == 400
    assert told in answer.json()["error"]["message"]
    assert platform.journal.events == []


async def test_pseudonyms_open_for_whom_policy_permits(platform):
    """The tenant's own agents that verify identities; an operator with a grant; nobody else."""
    text = f"write to {MAKER.pseudonym('T1', 'email', 'jane@example.com')}"

    async def reveal(who, **more):
        return await platform.call(who, "POST", "/privacy/reveal", text=text, reason="r", **more)

    own = await reveal("agent")
    assert own.json()["text"] == "write to jane@example.com"
    assert own.json()["opened"] == {"email": 1}
    assert (await reveal("agent", purpose="support")).status_code == 403
    assert (await reveal("other")).status_code == 403
    assert (await reveal("other", tenant="T1")).status_code == 403
    assert (await reveal("eve", tenant="T1")).status_code == 403
    assert (await reveal("bob", tenant="T1")).status_code == 403
    grant = await approved(platform)
    opened = await reveal("ann", tenant="T1")
    assert "jane@example.com" in opened.json()["text"]
    told = platform.journal.events[-1]
    assert told.kind is Kind.pseudonyms_revealed
    assert told.detail["grant"] == grant["id"]
    assert "jane" not in str([event.detail for event in platform.journal.events])
