"""Rows that no reader could show are mended: what was wrong is named in its place, the rest stays."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime

import pytest

from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.ledger import PostgresRecords
from mc_platform.adapters.postgres.repair import mended_parts, mended_row, why_not_shown
from mc_platform.adapters.postgres.rows import EARLIEST, LATEST
from mc_platform.adapters.postgres.tasks import PostgresTasks
from mc_platform.administration import repair
from mc_platform.model.event import Event, Kind
from mc_platform.model.task import Task, TaskState

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
THEN = datetime(2026, 1, 1, tzinfo=UTC)
LONG = "1" + "0" * 309


def nested(depth: int) -> str:
    return "[" * depth + "1" + "]" * depth


def row(**changed):
    """A row of `mc.task` that everybody can show, but for what is changed."""
    whole = {
        "id": "t",
        "context_id": "c",
        "tenant": "T",
        "principal": "p",
        "message_id": "m",
        "request_digest": "",
        "state": "TASK_STATE_COMPLETED",
        "created_at": THEN,
        "updated_at": NOW,
        "parts": "[]",
        "status_text": "",
        "governance": "{}",
        "flow": "{}",
    }
    return {**whole, **changed}


@pytest.mark.parametrize(
    ("stored", "mended"),
    [
        (
            f'[{{"data": {{"n": {LONG}, "m": 5, "f": 5.0, "b": 9007199254740993}}}}]',
            [
                {
                    "data": {
                        "n": "[not kept: number too long]",
                        "m": 5,
                        "f": 5.0,
                        "b": 9007199254740993,
                    }
                }
            ],
        ),
        (f'[{{"data": [-{"1" * 9000}]}}]', [{"data": ["[not kept: number too long]"]}]),
        ('[{"data": [1e400, 1e-400]}]', [{"data": ["[not kept: number out of range]"] * 2}]),
        ('[{"data": 1e999999999999999999999}]', [{"data": "[not kept: number out of range]"}]),
        ('[{"text": "a\\ud800b"}]', [{"text": "a\ufffdb"}]),
        (
            f'[{{"data": {nested(48)}}}]',
            [{"data": json.loads(nested(47).replace("1", '"[not kept: nested too deep]"'))}],
        ),
        (f'[{{"data": {nested(5000)}}}]', [{"text": "[not kept: no JSON]"}]),
        ('[{"text": ["x"]}, {"text": "y"}]', [{"text": "[not kept: no A2A part]"}, {"text": "y"}]),
        ('[{"metadata": {}}]', [{"text": "[not kept: no A2A part]"}]),
        ('{"data": 1}', [{"text": "[not kept: no list of parts]"}]),
    ],
    ids=[
        "int",
        "long",
        "range",
        "exponent",
        "surrogate",
        "depth",
        "deep",
        "part",
        "empty",
        "shape",
    ],
)
def test_what_cannot_be_kept_is_named_and_the_rest_stays(stored, mended):
    """With its numbers as they were; and then it can be shown."""
    assert why_not_shown(row(parts=stored)).keys() == {"parts"}
    found = mended_parts(stored)
    assert found == mended
    assert repr(found) == repr(mended)
    assert why_not_shown(row(parts=json.dumps(found))) == {}


def test_what_can_be_shown_is_left_alone():
    """Also what is no longer taken, and older rows have."""
    for stored in ("[]", '[{"text": "a\\u0000"}]', '[{"data": null}]', '[{"text":"x","url":null}]'):
        assert why_not_shown(row(parts=stored)) == {}


@pytest.mark.parametrize(
    ("column", "stored", "mended"),
    [
        (
            "governance",
            f'{{"operation": "x", "steps": [{{"action": "a", "n": {LONG}}}], "n": 5.0}}',
            {
                "operation": "x",
                "steps": [{"action": "a", "n": "[not kept: number too long]"}],
                "n": 5.0,
            },
        ),
        ("governance", '{"labels": {"a\\ud800": 1}}', {"labels": {"a\ufffd": 1}}),
        ("governance", '{"a": 1, "a": 2}', {"a": 2}),
        ("governance", f'{{"a": {nested(60)}}}', None),
        ("governance", "[1]", {}),
        ("governance", f'{{"a": {nested(5000)}}}', {}),
        ("flow", '{"origins": 5, "tier": 3}', {"origins": ["document"]}),
        ("flow", f'{{"tier": {LONG}}}', {"origins": ["document"]}),
        ("flow", "null", {"origins": ["document"]}),
        ("state", "TASK_STATE_LOST", "TASK_STATE_FAILED"),
        ("created_at", EARLIEST, NOW),
        ("updated_at", LATEST, THEN),
    ],
)
def test_every_column_that_cannot_be_shown_is_mended(column, stored, mended):
    """And no other; a time becomes the row's other one."""
    odd = row(**{column: stored})
    why = why_not_shown(odd)
    assert why.keys() == {column}
    found = mended_row(odd, why, datetime.now(UTC))
    assert why_not_shown({**odd, **found}) == {}
    if column in ("governance", "flow") and mended is not None:
        assert json.loads(found[column]) == mended
    elif mended is not None:
        assert found[column] == mended
    assert {name: value for name, value in found.items() if name != column} == {
        name: odd[name] for name in found if name != column
    }


