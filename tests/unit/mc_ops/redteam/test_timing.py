"""What the time to answer tells, and when that counts."""

from __future__ import annotations

from mc_ops.redteam.case import Answer, Ask, Case
from mc_ops.redteam.run import confirmed_timing, tells

EXISTS, ABSENT = Ask(path="/exists"), Ask(path="/absent")
CASES = [
    Case(f"c-{number}", "existence-oracles", "attack", (EXISTS, ABSENT), form="task")
    for number in range(10)
]


class Clock:
    """A platform that answers slower for what exists, in its first so many pairs."""

    def __init__(self, slower_pairs):
        self.slower_pairs, self.asked = slower_pairs, 0

    async def ask(self, ask, _key, _task):
        pair, self.asked = self.asked // 2, self.asked + 1
        slower = pair < self.slower_pairs or pair % 2
        return Answer(200, "", taken_s=0.002 if (ask is EXISTS) == bool(slower) else 0.001)


async def timing_of(platform):
    timing = await confirmed_timing(platform, CASES, "run", {case.id: () for case in CASES})
    return timing["task"]


async def test_what_tells_twice_counts():
    """40 pairs of 40, and 40 of 40 again: nobody calls that chance."""
    told = await timing_of(Clock(80))
    assert (told["pairs"], told["slower"], told["again"]["slower"]) == (40, 40, 40)
    assert tells(told)
    assert tells(told["again"])


async def test_what_fresh_pairs_do_not_tell_was_chance():
    """A machine that was busy for a while makes one test in a thousand or more tell something."""
    told = await timing_of(Clock(40))
    assert tells(told)
    assert told["again"]["slower"] == 20
    assert not tells(told["again"])


async def test_what_tells_nothing_is_not_measured_again():
    """Half of the pairs one way, half the other."""
    platform = Clock(0)
    told = await timing_of(platform)
    assert (told["slower"], told["p_value"], "again" in told) == (20, 1.0, False)
    assert platform.asked == 80
