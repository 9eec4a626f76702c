"""A row of the ledger that cannot be read is told as that, by every reader."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from mc_contract.ledger.merkle import leaf_hash
from mc_platform.adapters.postgres.outbox import shipment_of
from mc_platform.adapters.postgres.rows import (
    EARLIEST,
    LATEST,
    leaf_from,
    ledger_row,
    operation_from_row,
    task_from_row,
)
from mc_platform.adapters.siem.cef import CefEncoder
from mc_platform.adapters.siem.elastic import ElasticEncoder
from mc_platform.adapters.siem.ocsf import OcsfEncoder
from mc_platform.model.event import UNREADABLE
from mc_platform.model.task import TaskState
from mc_platform.observe import metrics
from mc_platform.query.operator_wire import event_json, view_json
from mc_platform.query.schema import _event

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
GOOD = {
    "v": 1,
    "region": "r",
    "tenant": "T",
    "id": "e",
    "kind": "reply.released",
    "occurred_at": NOW.isoformat(),
    "detail": {"subject": "s", "n": 9007199254740993},
}


def _with(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


@pytest.mark.parametrize(
    ("leaf", "why"),
    [
        (b"", "it is not JSON"),
        (b"\xff\xfe", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b"[1]", "it is no event"),
        (b"null", "it is no event"),
        (_with(detail=None), "it is no event"),
        (_with(kind=5), "it is no event"),
        (_with(occurred_at="yesterday"), "its time is none"),
        (_with(detail={"t": "\ud800"}), "it is not JSON"),
    ],
)
def test_an_entry_that_cannot_be_read_is_told_as_that(leaf, why):
    """Each reader shows it beside its neighbours; it is counted."""
    before = metrics.unreadable_rows.labels("ledger")._value.get()
    row = ledger_row({"index": 7, "recorded_at": NOW, "leaf": leaf})
    assert metrics.unreadable_rows.labels("ledger")._value.get() == before + 1
    assert (row.index, row.leaf["kind"]) == (7, UNREADABLE)
    assert row.leaf["detail"]["reason"].startswith("the entry cannot be shown: ")
    assert why in row.leaf["detail"]["reason"]
    assert event_json(row)["kind"] == UNREADABLE
    assert _event(row).kind == UNREADABLE
    # A SIEM knows the same entry again by its id
    assert leaf_from(leaf, NOW)["id"] == row.leaf["id"]


def test_an_entry_is_read_with_its_numbers_as_they_are():
    """Also those beyond a double."""
    row = ledger_row({"index": 7, "recorded_at": NOW, "leaf": _with()})
    assert row.leaf == GOOD
    assert json.loads(_event(row).detail) == GOOD["detail"]


@pytest.mark.parametrize("raw", [b"[1]", b"\xff", b'{"a":'])
def test_a_siem_is_sent_an_entry_that_cannot_be_read(raw):
    """In each format, as one event that says so: delivery goes on behind it."""
    shipment = shipment_of(7, NOW, raw, leaf_hash(raw))
    ocsf = json.loads(OcsfEncoder(version="1").encode(shipment))
    assert ocsf["metadata"]["uid"] == shipment.leaf["id"]
    for line in ElasticEncoder(version="1").lines([shipment]):
        json.loads(line)
    assert "cannot be shown" in CefEncoder(version="1").message(shipment)


ODD_TIME = "is infinite, or of no year from 1 to 9999"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"governance": "[]"}, "its governance is no object"),
        ({"governance": '{"a": 1e400}'}, "its governance: * is a number outside a double's range"),
        ({"standing": "lost"}, "its outcome is none that an operation has"),
        ({"created_at": LATEST}, f"its start {ODD_TIME}"),
        ({"updated_at": EARLIEST}, f"its time {ODD_TIME}"),
    ],
)
def test_an_operation_of_any_odd_column_is_told_as_that(changed, why):
    """In the sentence beside its neighbours, and counted: an operator's list goes on."""
    row = {
        "id": "o",
        "tenant": "T",
        "principal": "p",
        "operation": "place-order",
        "standing": "completed",
        "created_at": NOW,
        "updated_at": NOW,
        "status_text": "it is done",
        "governance": '{"effects": 2}',
    }
    before = metrics.unreadable_rows.labels("task")._value.get()
    assert operation_from_row(row).said == "it is done"
    view = operation_from_row({**row, **changed})
    assert view.said == f"it is done; the content cannot be shown: {why}"
    assert metrics.unreadable_rows.labels("task")._value.get() == before + 1
    assert view.state.value == ("failed" if "standing" in changed else "completed")
    assert view.governance == ({} if "governance" in changed else {"effects": 2})
    json.dumps(view_json(view, None))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"flow": '{"origins": 5}'}, "its labels: Expected `array`, got `int` - at `$.origins`"),
        (
            {"flow": '{"hosts": "shop.example"}'},
            "its labels: Expected `array`, got `str` - at `$.hosts`",
        ),
        (
            {"flow": '{"destinations": [{}]}'},
            "its labels: Expected `str`, got `object` - at `$.destinations[0]`",
        ),
        ({"flow": '{"tier": "high"}'}, "its labels: Expected `int`, got `str` - at `$.tier`"),
        ({"flow": '{"tail": []}'}, "its labels: Expected `str`, got `array` - at `$.tail`"),
        ({"flow": "5"}, "its labels is no object"),
        ({"state": "TASK_STATE_LOST"}, "its state is none that a task has"),
        ({"updated_at": EARLIEST}, f"its time {ODD_TIME}"),
        ({"updated_at": LATEST}, f"its time {ODD_TIME}"),
    ],
)
def test_a_task_of_any_odd_column_is_told_as_that(changed, why):
    """Its neighbours are shown; whatever its conversation was, it counts as tainted."""
    row = {
        "id": "t",
        "context_id": "c",
        "tenant": "T",
        "principal": "p",
        "message_id": "m",
        "request_digest": "",
        "state": "TASK_STATE_COMPLETED",
        "updated_at": NOW,
        "parts": "[]",
        "status_text": "",
        "governance": "{}",
        "flow": "{}",
    }
    assert not task_from_row(row).unreadable
    task = task_from_row({**row, **changed})
    assert (task.unreadable, task.status_text) == (True, f"the content cannot be shown: {why}")
    assert task.flow.origins == ({"document"} if "flow" in changed else set())
    assert task.state is (TaskState.failed if "state" in changed else TaskState.completed)
