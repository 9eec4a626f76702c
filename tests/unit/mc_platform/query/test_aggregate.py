"""`POST /aggregates`: who may ask, what is told, and what the ledger keeps of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from tests.aggregate_fakes import Town, between, is_
from tests.fakes import handler_fields

from mc_platform.adapters.cedar.decision_point import CedarDecisionPoint
from mc_platform.bulkheads import Slots
from mc_platform.errors import PlatformError
from mc_platform.model.event import Kind
from mc_platform.model.tenant import Principal, Role, Tenant
from mc_platform.query.aggregate import AggregateHandlers

NOW = datetime(2026, 5, 6, 12, 0, 0, tzinfo=UTC)
POINT = CedarDecisionPoint.load(Path(__file__).parents[4] / "policies")


class Journal:
    def __init__(self):
        self.events = []

    async def record(self, events, task=None):
        self.events += events


class Api:
    """The route over HTTP, with the real policies."""

    def __init__(self, **rules):
        self.town = Town(**rules)
        self.journal = Journal()
        self.principal = Principal("agent@t", "T", "key")
        self.slots = Slots("aggregates", per_tenant=2, wait_s=0.01, most_waiting=2)
        purposes = {"T": "support", "OTHER": "support", "SELLER": "marketing"}
        handlers = AggregateHandlers(
            **handler_fields(
                principal_of=lambda _: self.principal,
                tenants={
                    name: Tenant(name, "eu", frozenset({purpose}), frozenset(), 0)
                    for name, purpose in purposes.items()
                },
                decisions=POINT,
                journal=self.journal,
            ),
            aggregates=self.town.aggregates,
            datasets={"people": self.town.dataset},
            slots=self.slots,
        )
        app = Starlette(routes=handlers.routes(), exception_handlers={PlatformError: self._error})
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://x")

    @staticmethod
    async def _error(_request, error):
        return JSONResponse({"error": error.as_dict()}, status_code=error.http_status)

    async def ask(self, **body):
        whole = {"dataset": "people", "measure": "count", "purpose": "support"} | body
        response = await self.http.post("/aggregates", json=whole)
        return response.status_code, response.json()


@pytest.fixture
def api():
    return Api()


async def test_an_answer_tells_what_it_is_worth_and_what_it_cost(api):
    status, body = await api.ask(where=[is_("town", "north")], epsilon=1)
    assert status == 200
    assert abs(body["value"] - 100) < 40
    assert body["noise"] == {"distribution": "laplace", "scale": 1.0}
    assert body["half_width_95"] == 3
    assert body["epsilon"] == {
        "answer": 1.0,
        "spent": 1.5,
        "remaining": 98.5,
        "tenant_remaining": 98.5,
    }
    status, again = await api.ask(where=[is_("town", "north")])
    assert (again["value"], again["epsilon"]["spent"]) == (body["value"], 0)
    assert again["repeated"]
    assert not body["repeated"]


async def test_the_ledger_tells_of_answers_and_refusals_without_values(api):
    _, body = await api.ask(where=[is_("town", "north")], measure="sum", column="income")
    assert (await api.ask(where=[between(7, 9)]))[0] == 403
    answered, refused = api.journal.events
    assert (answered.kind, refused.kind) == (Kind.aggregate_answered, Kind.aggregate_refused)
    assert answered.detail["query"] == body["query"]
    assert (answered.detail["epsilon"], refused.detail["epsilon"]) == ("1", "0.5")
    assert answered.detail["asked"]["action"] == "ReadAggregate"
    assert answered.detail["policies"] == ["own-aggregates"]
    told = json.dumps([event.detail for event in api.journal.events])
    assert "north" not in told
    assert str(body["value"]) not in told
    assert not _floats(answered.detail) | _floats(refused.detail)


def _floats(value):
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return set().union(*map(_floats, inner))
    return {value} if isinstance(value, float) else set()


async def test_too_small_a_group_and_too_near_a_query_are_refused_in_the_same_words(api):
    small = await api.ask(where=[between(7, 9)])
    assert (await api.ask())[0] == 200
    near = await api.ask(where=[between(1, 399)])
    assert small[0] == near[0] == 403
    assert small[1]["error"].pop("decisionId") != near[1]["error"].pop("decisionId")
    assert small == near
    assert small[1]["error"]["code"] == "policy-denied"


@pytest.mark.parametrize(
    ("purpose", "role"),
    [("marketing", Role.agent), ("", Role.agent), ("support", Role.auditor)],
)
async def test_policy_decides_first(api, purpose, role):
    """Nothing is read or charged; and the words of the refusal tell nothing of datasets."""
    api.principal = Principal("who@t", "T", "key", role)
    for name in ("people", "nothing"):
        status, body = await api.ask(purpose=purpose, dataset=name)
        assert (status, body["error"]["code"]) == (403, "policy-denied")
    assert api.town.rows.reads == 0
    assert api.town.accountant.charges == []
    assert {event.kind for event in api.journal.events} == {Kind.aggregate_refused}


async def test_a_purpose_in_free_text_goes_no_further(api):
    status, body = await api.ask(purpose="to write to jane@example.com")
    assert status == 403
    [refused] = api.journal.events
    assert refused.detail["purpose"] == "undeclared"
    assert "jane" not in json.dumps([body, refused.detail])


async def test_another_tenants_dataset_is_as_absent_as_none(api):
    api.principal = Principal("agent@o", "OTHER", "key")
    theirs, none = await api.ask(), await api.ask(dataset="nothing")
    assert theirs == none
    assert theirs[0] == 400
    assert theirs[1]["error"]["hint"] == "yours: none"


async def test_a_spent_budget_is_429_and_told(api):
    api = Api(principal_epsilon=1, tenant_epsilon=1)
    assert (await api.ask())[0] == 200
    status, body = await api.ask(where=[is_("town", "east")])
    assert (status, body["error"]["code"]) == (429, "privacy-budget-spent")
    assert api.journal.events[-1].kind is Kind.aggregate_refused
    assert api.journal.events[-1].detail["epsilon"] == "0"
    assert (await api.ask())[0] == 200  # a repeat is free


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"measure": "median"}, "count, sum, mean"),
        ({"column": "income"}, "column"),
        ({"measure": "sum"}, "income, place"),
        ({"measure": "mean", "column": "town"}, "income, place"),
        ({"measure": "sum", "column": "id"}, "income, place"),
        ({"where": [is_("id", "person-1")]}, "income, place, secret, town"),
        ({"where": [is_("town", "person-1")]}, "east, north, south, west"),
        ({"where": [{"column": "town", "op": "like", "value": "n"}]}, "eq, in, between"),
        ({"where": [{"column": "town", "op": "between", "value": ["a", "z"]}]}, "for numbers"),
        ({"where": [{"column": "town", "op": "in", "value": []}]}, "none of the column's"),
        ({"where": [{"column": "place", "op": "in", "value": [1]}]}, "for categories"),
        ({"where": [between(3, "x")]}, "two numbers"),
        ({"where": [between(5, 3)]}, "no value lies there"),
        ({"where": [between(0.2, 0.4, "income")]}, "steps of 0.5"),
        ({"where": [between(-(10**400), 10**400)]}, "two numbers"),
        ({"where": [is_("place", True)]}, "a number"),
        ({"where": [is_("town", "east"), is_("town", "west")]}, "excludes all"),
        ({"where": [{"column": "town"}]}, "`op`"),
        ({"where": ["town"]}, "object"),
        ({"where": [is_("town", "east")] * 9}, "at most 8"),
        ({"where": [is_(["town"], "east")]}, "no such column"),
        ({"epsilon": 0}, "0.01 to 2"),
        ({"epsilon": -1}, "0.01 to 2"),
        ({"epsilon": 2.5}, "0.01 to 2"),
        ({"epsilon": "much"}, "epsilon"),
        ({"groupby": "town"}, "groupby"),
        ({"purpose": 7}, "purpose"),
        ({"dataset": None}, "dataset"),
    ],
)
async def test_a_query_that_cannot_be_understood_is_refused_clearly_and_costs_nothing(
    api, body, names
):
    status, answer = await api.ask(**body)
    error = answer["error"]
    assert (status, error["code"]) == (400, "bad-request")
    assert names in f"{error['message']} {error['hint']}"
    assert "person-1" not in json.dumps(error)
    assert api.town.rows.reads == 0
    assert api.town.accountant.charges == []


async def test_a_tenant_whose_queries_are_under_way_is_told_to_wait(api):
    """429, no budget spent, nothing recorded; another tenant's places are its own."""
    held = [await api.slots.take(api.principal.tenant) for _ in range(2)]
    status, body = await api.ask(where=[is_("town", "north")], epsilon=1)
    assert (status, body["error"]["code"]) == (429, "rate-limited")
    assert api.journal.events == []
    async with api.slots.held("ANOTHER"):
        held[0].release()
    status, body = await api.ask(where=[is_("town", "north")], epsilon=1)
    assert (status, body["repeated"]) == (200, False)
