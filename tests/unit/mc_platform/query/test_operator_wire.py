"""Answers as JSON: what of a value is shown, and in which form."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from starlette.requests import Request

from mc_platform.errors import BadRequest
from mc_platform.model.autonomy import Scope, Source, Switch
from mc_platform.model.ids import PrincipalId
from mc_platform.query.operator_wire import fields_json, read_body
from mc_platform.record import Archive

AT = datetime(2026, 5, 6, 12, 0, 0, tzinfo=UTC)


def test_only_named_fields_are_shown_and_all_where_none_is_named() -> None:
    """A field that is added to a value is in no answer that names its own."""
    switch = Switch(
        uuid.UUID(int=7), Scope("*"), True, "why", PrincipalId("ann"), Source.operator, AT
    )
    assert fields_json(switch, "id", "source", "at") == {
        "id": "00000000-0000-0000-0000-000000000007",
        "source": "operator",
        "at": "2026-05-06T12:00:00+00:00",
    }
    archive = Archive(0, 9, "0-9.mcl", "ab", b"\x00", b"\x01", "note", AT)
    assert fields_json(archive) == {
        "first_index": 0,
        "last_index": 9,
        "file": "0-9.mcl",
        "sha256": "ab",
        "frontier_before": "AA==",
        "frontier_after": "AQ==",
        "checkpoint": "note",
        "archived_at": "2026-05-06T12:00:00+00:00",
    }


class _Body(msgspec.Struct):
    variables: dict[str, Any]


@pytest.mark.parametrize(
    "body", [b"{", b'{"variables": {"a": "\xff"}}', b'{"variables": ' + b'{"a":' * 100_000]
)
async def test_a_body_that_no_json_reader_takes_is_refused_whatever_the_decoder_raises(
    body: bytes,
) -> None:
    """Bytes that are no text, and nesting without an end, are the caller's fault as well."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    with pytest.raises(BadRequest, match="the body is not JSON"):
        await read_body(Request({"type": "http", "method": "POST"}, receive), _Body)
