"""An event that the SIEM refuses for good is parked; a SIEM that refuses all parks next to none."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

REJECTS_EVERYTHING = "failing: the sink rejects everything"


@pytest.mark.parametrize("how", ["poison", "blamed", "unmappable"])
async def test_a_poison_event_is_parked_and_delivery_goes_on(memory, start, how):
    """Whether the SIEM names it or not, or our own code cannot map it: only that one is parked."""
    outbox, siem = memory.Outbox(250), memory.Sink()
    setattr(siem, how, {137})
    running = start(outbox, siem)
    await memory.until(lambda: outbox.cursors.get("siem") == 250)
    assert siem.got == [index for index in range(250) if index != 137]
    reason = {"poison": "HTTP 400", "blamed": "mapping", "unmappable": "cannot be mapped: KeyError"}
    assert outbox.parked["siem"] == {137: reason[how]}
    assert running.shipper.state == "ok"


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    count=st.integers(2, 120),
    poison=st.sets(st.integers(1, 119)),
    blamed=st.sets(st.integers(1, 119)),
    most=st.integers(1, 40),
)
def test_all_and_only_poison_is_parked_and_order_is_kept(memory, count, poison, blamed, most):
    """However many there are and wherever they lie, once the SIEM has taken one event."""

    async def ship():
        outbox, siem = memory.Outbox(count), memory.Sink(most=most)
        siem.poison, siem.blamed = poison, blamed
        running = memory.Run(outbox, siem, None)
        await memory.until(lambda: outbox.cursors.get("siem") == count)
        await running.stop()
        return outbox, siem

    outbox, siem = asyncio.run(ship())
    bad = {index for index in poison | blamed if index < count}
    assert set(outbox.parked["siem"]) == bad
    # The guard offers an event that was taken once more; all others come once, in order.
    firsts = list(dict.fromkeys(siem.got))
    assert firsts == [index for index in range(count) if index not in bad]
    assert len(siem.got) - len(firsts) <= len(bad) // 5


async def test_a_siem_that_rejects_everything_parks_no_ledger(memory, start):
    """Five are parked, then none: it is told, tried again, and all others arrive when it is mended."""
    outbox, siem = memory.Outbox(500), memory.Sink()
    siem.rejects_all = True
    running = start(outbox, siem)
    await memory.until(lambda: running.shipper.state == REJECTS_EVERYTHING)
    tries = siem.tries
    await memory.until(lambda: siem.tries > tries)  # it goes on trying
    assert sorted(outbox.parked["siem"]) == [0, 1, 2, 3, 4]
    assert outbox.cursors["siem"] == 5

    await running.stop()  # a restart does not park five more
    again = start(outbox, siem)
    await memory.until(lambda: again.shipper.state == REJECTS_EVERYTHING)
    assert len(outbox.parked["siem"]) == 5

    siem.rejects_all = False
    await memory.until(lambda: outbox.cursors["siem"] == 500)
    assert siem.got == list(range(5, 500))
    await memory.until(lambda: again.shipper.state == "ok")


async def test_a_siem_that_begins_to_reject_everything_is_told_by_what_it_took_before(
    memory, start
):
    """The last event that it took is offered again, and is rejected too: then nothing is parked."""
    outbox, siem = memory.Outbox(100), memory.Sink()
    running = start(outbox, siem)
    await memory.until(lambda: outbox.cursors.get("siem") == 100)
    siem.rejects_all = True
    outbox.add(50)
    await memory.until(lambda: running.shipper.state == REJECTS_EVERYTHING)
    assert len(outbox.parked["siem"]) == 5
    siem.rejects_all = False
    await memory.until(lambda: outbox.cursors["siem"] == 150)


async def test_a_batch_of_which_each_event_is_rejected_by_name_is_not_parked_whole(memory, start):
    """A SIEM that refuses 100 of 100 by name rejects everything, too."""
    outbox, siem = memory.Outbox(100), memory.Sink()
    siem.blamed = set(range(100))
    running = start(outbox, siem)
    await memory.until(lambda: running.shipper.state == REJECTS_EVERYTHING)
    assert outbox.parked["siem"] == {}
    assert outbox.cursors["siem"] == 0


@pytest.mark.parametrize("defect", [OverflowError("date"), RecursionError(), MemoryError()])
async def test_a_defect_of_the_sink_costs_no_event(memory, start, defect):
    """Only encoding speaks against an event: any other error is told and tried again."""
    outbox, siem = memory.Outbox(50), memory.Sink()
    siem.broken = defect
    running = start(outbox, siem)
    told = f"failing: unexpected {type(defect).__name__} in the sink"
    await memory.until(lambda: running.shipper.state == told)
    tries = siem.tries
    await memory.until(lambda: siem.tries > tries)
    assert outbox.parked["siem"] == {}
    assert outbox.cursors["siem"] == 0
    siem.broken = None
    await memory.until(lambda: outbox.cursors["siem"] == 50)
    assert siem.got == list(range(50))
