"""A SIEM that does its worst, to two replicas of which one is killed: nothing is lost, all is told.

Every event of the ledger is with the SIEM at the end or was a dead letter with its reason; the
ledger is not emptied into the dead letters; every replica tells the same; no key comes into a log.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import asyncpg
import httpx
import pytest
from tests.raw_peer import Asked, answer, raw, raw_peer

KEY = "VuaCfGcBCdbkQm2e5aOxjQ"
_Answer = Callable[[list[dict[str, Any]], Asked, socket.socket], None]


class HostileSiem:
    """Speaks HEC or Elastic's bulk; keeps what it says that it has, and does as it is told."""

    def __init__(self, spoken: str) -> None:
        self.elastic = spoken == "elastic"
        self.kept: dict[str, dict[str, Any]] = {}
        self.bad: Callable[[dict[str, Any]], bool] = lambda _leaf: False
        self.instead: _Answer | None = None
        self.seen = 0
        self._lock = threading.Lock()

    def __call__(self, asked: Asked, connection: socket.socket) -> None:
        if asked.head[0].split()[1].endswith("/ack"):
            ids = json.loads(asked.body)["acks"]
            answer(json.dumps({"acks": {str(each): True for each in ids}}).encode())(
                asked, connection
            )
            return
        leaves = self._leaves(asked.body)
        with self._lock:
            self.seen += 1
        if self.instead is not None:
            self.instead(leaves, asked, connection)
            return
        (self._bulk if self.elastic else self._collect)(leaves)(asked, connection)

    def _leaves(self, body: bytes) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in gzip.decompress(body).splitlines()]
        return (
            [line["mc"] for line in lines[1::2]]
            if self.elastic
            else [line["event"]["unmapped"] for line in lines]
        )

    def _bulk(self, leaves: list[dict[str, Any]]) -> Any:
        error = {"type": "document_parsing_exception", "reason": f"failed: {KEY}"}
        items = []
        for leaf in leaves:
            bad = self.bad(leaf)
            if not bad:
                self.kept[leaf["id"]] = leaf
            said = {"status": 400, "error": error} if bad else {"status": 201}
            items.append({"create": {"_id": leaf["id"], **said}})
        return answer(json.dumps({"errors": True, "items": items}).encode())

    def _collect(self, leaves: list[dict[str, Any]]) -> Any:
        bad = next((at for at, leaf in enumerate(leaves) if self.bad(leaf)), None)
        if bad is not None:
            said = {"text": KEY, "code": 6, "invalid-event-number": bad}
            return answer(json.dumps(said).encode(), status="400 Bad Request")
        self.kept |= {leaf["id"]: leaf for leaf in leaves}
        return answer(b'{"text":"Success","code":0,"ackId":7}')


def _reset(_leaves: list[Any], _asked: Asked, connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())  # `close` would wait for the reader


def _says(body: bytes, *headers: str, status: str = "200 OK") -> _Answer:
    return lambda _leaves, asked, connection: answer(body, *headers, status=status)(
        asked, connection
    )


def _names_others(leaves: list[dict[str, Any]], asked: Asked, connection: socket.socket) -> None:
    items = [{"create": {"_id": f"other-{leaf['id']}", "status": 400}} for leaf in leaves]
    said = {"items": items, "code": 6, "invalid-event-number": len(leaves) + 5}
    answer(json.dumps(said).encode())(asked, connection)


