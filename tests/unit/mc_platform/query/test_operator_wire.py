"""Answers as JSON: what of a value is shown, and in which form."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

from mc_platform.model.autonomy import Scope, Source, Switch
from mc_platform.model.ids import PrincipalId
from mc_platform.query.operator_wire import fields_json
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
