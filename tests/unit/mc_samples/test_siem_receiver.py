"""The SIEM receiver."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp.test_utils import TestClient, TestServer

from mc_contract.siem import SiemFormat
from mc_platform.adapters.siem.sink import siem_sink
from mc_platform.deliver import BatchRejected, Shipment, SinkRefused
from mc_samples.siem_receiver import create_app
from mc_samples.siem_store import Receiver, event_id, note_of_line, parse_concatenated, place_of

KEY = {"Authorization": "Bearer the-key"}
HEC = {"Authorization": "Splunk the-key", "X-Splunk-Request-Channel": "c-1"}
ELASTIC = {"Authorization": "ApiKey the-key"}
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
    assert stats == {
        "count": 7,
        "distinct": 3,
        "duplicates": 4,
        "order_violations": 0,
        "failing": False,
    }


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
    assert again.stats() == {"count": 2, "distinct": 2, "duplicates": 0, "order_violations": 0}
    await again.keep(EVENTS[:1])
    assert len(events_file.read_text().splitlines()) == 3
    again.close()


async def test_a_restart_reads_lines_as_they_were_written(events_file: Path) -> None:
    """A bare return within a line is JSON's white space, and ends no line."""
    line = b'{"metadata":\r{"uid": "e-1"}}'
    first = Receiver(events_file)
    await first.keep_lines([line], [note_of_line(line)])
    first.close()
    again = Receiver(events_file)
    assert again.stats() == {"count": 1, "distinct": 1, "duplicates": 0, "order_violations": 0}
    again.close()


def test_event_ids_are_found_in_each_format() -> None:
    """OCSF, ECS, a Splunk envelope and plain ids; without any, equal events are equal."""
    assert event_id({"metadata": {"uid": "a"}}) == "a"
    assert event_id({"event": {"id": "b"}}) == "b"
    assert event_id({"event": {"metadata": {"uid": "c"}}}) == "c"
    assert event_id({"id": "d"}) == "d"
    assert event_id({"x": 1, "y": 2}) == event_id({"y": 2, "x": 1})


async def _stats(siem: TestClient) -> dict[str, int]:  # type: ignore[type-arg]
    return await (await siem.get("/stats", headers=KEY)).json()


async def _told(siem: TestClient, **behaviour: object) -> None:  # type: ignore[type-arg]
    assert (await siem.post("/control", json=behaviour, headers=KEY)).status == 200


@pytest.mark.parametrize("told", [{}, {"fail": True}, {"slow_s": "long"}, [1], {"reject": "e-1"}])
async def test_what_it_is_told_must_make_sense(told: object, siem: TestClient) -> None:  # type: ignore[type-arg]
    """An unknown field or a wrong type changes nothing."""
    assert (await siem.post("/control", json=told, headers=KEY)).status == 400
    assert (await siem.post("/ingest", json=EVENTS, headers=KEY)).status == 200


async def test_it_asks_for_patience_as_told(siem: TestClient) -> None:  # type: ignore[type-arg]
    """With `retry_after_s` a failure is a 429 with Retry-After, in each protocol."""
    await _told(siem, failing=True, retry_after_s=7)
    for path, headers in (
        ("/ingest", KEY),
        ("/services/collector/event", HEC),
        ("/mc-audit/_bulk", ELASTIC),
    ):
        answer = await siem.post(path, json=EVENTS, headers=headers)
        assert (answer.status, answer.headers["Retry-After"]) == (429, "7")


async def test_it_is_slow_as_told(siem: TestClient) -> None:  # type: ignore[type-arg]
    """An answer comes no sooner than told."""
    await _told(siem, slow_s=0.2)
    began = time.monotonic()
    assert (await siem.post("/ingest", json=EVENTS, headers=KEY)).status == 200
    assert time.monotonic() - began >= 0.2


async def test_a_poisonous_event_spoils_its_batch(
    siem: TestClient,  # type: ignore[type-arg]
    events_file: Path,
) -> None:
    """By id or by index: the whole batch is a 400 and none of it is kept."""
    placed = [{"metadata": {"uid": f"p-{i}", "sequence": i}} for i in range(3)]
    for poison in (["p-1"], [2]):
        await _told(siem, reject=poison)
        assert (await siem.post("/ingest", json=placed, headers=KEY)).status == 400
    assert (await siem.post("/ingest", json=placed[:2], headers=KEY)).status == 200
    assert len(events_file.read_text().splitlines()) == 2


