"""Delivery: at-least-once, in order, with the file standing in while the SIEM is down."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
import structlog

from mc_platform.deliver import Prepared
from mc_platform.deliver.outbox import Rejected, Shipment, SinkRefused
from mc_platform.deliver.reports import SiemReport
from mc_platform.observe import logs, metrics


async def test_everything_arrives_in_order_and_one_batch_at_a_time(memory, start):
    """What is recorded arrives once, in order; the next batch is read while one is being sent."""
    outbox, siem = memory.Outbox(1050), memory.Sink()
    siem.latency_s = 0.01
    running = start(outbox, siem)
    await memory.until(lambda: len(siem.got) == 1050)
    assert siem.got == list(range(1050))
    assert siem.most_under_way == 1
    assert max(len(batch) for batch in siem.batches) == 100
    outbox.add(3)
    running.shipper.wake()
    await memory.until(lambda: len(siem.got) == 1053)
    assert siem.batches[-1] == [1050, 1051, 1052]
    assert running.shipper.state == "ok"


async def test_the_next_batch_is_read_while_the_former_is_being_sent(memory, start):
    """A slow SIEM does not make the database wait its turn."""
    outbox, siem = memory.Outbox(300), memory.Sink()
    siem.latency_s = 60.0
    start(outbox, siem)
    await memory.until(lambda: siem.under_way == 1)
    await memory.until(lambda: (100, 100) in outbox.reads)
    assert outbox.cursors["siem"] == 0


async def test_while_the_siem_is_down_the_file_takes_everything_and_the_siem_gets_it_later(
    memory, start
):
    """The file goes on taking new events; on recovery the SIEM gets all, and the file rests."""
    outbox, siem, file = memory.Outbox(30), memory.Sink(), memory.Sink("file")
    siem.refusing, siem.retry_after_s = "HTTP 503", 0.05
    running = start(outbox, siem, file)
    await memory.until(lambda: len(file.got) == 30)
    outbox.add(20)
    await memory.until(lambda: len(file.got) == 50)
    assert running.shipper.state == "failing: HTTP 503; file backup holds 50 events"
    assert running.shipper.failing
    assert outbox.cursors == {"siem": 0, "file": 50}

    siem.refusing = None
    await memory.until(lambda: len(siem.got) == 50)
    await memory.until(lambda: "file" not in outbox.claimed)
    outbox.add(10)
    await memory.until(lambda: len(siem.got) == 60)
    assert siem.got == list(range(60))
    assert file.got == list(range(50))
    assert running.shipper.state == "ok"
    await memory.until(lambda: file.told_delivered == 60)


async def test_a_second_outage_does_not_write_what_the_siem_took_in_between(memory, start):
    """The file begins where the SIEM stands, or where it stood itself if that is further."""
    outbox, siem, file = memory.Outbox(10), memory.Sink(), memory.Sink("file")
    start(outbox, siem, file)
    await memory.until(lambda: len(siem.got) == 10)
    siem.refusing, siem.retry_after_s = "HTTP 503", 0.05
    outbox.add(5)
    await memory.until(lambda: file.got == list(range(10, 15)))


async def test_a_shipper_that_dies_amid_an_outage_is_followed_by_one_that_loses_nothing(
    memory, start
):
    """Both cursors live with the ledger: the file has each event once, the SIEM all of them."""
    outbox, siem, file = memory.Outbox(10), memory.Sink(), memory.Sink("file")
    siem.refusing, siem.retry_after_s = "TimeoutError", 0.05
    first = start(outbox, siem, file)
    await memory.until(lambda: len(file.got) == 10)
    await first.stop()
    outbox.add(10)
    start(outbox, siem, file)
    await memory.until(lambda: len(file.got) == 20)
    siem.refusing = None
    await memory.until(lambda: len(siem.got) == 20)
    assert file.got == list(range(20))
    assert siem.got == list(range(20))


async def test_the_file_waits_for_its_time(memory, start):
    """A SIEM that was away for less than the set time needs no file."""
    outbox, siem, file = memory.Outbox(10), memory.Sink(), memory.Sink("file")
    siem.refusing, siem.retry_after_s = "HTTP 503", 0.02
    running = start(outbox, siem, file, file_after_s=3600.0)
    await memory.until(lambda: siem.tries >= 5)
    assert file.tries == 0
    assert running.shipper.state == "failing: HTTP 503"


async def test_without_a_siem_the_file_alone_is_the_sink(memory, start):
    """A file that is configured without a SIEM gets every event, and no SIEM figure moves."""
    outbox, file = memory.Outbox(250), memory.Sink("file")
    running = start(outbox, None, file)
    await memory.until(lambda: len(file.got) == 250)
    await memory.until(lambda: running.shipper.state == "ok")
    file.refusing, file.retry_after_s = "OSError: No space left on device", 0.02
    outbox.add(1)
    await memory.until(lambda: running.shipper.failing)
    assert running.shipper.state == "failing: OSError: No space left on device"
    file.refusing = None
    await memory.until(lambda: file.got == list(range(251)))


async def test_a_full_disk_is_told_and_loses_nothing(memory, start):
    """While neither takes events both cursors stand; each gets everything when it can."""
    outbox, siem, file = memory.Outbox(5), memory.Sink(), memory.Sink("file")
    siem.refusing, siem.retry_after_s = "HTTP 503", 0.02
    file.refusing, file.retry_after_s = "OSError: No space left on device", 0.02
    errors = metrics.audit_file_errors._value.get()
    running = start(outbox, siem, file)
    wanted = "failing: HTTP 503; file backup failing: OSError: No space left on device"
    await memory.until(lambda: running.shipper.state == wanted)
    assert metrics.audit_file_errors._value.get() > errors
    assert outbox.cursors == {"siem": 0, "file": 0}
    file.refusing = None
    await memory.until(lambda: file.got == list(range(5)))
    siem.refusing = None
    await memory.until(lambda: siem.got == list(range(5)))


async def test_one_ships_and_the_others_stand_by_and_take_over(memory, start):
    """The claim is one process's; when that ends, another goes on where it stopped."""
    outbox, siem = memory.Outbox(10), memory.Sink()
    first = start(outbox, siem)
    await memory.until(lambda: len(siem.got) == 10)
    other = memory.Sink()
    second = start(outbox, other)
    await memory.until(lambda: second.shipper.state == "standby")
    assert not second.shipper.failing
    await first.stop()
    outbox.add(5)
    await memory.until(lambda: other.got == list(range(10, 15)))


