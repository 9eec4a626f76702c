"""When a replica that stops may close its connections without cutting a request off."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mc_platform.receive.connections import Connections

QUIET_S = 2.0


class Clock:
    """Stands still until told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def connections(clock: Clock) -> Connections:
    return Connections(
        port=1,
        total=100,
        per_peer=100,
        trusts=lambda _: False,
        idle_timeout_s=30,
        write_timeout_s=30,
        monotonic=clock,
    )


@given(
    st.lists(
        st.tuples(
            st.integers(1, 4),  # the connection
            st.floats(0, 5),  # seconds before its next request
            st.floats(0, 5),  # seconds until its answer
            st.booleans(),  # whether that answer ends it
        )
    ),
    st.floats(0, 5),
)
def test_it_is_quiet_when_nobody_asks_and_no_open_connection_was_used_lately(visits, waited_s):
    clock = Clock()
    watched, answered = connections(clock), {}
    for port, pause_s, took_s, closed in visits:
        clock.now += pause_s
        key = watched.begun({"client": ("10.0.0.1", port)})
        answered.pop(port, None)
        assert not watched.quiet(QUIET_S)
        clock.now += took_s
        watched.ended(key, closed=closed)
        if not closed:
            answered[port] = clock.now
    clock.now += waited_s
    lately = [port for port, at in answered.items() if clock.now - at <= QUIET_S]
    assert watched.quiet(QUIET_S) is (not lately)


def test_two_requests_of_one_connection_are_both_waited_for():
    clock = Clock()
    watched = connections(clock)
    first, second = (watched.begun({"client": ("10.0.0.1", 1)}) for _ in range(2))
    watched.ended(first, closed=True)
    assert not watched.quiet(QUIET_S)
    watched.ended(second, closed=True)
    assert watched.quiet(QUIET_S)
