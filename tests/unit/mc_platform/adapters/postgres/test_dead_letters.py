"""Dead letters from the SIEM's refusal to its second answer: route, policy, PostgreSQL, shipper."""

from __future__ import annotations

import asyncio
import gc
import time
import uuid
from asyncio import events
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from tests.fakes import handler_fields
from tests.isolation import steps

from mc_platform.adapters.cedar.decision_point import CedarDecisionPoint
from mc_platform.adapters.postgres.dead_letters import PostgresDeadLetters
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.migrate import database_url
from mc_platform.adapters.postgres.outbox import PostgresOutbox
from mc_platform.deliver import Rejected, Shipper, SinkRefused
from mc_platform.errors import PlatformError
from mc_platform.model.event import Event, Kind
from mc_platform.model.tenant import PLATFORM, Principal, Role, Tenant
from mc_platform.observe import metrics
from mc_platform.query import DeadLetterHandlers

LATE = "2999-01-01T00:00:00Z"
POINT = CedarDecisionPoint.load(Path(__file__).parents[5] / "policies")
TENANT = Tenant(PLATFORM, "eu", frozenset(), frozenset(), 0, generally_available=False)


class Sink:
    """Takes all but what is in `bad`, by name."""

    name, most = "siem", 100

    def __init__(self):
        self.bad, self.got, self.refusing = set(), [], None
        self.holds = asyncio.Event()
        self.holds.set()

    async def take(self, batch):
        await self.holds.wait()
        if self.refusing:
            raise self.refusing
        self.got += [item.index for item in batch if item.index not in self.bad]
        return [Rejected(item.index, "mapping") for item in batch if item.index in self.bad]


class Region:
    """One region with a journal, an operator's HTTP, and a shipper that runs."""

    def __init__(self, pools):
        self.pools, self.name = pools, f"r-{uuid.uuid4().hex[:8]}"
        self.sink, self.role = Sink(), Role.operator
        self.outbox = PostgresOutbox(pools, region=self.name)
        self.journal = PostgresJournal(pools, region=self.name)
        handlers = DeadLetterHandlers(
            **handler_fields(
                principal_of=lambda _: Principal("ann@x", PLATFORM, "0" * 12, self.role),
                tenants={PLATFORM: TENANT},
                decisions=POINT,
                journal=self.journal,
                redact=lambda text: text.replace("joe@example.com", "[email]"),
            ),
            letters=PostgresDeadLetters(pools, region=self.name),
        )
        app = Starlette(routes=handlers.routes(), exception_handlers={PlatformError: self._told})
        transport = httpx.ASGITransport(app=app)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://api")

    async def start(self, count, bad):
        await self.journal.start()
        self.sink.bad = set(bad)
        await self.journal.record(
            [
                Event(f"e{n}-{self.name}", Kind.request_accepted, "T", datetime.now(UTC), {})
                for n in range(count)
            ]
        )
        self.ship()
        await self.until(lambda standing: standing.next_index == count)

    def ship(self):
        shipper = Shipper(outbox=self.outbox, siem=self.sink, backup=None, file_after_s=60)
        self.task = asyncio.create_task(shipper.run())

    async def restart(self):
        await self.pause()
        self.ship()

    async def until(self, condition):
        deadline = time.monotonic() + 20
        while not condition(await self.outbox.standing("siem")):
            assert time.monotonic() < deadline, "never happened"
            await asyncio.sleep(0.02)

    async def pause(self):
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task

    async def stop(self):
        await self.pause()
        await self.journal.stop()
        await self.http.aclose()

    @staticmethod
    async def _told(_request, error):
        return JSONResponse({"error": error.as_dict()}, status_code=error.http_status)

    async def listed(self, **parameters):
        answer = await self.http.get("/operator/dead-letters", params=parameters)
        return answer.status_code, answer.json()

    async def resend(self, **body):
        body = {"reason": "mended, joe@example.com says"} | body
        answer = await self.http.post("/operator/dead-letters/resend", json=body)
        return answer.status_code, answer.json()

    async def kinds(self):
        rows = await self.pools.record.fetch(
            "SELECT kind, tenant FROM mc.ledger_event WHERE region = $1 AND tenant <> 'T'",
            self.name,
        )
        return [(row["kind"], row["tenant"]) for row in rows]


@pytest.fixture
async def owner(database):
    connection = await asyncpg.connect(database_url(database.admin_url, "mc"))
    yield connection
    await connection.close()


@pytest.fixture
async def region(pools):
    made = Region(pools)
    await made.start(30, {3, 9, 20})
    yield made
    await made.stop()


def _states(body):
    return {letter["index"]: letter["state"] for letter in body["dead_letters"]}


async def test_what_is_sent_again_is_told_by_what_became_of_it(region):
    """Recorded with who and why, sent by the one that ships, taken or refused again."""
    _, before = await region.listed()
    assert _states(before) == {3: "refused", 9: "refused", 20: "refused"}
    assert before["dead_letters"][0]["reason"] == "mapping"
    assert before["next"] is None

    region.sink.bad = {9}
    status, asked = await region.resend(all=True)
    assert (status, asked["asked"], asked["waiting"]) == (202, 3, 0)
    assert asked["reason"] == "mended, [email] says"
    assert await region.kinds() == [("dead-letters.resent", PLATFORM)]
    await region.until(lambda standing: standing.dead_letters == 1)
    _, of_request = await region.listed(request=asked["request"])
    assert _states(of_request) == {3: "taken", 9: "refused-again", 20: "taken"}
    _, left = await region.listed()
    assert _states(left) == {9: "refused-again"}
    assert {3, 20} <= set(region.sink.got)

    region.sink.bad = set()
    status, asked = await region.resend(event_ids=[f"e9-{region.name}"])
    assert (status, asked["asked"]) == (202, 1)
    await region.until(lambda standing: standing.dead_letters == 0)
    assert (await region.resend(all=True)) == (
        200,
        {
            "request": None,
            "asked": 0,
            "waiting": 0,
            "principal": "ann@x",
            "reason": "mended, [email] says",
        },
    )
    assert len(await region.kinds()) == 2  # nothing was done, nothing is recorded


