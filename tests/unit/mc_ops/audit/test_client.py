"""What the service answers is read as somebody's claim: of any form."""

from __future__ import annotations

from itertools import islice

import httpx
import pytest

from mc_ops.audit.client import AuditClient
from mc_ops.errors import CouldNotTell

ENTRY = {
    "index": 0, "event_id": "e", "tenant": "T", "kind": "request.accepted", "subject": "",
    "occurred_at": "2026-01-01T00:00:00+00:00", "recorded_at": "2026-01-01T00:00:00+00:00",
    "leaf": "e30=", "leaf_hash": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "proof": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("ask", "body"),
    [
        (lambda client: next(client.telling("dec_1")), {}),
        (lambda client: next(client.telling("dec_1")), {"index": "x"}),
        (lambda client: next(client.telling("dec_1")), {"index": []}),
        (lambda client: client.of_tenant("T", "", ""), {}),
        (lambda client: next(client.of_tenant("T", "", "")[1]), {"checkpoint": "c"}),
        (
            lambda client: list(islice(client.of_tenant("T", "", "")[1], 2)),
            {"checkpoint": "c", "more": True, "entries": [ENTRY]},
        ),
    ],
)
def test_an_answer_of_another_form_is_told_and_not_stumbled_over(ask, body):
    """A member that is missing or of another type: nothing can be told, which is no defect here."""
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=body))
    with (
        AuditClient("http://audit.test", transport=transport) as client,
        pytest.raises(CouldNotTell, match="can't be read"),
    ):
        ask(client)
