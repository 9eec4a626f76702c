"""Parameters of the ledger's routes: what is not known is refused, and never passed over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from tests.fakes import handler_fields

from mc_platform.errors import PlatformError
from mc_platform.model.ids import PrincipalId
from mc_platform.model.tenant import PLATFORM, Principal, Role, Tenant
from mc_platform.query import AuditHandlers


class _Ledger:
    region = "r"

    async def entries(self, start: int, limit: int) -> list[Any]:
        return [SimpleNamespace(as_dict=lambda: {"start": start, "limit": limit})]


async def _sign() -> str:
    return ""


async def _none(_log: str, _limit: int) -> list[Any]:
    return []


async def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, PlatformError)
    return JSONResponse({"error": error.as_dict()}, status_code=error.http_status)


@pytest.fixture(scope="module")
def client() -> httpx.AsyncClient:
    ledger: Any = _Ledger()
    auditor = Principal(PrincipalId("eve"), PLATFORM, "", Role.auditor)
    tenant = Tenant(PLATFORM, "eu", frozenset(), frozenset(), 0)
    handlers = AuditHandlers(
        **handler_fields(principal_of=lambda _: auditor, tenants={PLATFORM: tenant}),
        ledger=ledger,
        prover=ledger,
        sign_head=_sign,
        cosigned_notes=_none,
    )
    app = Starlette(routes=handlers.routes(), exception_handlers={PlatformError: _refuse})
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://ledger")


@pytest.mark.parametrize(
    "asked",
    [
        "/audit/entries?from=7",
        "/audit/entries?start=7&count=10",
        "/audit/checkpoints?size=7",
        "/audit/tiles?start=1",
        "/audit/archives?since=2026-01-01T00:00:00Z",
        "/audit/frontier?size=1&Size=2",
        "/audit/proof/inclusion?index=1&at=2",
        "/audit/proof/consistency?first=1&second=2&third=3",
        "/audit/decision/dec_1?index=1",
        "/audit/tenant/TENANT_001?from=2026-01-01T00:00:00Z",
    ],
)
async def test_an_unknown_parameter_is_refused(client: httpx.AsyncClient, asked: str) -> None:
    """With its name, and the names that there are."""
    answer = await client.get(asked)
    assert answer.status_code == 400
    assert "unknown parameter" in answer.json()["error"]["message"]
    assert answer.json()["error"]["hint"].startswith("known: ")


async def test_known_parameters_are_taken(client: httpx.AsyncClient) -> None:
    """With their values, and with what is usual where none is given."""
    for query, start, limit in (("?start=7&limit=10", 7, 10), ("", 0, 1000)):
        answer = await client.get(f"/audit/entries{query}")
        assert answer.json()["entries"] == [{"start": start, "limit": limit}]


@pytest.mark.parametrize(
    "number", ["-1", "1_0", "+1", "%201", "1.0", "1e3", "٧", "", "-", "9" * 5000]
)
async def test_what_is_no_number_is_refused(client: httpx.AsyncClient, number: str) -> None:
    """By its name and its bounds, however Python would read it."""
    for asked in ("/audit/entries?start=", "/audit/entries?limit=", "/audit/frontier?size="):
        answer = await client.get(asked + number)
        assert answer.status_code == 400
        assert " must be a number from " in answer.json()["error"]["message"]
