"""What the SIEM refuses for good is a dead letter; a SIEM that refuses all makes next to none."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

REJECTS_TOO_MUCH = "failing: the sink rejects too many events"


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


KINDS = ("request.accepted", "reply.released", "step.done", "request.refused")


async def _ship(memory, outbox, siem, until):
    running = memory.Run(outbox, siem, None)
    await memory.until(lambda: until(running.shipper), 5)
    await running.stop()


def _in_turn(got):
    """The order of what came, without what was offered ahead of its turn: that comes again."""
    return [index for at, index in enumerate(got) if index not in got[at + 1 :]]


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    kinds=st.lists(st.sampled_from(KINDS), max_size=90),
    bad_kind=st.sampled_from(KINDS),
    frequent=st.integers(0, 8),
    most=st.integers(1, 40),
    named=st.booleans(),
)
def test_a_siem_that_refuses_one_kind_makes_dead_letters_of_all_and_only_those(
    memory, kinds, bad_kind, frequent, most, named
):
    """However frequent the kind is, and however many of it come in a row; order is kept."""
    kinds = [each for kind in kinds for each in [bad_kind] * frequent + [kind]]
    kinds.append(next(kind for kind in KINDS if kind != bad_kind))
    outbox, siem = memory.Outbox(len(kinds), kinds), memory.Sink(most=most)
    siem.bad, siem.names_bad = lambda item: item.leaf["kind"] == bad_kind, named
    asyncio.run(_ship(memory, outbox, siem, lambda _: outbox.cursors.get("siem") == len(kinds)))
    bad = {index for index, kind in enumerate(kinds) if kind == bad_kind}
    assert set(outbox.parked["siem"]) == bad
    assert _in_turn(siem.got) == [index for index in range(len(kinds)) if index not in bad]


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=8, max_size=150),
    healthy=st.integers(0, 60),
    most=st.integers(1, 40),
    named=st.booleans(),
)
def test_a_siem_that_refuses_everything_makes_a_few_dead_letters_at_most(
    memory, kinds, healthy, most, named
):
    """From the first event on or after it was well, in batches or one by one; then it is mended."""
    outbox, siem = memory.Outbox(healthy + len(kinds), [*KINDS * 15][:healthy] + kinds), None
    siem = memory.Sink(most=most)
    siem.names_bad, siem.bad = named, lambda item: item.index >= healthy

    async def run():
        await _ship(memory, outbox, siem, lambda shipper: shipper.failing)
        assert len(outbox.parked["siem"]) <= 5
        await _ship(memory, outbox, siem, lambda shipper: shipper.failing)  # after a restart
        assert len(outbox.parked["siem"]) <= 5
        siem.bad = None
        await _ship(memory, outbox, siem, lambda _: outbox.cursors["siem"] == len(outbox.events))

    asyncio.run(run())
    assert set(siem.got) | set(outbox.parked["siem"]) == set(range(len(outbox.events)))


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("most", [1, 7, 100])
async def test_a_siem_that_refuses_most_events_of_every_kind_is_at_fault(
    memory, start, named, most
):
    """Nine of ten, whatever they are: single ones that are taken in between excuse nothing."""
    outbox, siem = memory.Outbox(400, KINDS[:3]), memory.Sink(most=most)
    siem.bad, siem.names_bad = lambda item: item.index % 10 != 0, named
    running = start(outbox, siem)
    await memory.until(lambda: running.shipper.failing)
    tries = siem.tries
    await memory.until(lambda: siem.tries > tries + 3)
    assert running.shipper.state == REJECTS_TOO_MUCH
    assert len(outbox.parked["siem"]) <= 25


@pytest.mark.parametrize("named", [True, False])
async def test_a_few_bad_ones_of_every_kind_do_not_stop_delivery(memory, start, named):
    """A tenant's events, or those of a form that the SIEM does not take: a third of all."""
    outbox, siem = memory.Outbox(301, KINDS), memory.Sink(most=20)
    siem.bad, siem.names_bad = lambda item: item.index // 7 % 3 == 1, named
    start(outbox, siem)
    await memory.until(lambda: outbox.cursors.get("siem") == 301)
    assert set(outbox.parked["siem"]) == {i for i in range(301) if i // 7 % 3 == 1}


async def test_what_the_siem_had_already_is_no_evidence_that_it_is_well(memory, start):
    """It knows the old event by its id, and refuses each new one: ten at the end wait for another."""
    outbox, siem = memory.Outbox(50), memory.Sink()
    running = start(outbox, siem)
    await memory.until(lambda: outbox.cursors.get("siem") == 50)
    siem.bad, siem.names_bad = lambda item: item.index >= 50, True
    outbox.add(10)
    await memory.until(lambda: running.shipper.state == REJECTS_TOO_MUCH)
    assert outbox.parked["siem"] == {}
    siem.bad = lambda item: 50 <= item.index < 60
    outbox.add(1)  # taken, though later: those ten are to blame
    await memory.until(lambda: outbox.cursors["siem"] == 61)
    assert set(outbox.parked["siem"]) == set(range(50, 60))


async def test_dead_letters_that_are_wanted_again_are_sent_in_between(memory, start):
    """Taken now, refused again, or gone: each is settled, and delivery goes on."""
    outbox, siem = memory.Outbox(30), memory.Sink()
    siem.blamed = {3, 9, 20}
    start(outbox, siem)
    await memory.until(lambda: outbox.cursors.get("siem") == 30)
    assert set(outbox.parked["siem"]) == {3, 9, 20}
    siem.blamed, siem.poison = set(), {9}
    outbox.again = [3, 9, 20, 99]
    await memory.until(lambda: not outbox.again)
    assert outbox.settled_again == {
        3: None,
        9: "HTTP 400",
        20: None,
        99: "the event has left the ledger",
    }
    assert set(outbox.parked["siem"]) == {9}
    assert siem.got[-2:] == [3, 20]


async def test_a_siem_that_rejects_everything_parks_no_ledger(memory, start):
    """Five are parked, then none: it is told, tried again, and all others arrive when it is mended."""
    outbox, siem = memory.Outbox(500), memory.Sink()
    siem.rejects_all = True
    running = start(outbox, siem)
    await memory.until(lambda: running.shipper.state == REJECTS_TOO_MUCH)
    tries = siem.tries
    await memory.until(lambda: siem.tries > tries)  # it goes on trying
    assert sorted(outbox.parked["siem"]) == [0, 1, 2, 3, 4]
    assert outbox.cursors["siem"] == 5

    await running.stop()  # a restart does not park five more
    again = start(outbox, siem)
    await memory.until(lambda: again.shipper.state == REJECTS_TOO_MUCH)
    assert len(outbox.parked["siem"]) == 5

    siem.rejects_all = False
    await memory.until(lambda: outbox.cursors["siem"] == 500)
    assert siem.got == list(range(5, 500))
    await memory.until(lambda: again.shipper.state == "ok")


async def test_a_siem_that_begins_to_reject_everything_is_told_by_later_events(memory, start):
    """Later events are rejected too: then no more become dead letters."""
    outbox, siem = memory.Outbox(100), memory.Sink()
    running = start(outbox, siem)
    await memory.until(lambda: outbox.cursors.get("siem") == 100)
    siem.rejects_all = True
    outbox.add(50)
    await memory.until(lambda: running.shipper.state == REJECTS_TOO_MUCH)
    assert len(outbox.parked["siem"]) == 5
    siem.rejects_all = False
    await memory.until(lambda: outbox.cursors["siem"] == 150)


async def test_a_batch_of_which_each_event_is_rejected_by_name_is_not_parked_whole(memory, start):
    """A SIEM that refuses 100 of 100 by name rejects everything, too."""
    outbox, siem = memory.Outbox(100), memory.Sink()
    siem.blamed = set(range(100))
    running = start(outbox, siem)
    await memory.until(lambda: running.shipper.state == REJECTS_TOO_MUCH)
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