async def test_the_backlog_is_told_while_the_siem_is_down_and_by_a_replica_on_standby(
    memory, start
):
    """Every replica reads the figures, so none keeps an old one."""
    outbox, siem = memory.Outbox(7), memory.Sink()
    siem.refusing, siem.retry_after_s = "HTTP 503", 300.0
    start(outbox, siem)
    await memory.until(lambda: siem.tries == 1)
    standby = start(outbox, memory.Sink())
    await memory.until(lambda: standby.shipper.state == "standby")
    outbox.add(4)  # while the one that ships waits for five minutes
    await memory.until(lambda: metrics.siem_backlog._value.get() == 11)
    assert metrics.siem_backlog_age._value.get() > 0


async def test_a_siem_that_is_down_is_the_same_on_every_replica(memory, start):
    """One ships and waits for five minutes; the other, on standby, says the same of the region."""
    outbox, siem = memory.Outbox(7), memory.Sink()
    siem.refusing, siem.retry_after_s = "HTTP 503", 300.0
    first = start(outbox, siem).shipper
    await memory.until(lambda: siem.tries == 1)
    standby = start(outbox, memory.Sink()).shipper
    await memory.until(lambda: standby.state == "standby")
    for shipper in (first, standby):
        await memory.until(lambda shipper=shipper: shipper.region()[1].get("backlog") == 7)
        works, told = shipper.region()
        assert not works
        assert told["delivery"] == "failing: HTTP 503"
        assert told["oldest_s"] > 0
    outbox.failing.clear()  # and where nobody tells why, its age does
    outbox.cursors["siem"] = 3
    await memory.until(lambda: standby.region()[1].get("backlog") == 4)
    works, told = standby.region()
    assert (works, told["delivery"].split(":")[0]) == (False, "late")
    outbox.cursors["siem"] = 7
    await memory.until(lambda: standby.region()[0])
    ok = {"shipper": "standby", "delivery": "ok", "backlog": 0, "oldest_s": 0.0}
    assert standby.region()[1] == ok


async def test_a_cursor_beyond_the_log_is_told_by_every_replica(memory, start):
    """What was delivered is gone: an alarm and no backlog of 0."""
    outbox, siem = memory.Outbox(10), memory.Sink()
    first = start(outbox, siem).shipper
    await memory.until(lambda: outbox.cursors.get("siem") == 10)
    standby = start(outbox, memory.Sink()).shipper
    await memory.until(lambda: standby.state == "standby")
    assert first.damage is None
    del outbox.events[6:]
    for shipper in (first, standby):
        await memory.until(lambda shipper=shipper: shipper.damage is not None)
        works, told = shipper.region()
        assert not works
        assert "4 events beyond the log's end" in told["delivery"]
    assert metrics.delivery_cursor_ahead._value.get() == 4


async def test_delivery_is_unknown_while_the_outbox_cannot_be_read(memory, start):
    """Nothing is ok that was not looked at."""
    outbox = memory.Outbox(0)
    outbox.down = True
    works, told = start(outbox, memory.Sink()).shipper.region()
    assert (works, told["delivery"]) == (False, "unknown: the outbox cannot be read")


async def test_a_database_that_is_down_pauses_delivery(memory, start):
    """It is told, and delivery goes on by itself when the database is back."""
    outbox, siem = memory.Outbox(3), memory.Sink()
    running = start(outbox, siem)
    await memory.until(lambda: len(siem.got) == 3)
    outbox.down = True
    await memory.until(lambda: running.shipper.state == "failing: the database is down")
    outbox.down = False
    outbox.add(2)
    await memory.until(lambda: siem.got == list(range(5)))
    await memory.until(lambda: running.shipper.state == "ok")


