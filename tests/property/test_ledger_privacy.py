"""Whatever comes in, the ledger holds ids, counts, digests and the platform's own words."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes import ROOT, HostileAgent, MemoryLedger, local_catalogue, request_path

from mc_contract.governance import Governance
from mc_platform.adapters.cedar.decision_point import CedarDecisionPoint
from mc_platform.errors import PlatformError
from mc_platform.model.ids import PrincipalId, TenantId
from mc_platform.model.tenant import Principal
from mc_platform.request_path import Envelope, RequestPath
from mc_platform.screen import LibraryScreener

SECRETS = st.sampled_from(
    [
        "4111 1111 1111 1111",
        "jane.doe@example.com",
        "DE89370400440532013000",
        "AKIAIOSFODNN7EXAMPLE",
        "+49 30 901820",
        "-----BEGIN PRIVATE KEY-----",
    ]
)


@pytest.fixture(scope="module")
def parts() -> tuple[Any, ...]:
    return local_catalogue(), CedarDecisionPoint.load(ROOT / "policies"), LibraryScreener()


def _path(parts: tuple[Any, ...], ledger: MemoryLedger, body: Any) -> RequestPath:
    catalogue, decisions, screener = parts
    return request_path(
        catalogue=catalogue,
        decisions=decisions,
        screener=screener,
        ledger=ledger,
        downstream=HostileAgent(body),
    )


def _bodies(text: str) -> list[Any]:
    """What a hostile agent may answer, each with the text wherever text can stand."""
    told = {"parts": [{"text": text}, {"data": {text: text}}]}
    return [
        {"result": {"message": told}},
        {"result": {"task": {"status": {"state": text, "message": told}}}},
        {"result": {"task": {"status": {"state": "TASK_STATE_COMPLETED"}, "artifacts": text}}},
        {"error": {"code": text, "message": text, "data": text}},
        {"result": text},
        text,
    ]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    SECRETS,
    st.text("abcdefghijklmnopqrstuvwxyz", min_size=12, max_size=12),
    st.integers(0, 5),
    st.sampled_from([("records", ""), ("", "place-order"), ("", "")]),
    st.booleans(),
)
def test_no_text_of_a_request_or_reply_enters_the_ledger(
    parts: tuple[Any, ...],
    noise: str,
    secret: str,
    marker: str,
    answer: int,
    target: tuple[str, str],
    declared: bool,
) -> None:
    """In whichever field it comes: message, ids, purpose, residency, keys, answers, errors."""
    hostile = f"{noise} {secret} zq{marker}"
    ledger = MemoryLedger()
    path = _path(parts, ledger, _bodies(hostile)[answer])
    order = {"item": hostile, "quantity": 1, "customer": hostile, "amount_cents": 1}
    envelope = Envelope(
        principal=Principal(PrincipalId("agent@tenant-001"), TenantId("TENANT_001"), "0" * 12),
        message_id=hostile,
        context_id=hostile,
        parts=(
            {"text": hostile},
            {"data": {**order, "address_ref": hostile, hostile: [hostile]}},
        ),
        governance=Governance(
            agent=target[0],
            operation=target[1],
            purpose=("fulfilment" if target[1] else "support") if declared else hostile,
            residency="eu" if declared else hostile,
        ),
    )
    try:
        asyncio.run(path.handle(envelope))
    except PlatformError as error:
        assert hostile not in str(error)
    log = b"\n".join(ledger.leaves).decode()
    for piece in (f"zq{marker}", secret):
        assert piece not in log


def test_the_property_sees_requests_that_are_recorded(parts: tuple[Any, ...]) -> None:
    """It would be vacuous if nothing got as far as the ledger."""
    ledger = MemoryLedger()
    path = _path(parts, ledger, _bodies("hello")[0])
    envelope = Envelope(
        principal=Principal(PrincipalId("agent@tenant-001"), TenantId("TENANT_001"), "0" * 12),
        message_id="m-1",
        context_id="",
        parts=({"text": "hello"},),
        governance=Governance(agent="records", purpose="support", residency="eu"),
    )
    asyncio.run(path.handle(envelope))
    assert len(ledger.leaves) == 2