async def test_order_is_watched(siem: TestClient) -> None:  # type: ignore[type-arg]
    """A new event with a smaller index is a violation; a repeat and another region are not."""

    def placed(index: int, region: str = "r-1") -> dict[str, object]:
        return {
            "metadata": {"uid": f"{region}-{index}", "sequence": index},
            "cloud": {"region": region},
        }

    for index, region in ((1, "r-1"), (3, "r-1"), (1, "r-1"), (2, "r-2")):
        await siem.post("/ingest", json=placed(index, region), headers=KEY)
    assert (await _stats(siem))["order_violations"] == 0
    await siem.post("/ingest", json=placed(2), headers=KEY)
    assert (await _stats(siem))["order_violations"] == 1


async def test_hec_acknowledges_late_as_told(siem: TestClient) -> None:  # type: ignore[type-arg]
    """The ackId is answered false until its time, and only on the channel that it was given on."""
    await _told(siem, ack_after_s=60)
    posted = await siem.post("/services/collector/event", json={"event": EVENTS[0]}, headers=HEC)
    ack = (await posted.json())["ackId"]

    async def acknowledged(channel: str) -> bool:
        headers = {**HEC, "X-Splunk-Request-Channel": channel}
        answer = await siem.post("/services/collector/ack", json={"acks": [ack]}, headers=headers)
        return bool((await answer.json())["acks"][str(ack)])

    assert not await acknowledged("c-1")
    await _told(siem, ack_after_s=0)
    assert await acknowledged("c-1")
    assert not await acknowledged("c-2")
    await _told(siem, ack=False)
    answer = await siem.post("/services/collector/ack", json={"acks": [ack]}, headers=HEC)
    assert (answer.status, (await answer.json())["code"]) == (400, 14)


async def test_hec_refuses_strangers_with_its_codes(siem: TestClient) -> None:  # type: ignore[type-arg]
    """No token is code 2, a wrong one code 4, no channel code 10."""
    path = "/services/collector/event"
    for headers, status, code in (
        ({}, 401, 2),
        ({"Authorization": "Splunk wrong"}, 403, 4),
        (KEY, 403, 4),
        ({"Authorization": "Splunk the-key"}, 400, 10),
    ):
        answer = await siem.post(path, json={"event": EVENTS[0]}, headers=headers)
        assert (answer.status, (await answer.json())["code"]) == (status, code)


def test_hec_bodies_need_no_newlines() -> None:
    """Events stand one after the other, with any white space or none between them."""
    assert parse_concatenated(b' {"a":1}{"b":2}\n\n{"c":3} ') == [{"a": 1}, {"b": 2}, {"c": 3}]
    for bad in (b"{", b'{"a":1},{"b":2}', b"\xff"):
        with pytest.raises(ValueError):
            parse_concatenated(bad)


def test_places_are_found_in_each_format() -> None:
    """Region and index of OCSF, of it inside HEC's envelope, and of ECS."""
    ocsf = {"metadata": {"sequence": 4}, "cloud": {"region": "eu"}}
    assert place_of(ocsf) == ("eu", 4)
    assert place_of({"event": ocsf}) == ("eu", 4)
    assert place_of({"event": {"sequence": 5}, "cloud": {"region": "us"}}) == ("us", 5)
    assert place_of({"x": 1}) == ("", None)


def _shipments(count: int) -> list[Shipment]:
    made = []
    for index in range(count):
        leaf = {
            "v": 1,
            "region": "local-1",
            "id": f"event-{index}",
            "kind": "step.done",
            "tenant": "TENANT_001",
            "occurred_at": "2026-01-02T03:04:05+00:00",
            "detail": {"operation_id": "op-1"},
        }
        made.append(Shipment(index, datetime.now(UTC), leaf, json.dumps(leaf).encode()))
    return made


@pytest.mark.parametrize("spoken", [SiemFormat.ocsf, SiemFormat.splunk_hec, SiemFormat.elastic])
async def test_it_understands_the_services_own_sinks(
    spoken: SiemFormat,
    siem: TestClient,  # type: ignore[type-arg]
) -> None:
    """In each format: taken once, told again as a repeat, a poisonous event named, a stop refused."""
    path = "/ingest" if spoken is SiemFormat.ocsf else ""
    sink = siem_sink(url=str(siem.make_url(path)), key="the-key", format=spoken, version="1")
    batch = _shipments(5)
    assert list(await sink.take(batch[:3])) == []
    assert list(await sink.take(batch[:3])) == []
    assert await _stats(siem) == {
        "count": 6,
        "distinct": 3,
        "duplicates": 3,
        "order_violations": 0,
        "failing": False,
    }
    await _told(siem, reject=["event-3"])
    if spoken is SiemFormat.ocsf:
        with pytest.raises(BatchRejected):
            await sink.take(batch[3:])
    else:
        assert [one.index for one in await sink.take(batch[3:])] == [3]
        assert (await _stats(siem))["distinct"] == 4
    await _told(siem, failing=True)
    with pytest.raises(SinkRefused):
        await sink.take(batch[4:])
    await sink.close()