async def test_a_backlog_drains_at_its_bound(memory, start):
    """After an outage the SIEM is not trampled: 100 events/s, so 200 beyond the first are 2 s."""
    outbox, siem = memory.Outbox(300), memory.Sink(most=50)
    began = asyncio.get_running_loop().time()
    running = start(outbox, siem, drain_events_per_s=100.0)
    await memory.until(lambda: len(siem.got) >= 100)
    assert running.shipper.state.startswith("draining ")
    await memory.until(lambda: len(siem.got) >= 250)
    # From the start on: however late this task looks, it has not seen too short a time
    assert asyncio.get_running_loop().time() - began > 1.9
    await memory.until(lambda: siem.got == list(range(300)))


async def test_every_outcome_is_counted_and_the_log_line_is_the_contract(memory, start):
    """`success`, `failure` and `rejected` are counted; a delivered batch has its line."""

    def counted():
        return {
            status: metrics.siem_requests.labels(status)._value.get()
            for status in ("success", "failure", "rejected")
        }

    before = counted()
    outbox, siem = memory.Outbox(4), memory.Sink()
    siem.poison, siem.refusing, siem.retry_after_s = {1}, "HTTP 503", 0.02
    with structlog.testing.capture_logs() as lines:
        start(outbox, siem)
        await memory.until(lambda: siem.refused >= 2)
        siem.refusing = None
        await memory.until(lambda: siem.got == [0, 2, 3])
        await memory.until(lambda: outbox.cursors["siem"] == 4)
    after = counted()
    assert after["success"] - before["success"] == 2
    assert after["failure"] - before["failure"] == siem.refused
    assert after["rejected"] - before["rejected"] == 3  # 0..3, 0..1, 1
    delivered = [line for line in lines if line["event"] == logs.DELIVERY]
    assert [
        (line["log_level"], line["status"], line["first"], line["last"], line["events"])
        for line in delivered
    ] == [
        ("info", "success", 0, 0, 1),  # after a refusal
        ("debug", "success", 2, 3, 2),
    ]
    parked = [line for line in lines if line["event"] == "siem_event_parked"]
    assert [(line["log_level"], line["event_id"], line["reason"]) for line in parked] == [
        ("error", "event-1", "HTTP 400")
    ]


def test_deliveries_are_one_line_a_minute():
    """What changes is told at once; of a minute without any nothing is told."""
    now = [0.0]
    report = SiemReport(lambda: now[0])
    batch = [Shipment(index, datetime.now(UTC), {"id": "x"}, b"12345") for index in range(4)]
    with structlog.testing.capture_logs() as lines:
        report.summarise()
        for took_s in [0.01] * 96 + [0.2] * 4:
            report.taken(batch, [Rejected(0, "no")], took_s=took_s)
        now[0] = 59.0
        report.summarise()
        report.refused(SinkRefused("HTTP 503"), failures=1, wait_s=1.0)
        report.taken(batch, [], took_s=0.01)
        now[0] = 60.0
        report.summarise()
        now[0] = 130.0
        report.summarise()
        report.refused(SinkRefused("HTTP 503"), failures=1, wait_s=1.0)
        report.summarise(at_end=True)
    told = [line for line in lines if line["log_level"] != "debug"]
    assert [line["event"] for line in told] == [
        "siem_delivery", "siem_refused", "siem_delivery", "siem_delivery", "siem_refused",
        "siem_delivery",
    ]  # fmt: skip
    assert told[3] == {
        "event": "siem_delivery", "log_level": "info", "status": "success", "batches": 101,
        "events": 304, "bytes": 2020, "p95_ms": 10.0, "failures": 1, "over_s": 60,
    }  # fmt: skip
    assert (told[5]["status"], told[5]["batches"], told[5]["p95_ms"]) == ("failure", 0, None)


def test_a_shipper_without_any_sink_is_refused(memory):
    """There must be something to ship to."""
    from mc_platform.deliver import Shipper

    with pytest.raises(ValueError, match="a SIEM, a file, or both"):
        Shipper(outbox=memory.Outbox(), siem=None, backup=None, file_after_s=1.0)


async def test_a_sink_that_can_is_given_the_next_batch_to_make_ready(memory, start):
    """Encoding runs while the former batch is being sent; what was made ready is what is sent."""
    outbox, encoded = memory.Outbox(350), []

    class Encoding(memory.Sink):
        def __init__(self):
            super().__init__()
            self.ready = Prepared(self.encode)
            self.prepare = self.ready.prepare

        def encode(self, batch):
            encoded.append(batch[0].index)
            if batch[0].index == 100 and encoded.count(100) == 1:
                raise KeyError("a defect while making ready stops nothing")
            return b"%d" % batch[0].index

        async def take(self, batch):
            assert await self.ready.body(batch) == b"%d" % batch[0].index
            return await super().take(batch)

    siem = Encoding()
    siem.latency_s = 0.02
    start(outbox, siem)
    await memory.until(lambda: siem.got == list(range(350)))
    assert sorted(encoded) == [0, 100, 100, 200, 300]
