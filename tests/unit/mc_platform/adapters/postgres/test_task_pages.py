"""Pages of tasks: each filter means what it says, and costs its page however many tasks there are."""

from __future__ import annotations

import itertools
import json
import uuid
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from mc_platform.adapters.postgres.migrate import database_url
from mc_platform.adapters.postgres.task_pages import page_query
from mc_platform.adapters.postgres.tasks import PostgresTasks

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TASKS, LIMIT = 6000, 20
RARE = {"principal": "rare@x", "context_id": "rare", "state": "TASK_STATE_FAILED"}
USUAL = {"principal": "usual@x", "context_id": "usual", "state": "TASK_STATE_COMPLETED"}


@pytest.fixture(scope="module")
def tenant():
    return f"T_{uuid.uuid4().hex[:8]}"


@pytest.fixture
async def owner(database):
    connection = await asyncpg.connect(database_url(database.admin_url, "mc"))
    yield connection
    await connection.close()


@pytest.fixture
async def many(owner, tenant):
    """Many tasks; of each hundred one has the rare value of each column, at the old end alone."""
    if not await owner.fetchval("SELECT count(*) FROM mc.task WHERE tenant = $1", tenant):
        await owner.execute(
            "INSERT INTO mc.task (id, context_id, tenant, principal, message_id, request_digest,"
            " state, parts, status_text, governance, created_at, updated_at)"
            " SELECT $1::text || n, CASE WHEN n % 100 = 0 THEN 'rare' ELSE 'usual' END, $1::text,"
            " CASE WHEN n % 100 = 0 THEN 'rare@x' ELSE 'usual@x' END, n::text, 'd',"
            " CASE WHEN n % 100 = 0 THEN 'TASK_STATE_FAILED' ELSE 'TASK_STATE_COMPLETED' END,"
            " '[]', '', '{}', $2::timestamptz, $2::timestamptz - (n / 3 || ' s')::interval"
            " FROM generate_series(1, $3::int) AS n",
            tenant,
            NOW,
            TASKS,
        )
        await owner.execute("VACUUM ANALYZE mc.task")


def _filters():
    names = ("principal", "context_id", "state")
    for values in (RARE, USUAL):
        for count in range(len(names) + 1):
            for some in itertools.combinations(names, count):
                yield {name: values[name] for name in some}


def _scans(node):
    """Every node of a plan, the deepest first."""
    for below in node.get("Plans", ()):
        yield from _scans(below)
    yield node


@pytest.mark.parametrize("wanted", list(_filters()), ids=lambda some: "-".join(some.values()))
@pytest.mark.parametrize("later", [False, True])
@pytest.mark.usefixtures("many")
async def test_a_page_reads_its_own_rows_alone(owner, tenant, wanted, later):
    """No scan or sort over all tasks: an index gives the rows in the page's order."""
    before = (NOW - timedelta(seconds=500), "x") if later else None
    statement, arguments = page_query(
        tenant, **wanted, before=before, limit=LIMIT, most_bytes=1 << 20, replies=True
    )
    told = await owner.fetchval(
        f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {statement}", *arguments
    )
    nodes = list(_scans(json.loads(told)[0]["Plan"]))
    for node in nodes:
        rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
        assert node["Node Type"] != "Seq Scan", nodes
        assert rows <= 3 * LIMIT, (node["Node Type"], rows)


@pytest.mark.parametrize("wanted", list(_filters()), ids=lambda some: "-".join(some.values()))
@pytest.mark.usefixtures("many")
async def test_pages_hold_all_that_is_wanted_once_newest_first(pools, owner, tenant, wanted):
    """Page after page gives what a plain query gives, in its order."""
    tasks = PostgresTasks(pools)
    filters = {"principal": None, "context_id": None, "state": None} | wanted
    since = NOW - timedelta(seconds=150)
    found, before = [], None
    while True:
        page = await tasks.page(
            tenant, **filters, limit=33, before=before, since=since, replies=False
        )
        found += [task.id for task in page.tasks]
        if not page.more:
            break
        before = (page.tasks[-1].updated_at, page.tasks[-1].id)
    expected = await owner.fetch(
        "SELECT id FROM mc.task WHERE tenant = $1 AND updated_at >= $2"
        " AND ($3::text IS NULL OR principal = $3) AND ($4::text IS NULL OR context_id = $4)"
        " AND ($5::text IS NULL OR state = $5) ORDER BY updated_at DESC, id DESC",
        tenant,
        since,
        *filters.values(),
    )
    assert found == [row["id"] for row in expected]
