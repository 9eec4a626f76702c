"""Where a message is examined, and what becomes of one that takes too long."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from tests.fakes import DIGEST_KEYS, FINGERPRINT_KEYS, pseudonym_keys

from mc_platform.adapters.worker_processes import WorkerProcesses
from mc_platform.errors import Overdue
from mc_platform.model.customer_ids import CustomerIds
from mc_platform.model.ids import TenantId
from mc_platform.model.label import Scope
from mc_platform.pipeline.examine import ExaminationRoom, Examiner
from mc_platform.record import ContentFingerprints, Digester
from mc_platform.screen import LibraryScreener
from mc_platform.screen.detectors.tenant_terms import know_customer_ids
from mc_platform.screen.pseudonyms import Pseudonymiser

T1 = TenantId("TENANT_001")
SMALL = ({"text": "Write to ann@example.org."},)
LARGE = ({"text": ("Write to ann@example.org. " + "and wait a while " * 300) * 20},)


class FakeWorkers:
    """Does the work here, by way of pickles; or is overdue with the first `late` calls."""

    def __init__(self, late: int = 0) -> None:
        self.count = 2
        self.late = late
        self.calls: list[str] = []

    async def run(self, work: Callable[..., Any], *args: Any) -> tuple[Any, float]:
        self.calls.append(work.__name__)
        if len(self.calls) <= self.late:
            raise Overdue("examining the message took more than 1 s")
        work, args = pickle.loads(pickle.dumps((work, args)))
        return pickle.loads(pickle.dumps(work(*args))), 0.25


@pytest.fixture(scope="module")
def examiner() -> Examiner:
    return Examiner(
        screener=LibraryScreener(),
        digester=Digester(DIGEST_KEYS),
        fingerprints=ContentFingerprints(FINGERPRINT_KEYS),
        pseudonyms=Pseudonymiser(pseudonym_keys(bytes(32))),
    )


async def test_only_what_is_large_goes_to_a_worker_and_comes_back_the_same(
    examiner: Examiner,
) -> None:
    """A small message has no extra hop; what a large one costs is charged."""
    workers, charged = FakeWorkers(), []
    room = ExaminationRoom(examiner, workers, charge=lambda *cost: charged.append(cost))
    here = ExaminationRoom(examiner)
    meaning = {"agent": "records"}
    for parts, calls in ((SMALL, 0), (LARGE, 1)):
        known = await room.incoming(T1, parts, meaning)
        assert known == await here.incoming(T1, parts, meaning)
        assert "email" in known.screening.types
        assert len(workers.calls) == calls
    out = await room.outgoing(T1, LARGE, asked=SMALL)
    assert out == await here.outgoing(T1, LARGE, asked=SMALL)
    redacted = await room.redacted(T1, LARGE, out.screening, pseudonyms=True)
    assert redacted == await here.redacted(T1, LARGE, out.screening, pseudonyms=True)
    assert "[email:" in redacted[0][0]["text"]
    assert charged == [(T1, 0.25)] * 3


async def test_a_few_small_messages_of_a_tenant_are_worked_on_at_once(examiner: Examiner) -> None:
    """Others of it wait, replies first; another tenant's and large ones do not."""
    room = ExaminationRoom(examiner, FakeWorkers())
    order: list[str] = []

    async def message(name: str, *, patient: bool = False) -> None:
        async with room.at_work(T1, SMALL, patient=patient):
            order.append(name)

    async with AsyncExitStack() as at_work:
        for _ in range(8):
            await at_work.enter_async_context(room.at_work(T1, SMALL))
        waiting = [asyncio.create_task(message("request"))]
        waiting += [asyncio.create_task(message("reply", patient=True))]
        await asyncio.sleep(0)
        async with room.at_work(TenantId("TENANT_002"), SMALL), room.at_work(T1, LARGE):
            assert not order
    await asyncio.gather(*waiting)
    assert order == ["reply", "request"]


async def test_a_request_that_takes_too_long_is_labelled_whole(examiner: Examiner) -> None:
    """Its digest is still its own, so that a repeat of it is known."""
    room = ExaminationRoom(examiner, FakeWorkers(late=1))
    known = await room.incoming(T1, LARGE, {})
    assert known.screening.types == {"screening-limit"}
    assert known.digest == (await ExaminationRoom(examiner).incoming(T1, LARGE, {})).digest


class _NoNames:
    """An entity recogniser that finds nothing, by way of pickles too."""

    name = identity = "none"

    def persons(self, texts: Sequence[str]) -> list[list[tuple[int, int]]]:
        return [[] for _ in texts]


async def test_with_a_language_model_a_shorter_message_goes_to_a_worker(examiner: Examiner) -> None:
    """Its cost counts where the event loop is spared; a short question stays here."""
    workers = FakeWorkers()
    prose = ({"text": "where is my order of last week? " * 20},)
    names = _NoNames()
    modelled = replace(examiner, entities=names, screener=LibraryScreener(entities=names))
    for one, parts, calls in ((examiner, prose, 0), (modelled, SMALL, 0), (modelled, prose, 1)):
        await ExaminationRoom(one, workers).incoming(T1, parts, {})
        assert len(workers.calls) == calls


async def test_a_reply_that_takes_too_long_never_leaves_unread(examiner: Examiner) -> None:
    """Redaction cannot help: nobody knows what is to be replaced."""
    workers = FakeWorkers(late=1)
    room = ExaminationRoom(examiner, workers)
    out = await room.outgoing(T1, ({"data": {"text": LARGE[0]["text"]}},))
    assert out.screening.types == {"screening-limit"}
    parts, quotable = await room.redacted(T1, LARGE, out.screening)
    assert parts == ({"text": "[withheld]"},)
    assert quotable == ()
    assert workers.calls == ["outgoing"]


async def test_a_worker_knows_the_catalogues_ids_and_no_message_carries_them(
    examiner: Examiner,
) -> None:
    """Thousands of tenants' patterns are sent once; one that knows none of them screens nothing."""
    ids = CustomerIds(rf"X{number:05}-\d{{6}}" for number in range(3000))
    scope = Scope(customer_ids=(r"X00007-\d{6}",), all_ids=ids)
    large = ({"text": f"X00007-123456 and X02999-654321. {LARGE[0]['text']}"},)
    assert len(pickle.dumps(scope)) < 400
    here = await ExaminationRoom(examiner).incoming(T1, large, {}, scope)
    assert {"customer-id", "cross-tenant-id"} <= here.screening.types
    told = WorkerProcesses(
        count=1, deadline_s=60.0, at_start=partial(know_customer_ids, ids.patterns)
    )
    untold = WorkerProcesses(count=1, deadline_s=60.0)
    try:
        room = ExaminationRoom(examiner, told)
        there = await room.incoming(T1, large, {}, scope)
        assert there.screening == here.screening
        with pytest.raises(RuntimeError, match="LookupError"):
            await ExaminationRoom(examiner, untold).incoming(T1, large, {}, scope)
    finally:
        await told.close()
        await untold.close()


async def test_a_worker_that_cannot_begin_is_ended() -> None:
    """What it was to know is wrong: no call of it is answered."""
    workers = WorkerProcesses(
        count=1, deadline_s=60.0, at_start=partial(know_customer_ids, ("(a",))
    )
    with pytest.raises(RuntimeError, match="a worker cannot begin: Misconfigured"):
        await workers.run(pickle.dumps, 1)
    await workers.close()