_INDEX = {"error": {"type": "illegal_argument_exception", "reason": "no write index is defined"}}
NOTHING_TAKEN: dict[str, _Answer] = {
    "busy, for less than no time": _says(b"", "Retry-After: -5", status="429 Busy"),
    "10 MB": _says(b'{"items":[' + b"[]," * 3_500_000 + b"[]]}"),
    "cut off": lambda _leaves, asked, connection: raw(
        b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{", close=True
    )(asked, connection),
    "reset": _reset,
    "others": _names_others,
    "its index": _says(json.dumps({**_INDEX, "code": 7}).encode(), status="400 Bad Request"),
}


_AT_THE_END = """
SELECT c.next_index = h.size AS at_the_end
FROM mc.delivery_cursor c JOIN mc.ledger_head h USING (region) WHERE c.sink = 'siem'
"""


def _rows(platform: Any, query: str) -> list[Any]:
    urls = json.loads((platform.home / "secrets" / "database.json").read_text())
    server = urls["admin_url"].rpartition("/")[0]

    async def run() -> list[Any]:
        connection = await asyncpg.connect(f"{server}/mc")
        try:
            return list(await connection.fetch(query))
        finally:
            await connection.close()

    return asyncio.run(run())


def _told(platform: Any) -> list[dict[str, Any]]:
    """What each replica tells of delivery."""
    ports = [platform.record(name)["port"] for name in ("blue-1", "blue-2")]
    bodies = [httpx.get(f"http://127.0.0.1:{port}/health").json() for port in ports]
    return [body["dependencies"]["siem"] for body in bodies]


def _dead(platform: Any) -> set[str]:
    listed = json.loads(platform.mcctl("audit", "dead-letters", "list", "-o", "json").stdout)
    assert all(letter["reason"] for letter in listed["dead_letters"])
    return {letter["event_id"] for letter in listed["dead_letters"]}


@pytest.fixture(scope="module", params=["elastic", "splunk-hec"])
def attacked(request: Any, start_platform: Any) -> Iterator[tuple[Any, HostileSiem]]:
    siem = HostileSiem(request.param)
    with raw_peer(siem) as peer:
        yield (
            start_platform(
                "--replicas",
                "2",
                AUDIT_SIEM_URL=peer.by_address,
                AUDIT_SIEM_FORMAT=request.param,
                AUDIT_SIEM_KEY=KEY,
            ),
            siem,
        )


@pytest.mark.long
def test_nothing_is_lost_to_a_siem_that_does_its_worst(attacked: Any, wait_until: Any) -> None:
    """While it takes nothing (more ways: tests/isolation/test_siem_answers.py), names every event bad,
    or those of one tenant; through `kill -9` of both replicas, and a resend by two operators at once.
    """
    platform, siem = attacked

    def work(count: int) -> None:
        for tenant in ("TENANT_001", "TENANT_002") * count:
            assert platform.ask("What is open for customer 7?", tenant=tenant).status == 200

    def delivered() -> bool:
        [row] = _rows(platform, _AT_THE_END)  # what /health tells may be a second old
        told = {(one["delivery"], one.get("backlog")) for one in _told(platform)}
        return bool(row["at_the_end"]) and told == {("ok", 0)}

    work(3)
    wait_until(delivered, what="everything is with the SIEM")
    for name, instead in NOTHING_TAKEN.items():
        siem.instead, seen = instead, siem.seen
        work(1)
        wait_until(lambda seen=seen: siem.seen >= seen + 2, what=f"the SIEM is asked: {name}")
        wait_until(
            lambda: all(one["delivery"].startswith("failing: ") for one in _told(platform)),
            what=f"every replica tells it: {name}",
        )
        assert _rows(platform, "SELECT FROM mc.delivery_parked") == [], name
        if name == "reset":  # between delivery and cursor, whichever of them ships
            for replica in ("blue-1", "blue-2"):
                os.kill(platform.record(replica)["pid"], signal.SIGKILL)
            platform.mcctl("up", "--replicas", "2")
        siem.instead = None
        wait_until(delivered, what=f"all is with the SIEM again: {name}")
    assert {row["event_id"] for row in _rows(platform, "SELECT event_id FROM mc.ledger_id")} <= set(
        siem.kept
    )

    siem.bad = lambda _leaf: True
    work(15)
    wait_until(
        lambda: all("rejects too many" in one["delivery"] for one in _told(platform)),
        what="every replica tells that all are refused",
    )
    assert len(_dead(platform)) <= 5
    siem.bad = lambda leaf: leaf["tenant"] == "TENANT_002" and leaf["kind"] == "request.accepted"
    wait_until(delivered, what="what is not refused is with the SIEM")
    work(5)
    wait_until(delivered, what="what is not refused is with the SIEM")
    ledger = {row["event_id"] for row in _rows(platform, "SELECT event_id FROM mc.ledger_id")}
    dead = _dead(platform)
    assert dead
    assert ledger == set(siem.kept) | dead
    wait_until(
        lambda: {_parked(platform, number) for number in (1, 2)} == {float(len(dead))},
        what="every replica counts the dead letters",
    )

    def resend(whose: str) -> dict[str, Any]:
        said = ("--all", "--reason", "mended", "--yes", "--as", whose, "-o", "json")
        done = platform.mcctl("audit", "dead-letters", "resend", *said, check=False)
        return {**json.loads(done.stdout), "code": done.returncode}

    assert resend("OPERATOR")["code"] == 1  # it is bad still: refused again, and kept
    assert _dead(platform) >= {leaf for leaf in dead if leaf not in siem.kept}
    siem.bad = lambda _leaf: False
    with ThreadPoolExecutor(2) as both:
        told = list(both.map(resend, ("OPERATOR", "OPERATOR_2")))
    assert {one["code"] for one in told} == {0}, told
    wait_until(delivered, what="the resend's own event is with the SIEM")
    assert _dead(platform) == set()
    ledger = {row["event_id"] for row in _rows(platform, "SELECT event_id FROM mc.ledger_id")}
    assert ledger == set(siem.kept)
    leaves = _rows(platform, "SELECT event_id, leaf FROM mc.ledger_event")
    assert all(siem.kept[row["event_id"]] == json.loads(row["leaf"]) for row in leaves)
    for name in ("blue-1", "blue-2"):
        assert KEY not in "\n".join(platform.log(name))


def _parked(platform: Any, number: int) -> float:
    lines = platform.metrics(f"blue-{number}").splitlines()
    return float(next(line for line in lines if line.startswith("mc_siem_parked ")).split()[1])