async def test_a_selection_by_time_and_pages(region):
    """By when they were refused; a page goes on where the last one ended."""
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    assert (await region.resend(since=soon))[1]["asked"] == 0
    status, first = await region.listed(limit="2")
    assert (status, list(_states(first))) == (200, [3, 9])
    assert list(_states((await region.listed(after=first["next"]))[1])) == [20]
    assert (await region.resend(until=soon))[1]["asked"] == 3


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 400),
        ({"all": True, "since": "2026-01-01T00:00:00Z"}, 400),
        ({"event_ids": []}, 400),
        ({"event_ids": ["nosuch"]}, 404),
        ({"event_ids": ["\u0000"]}, 400),
        ({"since": "yesterday"}, 400),
        ({"all": "true"}, 400),
        ({"all": True, "reason": " "}, 400),
        ({"all": True, "colour": "blue"}, 400),
    ],
)
async def test_what_is_not_understood_sends_nothing(region, body, status):
    """An unknown word or event is refused, never ignored."""
    answered, told = await region.resend(**body)
    assert (answered, "error" in told) == (status, True)
    assert await region.kinds() == []
    for parameters in ({"colour": "blue"}, {"limit": "0"}, {"after": "x"}, {"after": "٣~siem"}):
        assert (await region.listed(**parameters))[0] == 400


@pytest.mark.parametrize("role", [Role.auditor, Role.agent, Role.alertmanager])
async def test_only_an_operator_has_them_sent_again(region, role):
    """The refusal is recorded; an auditor may list them."""
    region.role = role
    assert (await region.resend(all=True))[0] == 403
    assert (await region.listed())[0] == (200 if role is Role.auditor else 403)
    assert ("request.refused", PLATFORM) in await region.kinds()
    assert (await region.outbox.standing("siem")).dead_letters == 3


async def test_two_operators_at_once_send_each_again_once(region):
    """Both are told the truth of their own request; no dead letter is sent twice for it."""
    region.sink.bad, before = {9}, len(region.sink.got)
    region.sink.holds.clear()
    answers = await asyncio.gather(
        region.resend(all=True), region.resend(all=True), region.resend(until=LATE)
    )
    region.sink.holds.set()
    await region.until(lambda standing: standing.dead_letters == 1)
    asked = [told for _, told in answers if told["request"]]
    assert asked
    assert all(told["asked"] + told["waiting"] == 3 for _, told in answers)
    for told in asked:
        _, letters = await region.listed(request=told["request"])
        states = _states(letters)
        assert set(states.items()) <= {(3, "taken"), (9, "refused-again"), (20, "taken")}
        assert len(states) == told["asked"]
    again = [index for index in region.sink.got[before:] if index in (3, 9, 20)]
    assert sorted(again) == [3, 20]


async def test_what_waits_while_the_sink_refuses_is_sent_by_the_next_that_ships(region):
    """After a restart, and by another replica; meanwhile it waits, is told, and is no dead letter less."""
    region.sink.refusing = SinkRefused("HTTP 503", retry_after_s=0.0)
    refusals = metrics.siem_requests.labels("failure")._value.get()
    status, asked = await region.resend(event_ids=[f"e{n}-{region.name}" for n in (3, 20)])
    assert (status, asked["asked"]) == (202, 2)
    while metrics.siem_requests.labels("failure")._value.get() == refusals:
        await asyncio.sleep(0.02)
    assert (await region.outbox.standing("siem")).dead_letters == 3
    assert _states((await region.listed())[1]) == {3: "waiting", 9: "refused", 20: "waiting"}
    await region.restart()
    region.sink.refusing, region.sink.bad = None, set()
    await region.until(lambda standing: standing.dead_letters == 1)
    assert _states((await region.listed())[1]) == {9: "refused"}


async def test_a_hundred_thousand_dead_letters_keep_nobody(region, owner, monkeypatch):
    """They are counted and asked for where they stand."""
    await region.pause()
    for table, rest in (
        ("ledger_id (region, event_id, index, recorded_at)", "'more-' || n, n, now()"),
        ("delivery_parked (region, sink, index, event_id, reason)", "'siem', n, 'more-' || n, 'x'"),
    ):
        await owner.execute(
            f"INSERT INTO mc.{table} SELECT $1, {rest} FROM generate_series(1000, 100999) AS n",
            region.name,
        )
    gc.collect()
    gc.freeze()  # what pytest holds is not this service's to walk through
    monkeypatch.setattr(events.Handle, "_run", steps.run_measured)
    await asyncio.sleep(0)
    steps.reset()
    status, asked = await region.resend(all=True)
    await asyncio.sleep(0)
    longest = dict(steps.longest)
    gc.unfreeze()
    assert (status, asked["asked"], asked["waiting"]) == (202, 100_003, 0)
    assert longest["cpu_s"] <= 0.05, longest
    assert (await region.resend(all=True))[1]["waiting"] == 100_003
