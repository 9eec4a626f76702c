"""The SIEM receiver."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from mc_ops.environments.local.samples.siem_receiver import Receiver, create_app, event_id

KEY = {"Authorization": "Bearer the-key"}
EVENTS = [{"metadata": {"uid": "e-1"}, "n": 1}, {"metadata": {"uid": "e-2"}, "n": 2}]


@pytest.fixture
def events_file(tmp_path: Path) -> Path:
    """Where the receiver keeps what it gets."""
    return tmp_path / "siem" / "events.jsonl"


@pytest.fixture
async def siem(events_file: Path) -> AsyncIterator[TestClient]:  # type: ignore[type-arg]
    """A client of a running receiver."""
    receiver = Receiver(events_file)
    async with TestClient(TestServer(create_app(receiver, "the-key"))) as client:
        yield client
    receiver.close()


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "é"}])
async def test_without_the_key_nothing_is_taken(
    headers: dict[str, str],
    siem: TestClient,  # type: ignore[type-arg]
    events_file: Path,
) -> None:
    """A missing or wrong key is 401 everywhere but on /health."""
    assert (await siem.post("/ingest", json=EVENTS, headers=headers)).status == 401
    assert (await siem.get("/stats", headers=headers)).status == 401
    assert (await siem.post("/control", json={"failing": True}, headers=headers)).status == 401
    assert (await siem.get("/health")).status == 200
    assert events_file.read_bytes() == b""


async def test_every_form_is_kept_and_counted(
    siem: TestClient,  # type: ignore[type-arg]
    events_file: Path,
) -> None:
    """Array, JSON lines, one object and gzip are taken; repeats are kept and counted."""
    lines = "\n".join(json.dumps(event) for event in EVENTS).encode()
    assert (await siem.post("/ingest", json=EVENTS, headers=KEY)).status == 200
    assert (await siem.post("/ingest", data=lines, headers=KEY)).status == 200
    zipped = {**KEY, "Content-Encoding": "gzip"}
    assert (await siem.post("/ingest", data=gzip.compress(lines), headers=zipped)).status == 200
    single = await siem.post("/ingest", json={"id": "e-3"}, headers=KEY)
    assert await single.json() == {"accepted": 1}
    kept = [json.loads(line) for line in events_file.read_text().splitlines()]
    assert kept == [*EVENTS * 3, {"id": "e-3"}]
    stats = await (await siem.get("/stats", headers=KEY)).json()
    assert stats == {"count": 7, "distinct": 3, "duplicates": 4, "failing": False}


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"[]", b'{"a":1}\nnot json', b"\xff"])
async def test_what_is_no_event_is_refused_whole(
    body: bytes,
    siem: TestClient,  # type: ignore[type-arg]
    events_file: Path,
) -> None:
    """A batch with one bad line is refused, and none of it is kept."""
    assert (await siem.post("/ingest", data=body, headers=KEY)).status == 400
    assert events_file.read_bytes() == b""


async def test_it_fails_and_recovers_as_told(siem: TestClient) -> None:  # type: ignore[type-arg]
    """/control makes /ingest answer 503 until told otherwise."""
    assert (await siem.post("/control", json={"failing": "yes"}, headers=KEY)).status == 400
    await siem.post("/control", json={"failing": True}, headers=KEY)
    assert (await siem.post("/ingest", json=EVENTS, headers=KEY)).status == 503
    assert (await (await siem.get("/health")).json())["status"] == "degraded"
    await siem.post("/control", json={"failing": False}, headers=KEY)
    assert (await siem.post("/ingest", json=EVENTS, headers=KEY)).status == 200


async def test_a_restart_counts_on_and_drops_a_torn_line(events_file: Path) -> None:
    """Counts come back from the file; a batch torn by a kill was never acknowledged."""
    first = Receiver(events_file)
    await first.keep(EVENTS)
    first.close()
    with events_file.open("ab") as file:
        file.write(b'{"metadata": {"ui')
    again = Receiver(events_file)
    assert again.stats() == {"count": 2, "distinct": 2, "duplicates": 0}
    await again.keep(EVENTS[:1])
    assert len(events_file.read_text().splitlines()) == 3
    again.close()


def test_event_ids_are_found_in_each_format() -> None:
    """OCSF, ECS, a Splunk envelope and plain ids; without any, equal events are equal."""
    assert event_id({"metadata": {"uid": "a"}}) == "a"
    assert event_id({"event": {"id": "b"}}) == "b"
    assert event_id({"event": {"metadata": {"uid": "c"}}}) == "c"
    assert event_id({"id": "d"}) == "d"
    assert event_id({"x": 1, "y": 2}) == event_id({"y": 2, "x": 1})
