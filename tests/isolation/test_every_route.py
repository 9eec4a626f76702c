"""Whatever JSON comes to whatever route: never a 5xx of ours, never our internals."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from tests.isolation.conftest import Replica

DEEP: Any = 1
for _ in range(20):
    DEEP = {"a": [DEEP]}
# Members that some body has; each of them gets values of every kind
KNOWN = re.findall(
    r"\w+",
    "query variables operationName dataset measure purpose where epsilon scope reason mode tenant"
    " minutes text version alerts run kind digests release principal role id jsonrpc method params"
    " message configuration metadata message_id parts",
)


def _all(value: Any) -> dict[str, Any]:
    return {name: value for name in KNOWN}  # noqa: C420 - a value may be a list


BODIES: dict[str, Any] = {
    "null": None,
    "number": 1,
    "text": "x",
    "list": [],
    "object": {},
    "list of objects": [{}],
    "deep": DEEP,
    "huge number": 10**300,
    "huge numbers": _all(10**300),
    "nulls": _all(None),
    "texts": _all("x"),
    "NULs": _all("\0"),
    "numbers": _all(-1),
    "fractions": _all(1.5),
    "true": _all(True),
    "lists": _all([]),
    "objects": _all({}),
    "lists of nulls": _all([None]),
    "deep members": _all(DEEP),
}
RPC = [
    {"jsonrpc": "2.0", "id": id_, "method": method, "params": params}
    for id_ in (1, "x", None, [], {}, 10**300, -(2**63), 1.5, True)
    for method in ("SendMessage", "message/send", "GetTask", "tasks/get", "ListTasks", 7, None)
    for params in (None, 1, "x", [], [1], {}, DEEP)
]
PARAMS = [
    {"message": value} for value in (None, 1, "x", [], {}, {"parts": 1}, {"parts": [1]}, DEEP)
] + [
    {"message": {"messageId": "m", "role": role, "parts": parts}}
    for role in ("ROLE_USER", "user", 1, 99, None, {})
    for parts in (
        [None],
        [{}],
        [{"text": 1}],
        [{"text": None}],
        [{"kind": "text"}],
        [{"kind": "data", "data": 1}],
        [{"data": DEEP}],
        [{"data": {"a": 10**300}}],
        [{"raw": "!"}],
        [{"url": 1}],
        [{"text": "x", "data": 1}],
        [{"text": "x", "metadata": 1}],
        [{"text": "x", "metadata": {"origin": {}}}],
    )
]
QUERIES = [
    "{",
    "{nosuch}",
    '{events(before:"x"){id}}',
    '{events(before:"99999999999999999999"){id}}',
    '{events(before:"-1"){id}}',
    "{events(first:0){id}}",
    "{events(first:99999999999){id}}",
    '{task(id:""){id}}',
    '{task(id:"\\u0000"){id}}',
    '{tasks(state:"x"){id}}',
    "mutation{x}",
    "subscription{x}",
    "query($a:Int){events(first:$a){id}}",
    "query($a:Nosuch){tenant}",
    "{tenant " * 60 + "}" * 60,
    "{events{" + "id{" * 12 + "id" + "}" * 14,
    "{" + "tenant " * 300 + "}",
    "{" + " ".join(f"a{at}:tenant" for at in range(40)) + "}",
    '{task(id:"' + "x" * 9000 + '"){id}}',
    "query a{tenant} query b{tenant}",
    "{...a} fragment a on Query{...a}",
    "\ufeff{tenant}",
    "{__schema{types{fields{type{fields{type{fields{name}}}}}}}}",
]
# What no answer may hold: Python's, the database's, protobuf's words for what went wrong
INTERNALS = re.compile(
    r"Traceback|File \"|\.py\b|object has no attribute|NoneType|KeyError|TypeError|ValueError"
    r"|AttributeError|int\(\) with base|asyncpg|psycopg|postgres|SELECT |pg_catalog|pydantic"
    r"|protobuf|invalid input for query|site-packages|int_max_str_digits",
    re.IGNORECASE,
)


def _version(body: Any) -> dict[str, str]:
    """A client of 0.3 names its methods with a slash, and says so."""
    method = body.get("method") if isinstance(body, dict) else None
    return {"A2A-Version": "0.3" if isinstance(method, str) and "/" in method else "1.0"}


@pytest.fixture(scope="module")
def answered(replica: Replica) -> Any:
    replica.answers([{"text": "ok"}])
    clients = {tenant: replica.client(tenant) for tenant in ("TENANT_001", "PLATFORM")}

    def post(path: str, body: Any) -> list[str]:
        raw = json.dumps(body).encode()
        wrong = []
        for tenant, client in clients.items():
            try:
                told = client.post(path, content=raw, headers=_version(body))
            except httpx.TransportError as error:
                wrong.append(f"{tenant} {path} {raw[:150]!r}: {type(error).__name__}")
                continue
            fine = told.status_code < 500 and not INTERNALS.search(told.text)
            if fine and told.headers["content-type"].startswith(("application/", "text/event")):
                error = told.json().get("error") if "json" in told.headers["content-type"] else {}
                fine = not (isinstance(error, dict) and error.get("code") == -32603)
            if not fine:
                wrong.append(f"{tenant} {path} {raw[:150]!r}: {told.status_code} {told.text[:300]}")
        return wrong

    return post


def test_no_body_makes_any_route_fail(replica: Replica, answered: Any) -> None:
    """Each route that takes a POST, by whoever may and may not use it."""
    routes = replica.ask("routes")
    assert {"/a2a", "/graphql", "/aggregates", "/v1/message:send", "/privacy/reveal"} <= set(routes)
    wrong = [told for path in routes for body in BODIES.values() for told in answered(path, body)]
    assert wrong == []


def test_a_credential_of_no_tenant_of_the_catalogue_opens_no_route(replica: Replica) -> None:
    """The same refusal as that of a credential that does not exist, whatever is asked."""
    public = {"/health", "/metrics", "/.well-known/agent-card.json", "/ledger/checkpoint"}
    reads = set(replica.ask("reads")) - public
    assert {"/v1/tasks", "/operator/operations", "/audit/checkpoints"} <= reads
    asked = [("GET", path) for path in reads] + [("POST", path) for path in replica.ask("routes")]
    with replica.client("TENANT_GONE") as gone, replica.client("") as nobody:
        for method, path in asked:
            told = gone.request(method, path, content=b"{}")
            unknown = nobody.request(method, path, content=b"{}")
            assert (told.status_code, told.content) == (401, unknown.content), path


def test_no_json_rpc_request_fails(answered: Any) -> None:
    """Ids, methods, parameters and messages of every wrong kind."""
    calls = [
        *RPC,
        *(
            {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            for method in ("SendMessage", "message/send", "SendStreamingMessage")
            for params in PARAMS
        ),
    ]
    assert [told for call in calls for told in answered("/a2a", call)] == []
    assert [told for params in PARAMS for told in answered("/v1/message:send", params)] == []


@pytest.mark.parametrize("body", ["null", "1", '"x"', "[]", "{}", '{"query":1}', '{"query":null}'])
def test_what_is_no_graphql_request_is_400(replica: Replica, body: str) -> None:
    """And says what it must be."""
    with replica.client() as client:
        told = client.post("/graphql", content=body)
    assert told.status_code == 400
    [error] = told.json()["errors"]
    assert error["extensions"]["code"] == "bad-request"
    assert "query" in error["message"] or "query" in error["extensions"]["hint"]


@pytest.mark.parametrize(
    "more", [{"variables": 1}, {"variables": []}, {"operationName": 1}, {"nosuch": 1}]
)
def test_a_graphql_request_with_a_wrong_member_is_400(replica: Replica, more: Any) -> None:
    """Nothing that was asked is ignored."""
    with replica.client() as client:
        assert client.post("/graphql", json={"query": "{tenant}"}).json() == {
            "data": {"tenant": "TENANT_001"}
        }
        assert client.post("/graphql", json={"query": "{tenant}", **more}).status_code == 400


def test_no_graphql_query_fails_but_by_its_own_fault(answered: Any) -> None:
    """Queries that are no queries, too large, too deep, or ask with values of the wrong kind."""
    for query in QUERIES:
        for variables in (None, {}, {"a": "x"}, {"a": 10**300}, {"a": None}, {"a": DEEP}):
            assert answered("/graphql", {"query": query, "variables": variables}) == []


def test_a_graphql_query_beyond_its_bounds_says_which(replica: Replica) -> None:
    """Bytes, tokens, depth, aliases."""
    told = []
    with replica.client() as client:
        for query in QUERIES:
            answer = client.post("/graphql", json={"query": query})
            errors = answer.json().get("errors", ())
            told += [f"{answer.status_code} {error['message']}" for error in errors]
    said = "\n".join(told)
    for words in (
        "400 the query has 9017 bytes, the limit is 8192",
        "more than 250 tokens",
        "exceeds maximum operation depth of 8",
        "40 aliases found. Allowed: 15",
        "200 before must be an event's index",
        "200 first must be 1 to 200, got 0",
        "200 state is no state of a task",
    ):
        assert words in said
