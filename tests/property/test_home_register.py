"""The oracle itself: porcupine finds a home that grows linearizable, and one that goes back not."""

from __future__ import annotations

from tests.register import Step, is_linearizable

FIRST = [Step(0, 0, 10, 1), Step(1, 5, 15, 1), Step(9, 20, 60, 2, moved=True)]


def test_looks_during_a_move_may_see_either_home():
    assert is_linearizable([*FIRST, Step(0, 25, 30, 2), Step(1, 22, 58, 1), Step(1, 70, 80, 3)])


def test_a_look_that_sees_the_former_home_after_another_saw_the_new_one_is_none():
    assert not is_linearizable([*FIRST, Step(0, 25, 30, 2), Step(1, 40, 50, 1)])


def test_a_move_that_does_not_raise_the_term_is_none():
    assert not is_linearizable([*FIRST, Step(9, 70, 80, 2, moved=True)])
