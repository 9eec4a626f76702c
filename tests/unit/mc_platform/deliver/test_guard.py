"""The short way of the guard, for a sink that refuses nothing, against the long one as the oracle."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from mc_platform.deliver.guard import Guard, Offered, _refused_kind

OUTCOME = st.builds(
    Offered, st.sampled_from(["request.accepted", "reply.released", "step.done"]), st.booleans()
)
TAKEN = st.builds(Offered, st.sampled_from(["request.accepted", "step.done"]), st.just(value=True))
REFUSED = st.builds(Offered, st.sampled_from(["reply.released", "step.done"]), st.just(value=False))
BATCHES = st.lists(
    st.lists(OUTCOME, max_size=12)
    | st.lists(TAKEN, min_size=1, max_size=60)
    | st.lists(REFUSED, min_size=4, max_size=9),
    max_size=8,
)


class LongWay(Guard):
    """Looks at the window again for each event, as every batch was looked at before."""

    def saw(self, outcomes: Sequence[Offered]) -> None:
        for item in outcomes:
            if item.taken and item.kind == self._left_out:
                self._left_out = None
            if item.taken or item.kind != self._left_out:
                self._recent.append(item)
            if item.taken and self._left_out is None:
                self._left_out = _refused_kind(self._recent)


@given(BATCHES)
def test_the_short_way_judges_as_the_long_one(batches: list[list[Offered]]) -> None:
    guard, oracle = Guard(), LongWay()
    for outcomes in batches:
        assert guard.settled(outcomes) == oracle.settled(outcomes)
        guard.saw(outcomes)
        oracle.saw(outcomes)
        assert (guard._left_out, list(guard._recent)) == (oracle._left_out, list(oracle._recent))


def test_the_oracle_sees_a_kind_left_out() -> None:
    """A guard for the law above: its batches reach the state that the short way must end."""
    guard = Guard(
        [Offered("step.done", taken=False)] * 7 + [Offered("request.accepted", taken=True)]
    )
    assert guard._left_out == "step.done"
    taken = [Offered("request.accepted", taken=True)] * 60
    guard.saw(taken)  # what was refused leaves the window, so that the short way is open
    assert guard._left_out == "step.done"
    guard.saw([Offered("step.done", taken=True)])
    assert guard._left_out is None