def test_a_row_without_any_time_gets_that_of_its_repair():
    """Nothing else is known of it."""
    odd = row(created_at=EARLIEST, updated_at=LATEST)
    mended = mended_row(odd, why_not_shown(odd), datetime(2027, 1, 1, tzinfo=UTC))
    assert (mended["created_at"], mended["updated_at"]) == (datetime(2027, 1, 1, tzinfo=UTC),) * 2


async def test_each_repair_is_in_the_ledger_before_the_row_is_changed(pools, database):
    """Told: which task, what was wrong, who mended it and why; a dry run changes nothing."""
    region, tenant = f"region-{uuid.uuid4().hex[:8]}", f"T-{uuid.uuid4()}"
    journal = PostgresJournal(pools, region=region)
    await journal.start()
    tasks = []
    for _ in range(2):
        task_id = str(uuid.uuid4())
        task = Task(
            id=task_id,
            context_id="c",
            tenant=tenant,
            principal="p",
            message_id=task_id,
            request_digest="d",
            state=TaskState.completed,
            updated_at=NOW,
            parts=({"text": "x"},),
        )
        await journal.record([Event(str(uuid.uuid4()), Kind.reply_released, tenant, NOW, {})], task)
        tasks.append(task)
    await journal.stop()
    good, bad = tasks
    await pools.record.execute(
        "UPDATE mc.task SET parts = $1, governance = $2, flow = '5', state = 'LOST',"
        " created_at = '-infinity', updated_at = '0044-03-15 BC' WHERE id = $3",
        f'[{{"data": {{"anna": {LONG}}}}}]',
        f'{{"operation": "place-order", "steps": [{{"n": {LONG}}}]}}',
        bad.id,
    )

    asked = {"service_url": database.service_url, "region": region, "by": "os-user:x"}
    tried = await repair(**asked, reason="why not", dry_run=True)
    mine = {"task": bad.id, "tenant": tenant}
    why = (
        "its reply: [0].data.* is a number of more than 308 digits; "
        "its governance: *[0].* is a number of more than 308 digits; its labels is no object; "
        "its state is none that a task has; its time is infinite, or of no year from 1 to 9999; "
        "its start is infinite, or of no year from 1 to 9999"
    )
    assert mine | {"why": why} in tried["tasks"]
    assert (tried["unreadable"] >= 1, tried["mended"]) == (True, 0)
    read = PostgresTasks(pools)
    assert (await read.get(tenant, bad.id)).unreadable

    done = await repair(**asked, reason="why not", dry_run=False)
    assert done["mended"] == done["unreadable"] == tried["unreadable"]
    shown = await read.get(tenant, bad.id)
    assert shown.parts == ({"data": {"anna": "[not kept: number too long]"}},)
    assert shown.governance["steps"] == [{"n": "[not kept: number too long]"}]
    assert (shown.unreadable, shown.state.value) == (False, "TASK_STATE_FAILED")
    assert shown.flow.tainted
    assert shown.updated_at > NOW
    assert (await read.get(tenant, good.id)).parts == good.parts
    newest = await PostgresRecords(pools, region=region).newest(tenant, limit=1, before=None)
    [row] = newest
    assert row.leaf["kind"] == "task.repaired"
    detail = row.leaf["detail"]
    assert (detail["subject"], detail["principal"], detail["reason"], detail["what"]) == (
        bad.id,
        "os-user:x",
        "why not",
        why,
    )
    assert detail["before"] != detail["after"]
    assert (await repair(**asked, reason="again", dry_run=False))["unreadable"] == 0
