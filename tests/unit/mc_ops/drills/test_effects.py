"""What a receiver saw is held against what clients asked for: each fault in it is seen."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mc_contract.drill import Request
from mc_ops.drills.effects import judge

FIRST, SECOND, NOBODYS = ("a" * 36, "b" * 36, "c" * 36)


def asked(task, outcome="acknowledged"):
    return Request("T", f"m-{task}", 1.0, 1.1, outcome, task, operation=True, region="a-1")


def effects(task, *steps, term=1, verb="do"):
    return [
        {"key": f"{task}:{step}:{verb}", "verb": verb, "home_term": f'{term};tenant="T"'}
        for step in steps
    ]


ROWS = [asked(FIRST), asked(SECOND), Request("T", "q", 1.0, 1.1, "acknowledged", "q")]
WHOLE = effects(FIRST, 1, 2, 3) + effects(SECOND, 1, 2, 3)
NOTHING = {"twice": 0, "half": 0, "unknown": 0, "former": 0}


def test_operations_that_ended_whole_or_undone_are_well():
    assert judge(WHOLE, ROWS) == {"done": 2, **NOTHING}
    undone = effects(FIRST, 1, 2, 3) + effects(SECOND, 1) + effects(SECOND, 1, verb="undo")
    assert judge(undone, ROWS) == {"done": 2, **NOTHING}


@pytest.mark.parametrize(
    ("seen", "counted"),
    [
        (effects(FIRST, 1, 2, 3) + effects(SECOND, 1, 2), {"half": 1}),
        (effects(FIRST, 1, 2, 3), {"half": 1}),  # acknowledged, and nothing came of it
        ([*WHOLE, WHOLE[0]], {"twice": 1, "half": 1}),
        (WHOLE + effects(NOBODYS, 1, 2, 3), {"unknown": 1}),
        (
            effects(FIRST, 1, term=1) + effects(SECOND, 1, 2, 3, term=2) + effects(FIRST, 2, 3),
            {"former": 2},
        ),
    ],
)
def test_what_must_not_be_is_counted(seen, counted):
    found = judge(seen, ROWS)
    assert {name: found[name] for name in NOTHING} == {**NOTHING, **counted}


def test_an_operation_whose_client_got_no_answer_may_have_been_done():
    """Of those its client does not know the task; there may be as many as got no answer."""
    seen = WHOLE + effects(NOBODYS, 1, 2, 3)
    assert judge(seen, [*ROWS, asked("", "maybe")])["unknown"] == 0


def test_an_operation_that_was_lost_with_its_disk_is_ended_by_nobody():
    """It counts as lost for good, and not as half done."""
    rows = [asked(FIRST), replace(asked(SECOND), found_later=False)]
    assert judge(effects(FIRST, 1, 2, 3) + effects(SECOND, 1, 2), rows)["half"] == 0
