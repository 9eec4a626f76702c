"""GraphQL says "not now" as every other path does: by status, and with a time to come back."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from tests.fakes import handler_fields

from mc_platform.errors import PlatformError, RateLimited, Unavailable
from mc_platform.model.ids import PrincipalId, TenantId
from mc_platform.model.tenant import Principal, Tenant
from mc_platform.query import GraphqlHandlers


class Failing:
    """A `Tasks` and `Records` that has no place, or no database."""

    def __init__(self, error: PlatformError) -> None:
        self._error = error

    async def get(self, *_: Any) -> Any:
        raise self._error

    async def page(self, *_: Any, **__: Any) -> Any:
        raise self._error

    newest = page


@pytest.mark.parametrize("query", ["{tasks{id}}", "{events{id}}", '{task(id:"x"){id}}'])
@pytest.mark.parametrize(
    ("error", "status"),
    [(RateLimited("busy", retry_after_s=1.0), 429), (Unavailable("no database"), 503)],
)
async def test_a_field_that_cannot_be_read_now_is_told_by_the_status(
    query: str, error: PlatformError, status: int
) -> None:
    """Not as 200 with an error inside, which no client and no proxy would wait for."""
    principal = Principal(PrincipalId("p"), TenantId("T"), "0" * 12)
    tenant = Tenant(TenantId("T"), "eu", frozenset(), frozenset(), 0)
    handlers = GraphqlHandlers(
        **handler_fields(principal_of=lambda _: principal, tenants={tenant.id: tenant}),
        tasks=Failing(error),  # type: ignore[arg-type] # of which nothing else is asked
        records=Failing(error),
    )
    app = Starlette(
        routes=handlers.routes(),
        exception_handlers={
            PlatformError: lambda _, told: JSONResponse(told.as_dict(), told.http_status)
        },
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        told = await client.post("/graphql", json={"query": query})
    assert (told.status_code, told.json()["message"]) == (status, error.message)


async def test_a_body_that_is_no_request_is_refused_with_the_members_that_are_known() -> None:
    """In GraphQL's form, and in the words of every other route."""
    principal = Principal(PrincipalId("p"), TenantId("T"), "0" * 12)
    tenant = Tenant(TenantId("T"), "eu", frozenset(), frozenset(), 0)
    nothing: Any = None
    handlers = GraphqlHandlers(
        **handler_fields(principal_of=lambda _: principal, tenants={tenant.id: tenant}),
        tasks=nothing,
        records=nothing,
    )
    transport = httpx.ASGITransport(Starlette(routes=handlers.routes()))
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
        refused = await client.post("/graphql", json={"query": "{tenant}", "operation": "x"})
        broken = await client.post("/graphql", content=b"{")
    [error] = refused.json()["errors"]
    assert refused.status_code == 400
    assert "unknown field `operation`" in error["message"]
    assert error["extensions"]["hint"] == "known: query, variables, operationName, extensions"
    assert broken.json()["errors"][0]["message"] == "the body is not JSON"
