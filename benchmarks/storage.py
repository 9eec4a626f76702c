"""How many bytes a request, an operation and an event leave in PostgreSQL, and what a year of them takes.

A platform of its own answers questions and runs operations through its agents; before and after each
kind of work every table's size with its indexes and TOAST (`pg_total_relation_size`) is read, after a
VACUUM FULL, so that what is counted is what lives. `docs/explanation/retention.md` has the figures.

    python benchmarks/storage.py [--requests 2000] [--operations 200]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

MCCTL = str(Path(sys.executable).parent / "mcctl")
EXTENSION = "urn:mc-platform:a2a:governance:1"
QUESTION = {
    "parts": [{"text": "What is the status of order O-2001?"}],
    "metadata": {EXTENSION: {"agent": "records", "purpose": "support"}},
}
ORDER = {
    "parts": [
        {
            "data": {
                "item": "widget",
                "quantity": 1,
                "customer": "C-1001",
                "amount_cents": 4200,
                "address_ref": "A-1",
            }
        }
    ],
    "metadata": {EXTENSION: {"operation": "place-order", "purpose": "fulfilment"}},
}
_SIZES = """
SELECT n.nspname || '.' || CASE WHEN c.relname ~ '^ledger_event_' THEN 'ledger_event'
    WHEN c.relname ~ '^quotable_' THEN 'quotable' ELSE c.relname END AS name,
    sum(pg_total_relation_size(c.oid))::bigint AS bytes
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname IN ('mc', 'dbos') AND c.relkind = 'r' GROUP BY 1
"""
# The sample agent's replies are all alike, and their digests the same
_MANY = 100_000
_FINGERPRINTS = """
INSERT INTO mc.quotable (tenant, digest, task_id)
SELECT 'TENANT_001', hashtextextended(n::text, 7), gen_random_uuid()::text
FROM generate_series(1, $1::int) AS n
"""
_YEAR_S = 365 * 86_400
# Left out of what a request leaves: written once a second, and in place
_CLOCKED, _IN_PLACE = "mc.ledger_checkpoint", {"mc.ledger_head", "mc.delivery_cursor"}


async def _sizes(owner: Any) -> dict[str, int]:
    await owner.execute("VACUUM FULL")
    return {row["name"]: row["bytes"] for row in await owner.fetch(_SIZES)}


async def _send(port: int, token: str, content: dict[str, Any], count: int) -> None:
    headers = {"A2A-Version": "1.0", "Authorization": f"Bearer {token}"}
    left = iter(range(count))
    async with aiohttp.ClientSession(headers=headers) as session:

        async def loop() -> None:
            for _ in left:
                message = {**content, "messageId": str(uuid.uuid4()), "role": "ROLE_USER"}
                body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage"}
                body |= {"params": {"message": message}}
                async with session.post(f"http://127.0.0.1:{port}/a2a", json=body) as response:
                    answer = await response.json()
                if "result" not in answer:
                    raise RuntimeError(f"the platform answered {response.status}: {answer}")

        await asyncio.gather(*(loop() for _ in range(8)))


async def _measure(home: Path, port: int, given: argparse.Namespace) -> dict[str, dict[str, float]]:
    secrets = home / "secrets"
    token = json.loads((secrets / "credentials.json").read_text())["TENANT_001"]["token"]
    admin = json.loads((secrets / "database.json").read_text())["admin_url"]
    owner = await asyncpg.connect(admin, database="mc")
    found = {}
    for name, content, count in (
        ("question", QUESTION, given.requests),
        ("operation", ORDER, given.operations),
    ):
        before, events = (
            await _sizes(owner),
            await owner.fetchval("SELECT count(*) FROM mc.ledger_id"),
        )
        await _send(port, token, content, count)
        after = await _sizes(owner)
        made = await owner.fetchval("SELECT count(*) FROM mc.ledger_id") - events
        bytes_each = {
            table: (size - before.get(table, 0)) / count
            for table, size in after.items()
            if table not in _IN_PLACE and size - before.get(table, 0) >= count
        }
        ledger = sum(size for table, size in bytes_each.items() if table.startswith("mc.ledger"))
        ledger -= bytes_each.get(_CLOCKED, 0.0)
        found[name] = {
            **bytes_each,
            "events": made / count,
            "bytes an event": ledger * count / made,
        }
    note = await owner.fetchval(
        "SELECT avg(pg_column_size(c.*)) + 40 FROM mc.ledger_checkpoint AS c"
    )
    before = await _sizes(owner)
    await owner.execute(_FINGERPRINTS, _MANY)
    fingerprint = ((await _sizes(owner))["mc.quotable"] - before["mc.quotable"]) / _MANY
    await owner.close()
    return {**found, "others": {"a checkpoint": float(note), "a fingerprint": fingerprint}}


def _report(found: dict[str, dict[str, float]]) -> None:
    for what, columns in found.items():
        print(f"{what}:")
        for name, value in sorted(columns.items(), key=lambda item: -item[1]):
            print(f"  {name:<28}{value:>10,.1f}")
    for what in ("question", "operation"):
        each = sum(value for name, value in found[what].items() if "." in name and name != _CLOCKED)
        print(f"a {what} leaves {each:,.0f} bytes; one a second for a year"
              f" {each * _YEAR_S / 1e9:,.0f} GB if nothing is removed")  # fmt: skip


def main() -> int:
    """Start a platform of its own, measure, stop it."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--requests", type=int, default=2000)
    options.add_argument("--operations", type=int, default=200)
    options.add_argument("--port", type=int, default=28480, help="edge port of the platform")
    given = options.parse_args()
    home = Path(tempfile.mkdtemp(prefix="mc-bench-"))
    home.chmod(0o711)
    env = {**os.environ, "MC_HOME": str(home), "MC_EDGE_PORT": str(given.port)}
    env |= {"MC_RATE_LIMIT_PER_S": "100000", "MC_RATE_LIMIT_BURST": "100000"}
    try:
        subprocess.run([MCCTL, "up"], env=env, check=True, stdout=sys.stderr)
        _report(asyncio.run(_measure(home, given.port, given)))
    finally:
        subprocess.run([MCCTL, "down"], env=env, check=False, stdout=sys.stderr)
        shutil.rmtree(home, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
