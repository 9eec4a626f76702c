"""A budget is spent at the tenant's home alone: what was charged elsewhere gives no answer."""

from __future__ import annotations

import pytest
from tests.aggregate_fakes import MemoryAccountant, Town

from mc_platform.errors import HomeElsewhere

pytestmark = pytest.mark.slow  # it draws noise


class Homes:
    """This region is the home until it has been asked so often."""

    def __init__(self, times, then=0):
        self.left = times
        self.then = then

    def require(self, tenant):
        self.left -= 1
        if self.left >= 0:
            return 1
        if not self.then:
            raise HomeElsewhere(f"the home of tenant {tenant} is region eu-2", home="eu-2")
        return self.then


def _town(homes):
    town = Town(accountant=MemoryAccountant())
    town.aggregates._homes = homes
    return town


async def test_elsewhere_nothing_is_read_or_charged():
    """The home is asked instead."""
    town = _town(Homes(0))
    with pytest.raises(HomeElsewhere):
        await town.ask()
    assert (town.rows.reads, town.spent) == (0, 0)


@pytest.mark.parametrize("then", [0, 2])
@pytest.mark.parametrize("times", [1, 2])
async def test_a_home_that_is_lost_while_it_charges_tells_nothing(times, then):
    """After the test's charge, after the answer's; also if it came back in a later term."""
    town = _town(Homes(times, then))
    with pytest.raises(HomeElsewhere):
        await town.ask()
    assert town.spent > 0
    [kept] = town.accountant.queries.values()
    assert kept["ended"] is None


async def test_an_answer_that_was_given_is_repeated_anywhere():
    """It costs nothing."""
    town = _town(Homes(3))
    first = await town.ask()
    again = await town.ask()
    assert again.repeated
    assert again.answer == first.answer
