"""Requests for a tenant's operations are counted one after the other, and nothing else waits."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.fakes import local_catalogue

from mc_platform.pipeline.operation_turns import OperationTurns

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Counted:
    """What was enacted; fails once it is told to."""

    def __init__(self) -> None:
        self.enacted = 0
        self.since: list[datetime] = []
        self.broken = False

    async def operations_since(self, _tenant: str, since: datetime) -> int:
        await asyncio.sleep(0)
        if self.broken:
            raise RuntimeError("the database is away")
        self.since.append(since)
        return self.enacted


@pytest.fixture
def story():
    catalogue = local_catalogue()
    operation = next(iter(catalogue.operations.values()))
    bounded, other = list(catalogue.tenants.values())[:2]
    bounded = replace(bounded, operations_per_hour=2)
    other = replace(other, operations_per_hour=None)
    counted = Counted()
    turns = OperationTurns(tenants=[bounded, other], budgets=counted, clock=lambda: NOW)
    return turns, counted, bounded, other, operation


async def test_each_request_finds_what_the_one_before_it_enacted(story):
    """However many come together: so none of them exceeds the budget unseen."""
    turns, counted, bounded, _, operation = story
    found = []

    async def enact() -> None:
        async with turns.of(bounded, operation) as enacted:
            found.append(enacted)
            await asyncio.sleep(0)
            counted.enacted += 1

    await asyncio.gather(*(enact() for _ in range(5)))
    assert found == [0, 1, 2, 3, 4]
    assert set(counted.since) == {NOW - timedelta(hours=1)}


async def test_a_question_and_a_tenant_without_a_budget_wait_for_nobody(story):
    """Nor is anything counted for them."""
    turns, counted, bounded, other, operation = story
    async with (
        turns.of(bounded, operation),
        turns.of(bounded, None) as question,
        turns.of(other, operation) as unbounded,
        turns.of(other, operation),
    ):
        assert (question, unbounded, len(counted.since)) == (0, 0, 1)


async def test_a_turn_that_could_not_be_counted_is_over(story):
    """The next request has its own."""
    turns, counted, bounded, _, operation = story
    counted.broken = True
    with pytest.raises(RuntimeError, match="away"):
        async with turns.of(bounded, operation):
            pass
    counted.broken = False
    async with asyncio.timeout(10), turns.of(bounded, operation) as enacted:
        assert enacted == 0
