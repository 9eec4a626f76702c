"""What screening costs is bounded, and known beforehand."""

from __future__ import annotations

import pickle
import time

from mc_platform.model.label import NO_SCOPE, Scope
from mc_platform.screen import LibraryScreener
from mc_platform.screen.cost import CAP_S, estimate
from mc_platform.screen.pseudonyms import Pseudonymiser


def test_estimate_of_a_short_question_is_small() -> None:
    """An ordinary message is cheap enough for the event loop."""
    assert estimate(({"text": "where is my order of last week? thanks, ann"},)) < 0.001


def test_estimate_grows_with_size_and_shape_up_to_the_cap() -> None:
    """Digits and many strings cost more than as many letters; nothing exceeds the cap."""
    letters = estimate(({"text": "a" * 10_000},))
    digits = estimate(({"text": "1" * 10_000},))
    numbers = estimate(({"data": {"d": [1] * 5_000}},))
    assert letters < digits < numbers < CAP_S
    assert estimate(({"data": {"d": [1] * 500_000}},)) == CAP_S


def test_estimate_of_what_is_no_json_is_the_cap() -> None:
    """What cannot be read for the estimate is not taken for cheap."""
    assert estimate(({"text": "\ud800"},)) == CAP_S
    deep: object = "x"
    for _ in range(100_000):
        deep = [deep]
    assert estimate(({"data": deep},)) == CAP_S


def test_estimate_itself_is_cheap() -> None:
    """A MiB is estimated in far less than it costs to add up a million squares."""
    unit = min(_cpu(lambda: sum(i * i for i in range(1_000_000))) for _ in range(3))
    parts = ({"data": {"d": [{"a": 1}] * 130_000}},)
    assert min(_cpu(lambda: estimate(parts)) for _ in range(3)) < unit


def _cpu(work: object) -> float:
    began = time.thread_time()
    work()  # type: ignore[operator]
    return time.thread_time() - began


def test_everything_that_screens_goes_to_another_process() -> None:
    """Screener, scope, replacer and result are the same after they were pickled."""
    parts = ({"text": "ann@example.com has CUST-123"},)
    screener = LibraryScreener(candidates_per_leaf=500)
    scope = Scope(customer_ids=(r"CUST-\d+",), hosts=frozenset({"x.org"}))
    replacer = Pseudonymiser(b"k" * 32).replacer("TENANT_001")
    there, same_scope, same_replacer = pickle.loads(pickle.dumps((screener, scope, replacer)))
    screening = screener.screen(parts, scope)
    assert there.screen(parts, same_scope) == screening
    assert pickle.loads(pickle.dumps(screening)) == screening
    assert there.redact(parts, screening, same_scope, same_replacer) == screener.redact(
        parts, screening, scope, replacer
    )
    assert there.screen(parts, pickle.loads(pickle.dumps(NO_SCOPE))) == screener.screen(parts)
