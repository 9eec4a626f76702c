"""A database administrator sets the ledger back while the platform runs: it stops, and says so."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import httpx
import pytest

from mc_contract.ledger.merkle import Frontier


def _sql(platform: Any, *statements: tuple[Any, ...]) -> list[Any]:
    """As the superuser, in one transaction; the last one's rows."""
    urls = json.loads((platform.home / "secrets" / "database.json").read_text())
    server = urls["admin_url"].rpartition("/")[0]

    async def run() -> list[Any]:
        connection = await asyncpg.connect(f"{server}/mc")
        try:
            async with connection.transaction():
                for statement, *arguments in statements:
                    rows = await connection.fetch(statement, *arguments)
            return list(rows)
        finally:
            await connection.close()

    return asyncio.run(run())


def _set_back(platform: Any, by: int) -> int:
    """Remove the last entries with all that tells of them; how many stay."""
    leaves = _sql(platform, ("SELECT leaf_hash FROM mc.ledger_event ORDER BY index",))
    frontier = Frontier()
    for row in leaves[:-by]:
        frontier = frontier.append(row["leaf_hash"])
    size = frontier.size
    _sql(
        platform,
        (
            "UPDATE mc.ledger_head SET size = $1, frontier = $2",
            size,
            frontier.to_bytes(),
        ),
        ("DELETE FROM mc.ledger_event WHERE index >= $1", size),
        ("DELETE FROM mc.ledger_id WHERE index >= $1", size),
        ("DELETE FROM mc.ledger_checkpoint WHERE size > $1", size),
        ("DELETE FROM mc.ledger_tile WHERE level > 0 OR (index + 1) * 256 > $1", size),
    )
    return size


@pytest.fixture(scope="module")
def own(start_platform: Any) -> Any:
    return start_platform("--replicas", "2")


@pytest.mark.long
def test_a_ledger_that_was_set_back_is_neither_signed_nor_continued(
    own: Any, wait_until: Any
) -> None:
    """While it runs, and after a restart of all: no signature, no ok, no further effect."""
    for _ in range(12):
        assert own.ask("What is open for customer 7?").status == 200
    wait_until(
        lambda: own.metric("mc_siem_backlog_events") == 0, what="everything is with the SIEM"
    )
    assert own.mcctl("audit", "verify").returncode == 0
    size = _set_back(own, 10)

    def stopped() -> bool:
        return (
            httpx.get(f"{own.url}/ledger/checkpoint").status_code == 503
            and "result" not in own.ask("And now?").body
        )

    wait_until(stopped, what="the signer refuses")
    ports = [own.record(name)["port"] for name in ("blue-1", "blue-2")]

    def all_unavailable() -> bool:
        urls = [f"http://127.0.0.1:{port}/health" for port in ports]
        return {httpx.get(url).status_code for url in urls} == {503}

    wait_until(all_unavailable, what="every replica is unavailable")
    found = own.mcctl("audit", "verify", "--output", "json", check=False)
    assert found.returncode == 1, found.stderr
    assert "signer-refused" in [each["kind"] for each in json.loads(found.stdout)["findings"]]
    [head] = _sql(own, ("SELECT size FROM mc.ledger_head",))
    [signed] = _sql(own, ("SELECT max(size) AS size FROM mc.ledger_checkpoint",))
    assert (head["size"], (signed["size"] or 0) <= size) == (size, True)

    memory = own.home / "signer" / "signer-local-1.note"
    before = memory.read_text()
    own.mcctl("down")  # after a restart of all it knows as well: they do not become ready
    assert own.mcctl("up", "--replicas", "2", check=False).returncode != 0
    assert memory.read_text() == before
