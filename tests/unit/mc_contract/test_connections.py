"""How many replicas fit a server."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mc_contract.connections import PER_REPLICA, Server


def test_a_stock_server_has_room_for_nine_replicas() -> None:
    """100 connections, 3 for superusers, 2 for people and tools."""
    assert PER_REPLICA == 10
    assert Server(most=100, reserved=3, others=0).fitting == 9
    assert Server(most=100, reserved=3, others=40).fitting == 5
    assert Server(most=10, reserved=3, others=0).fitting == 0


@given(st.integers(0, 500), st.integers(0, 20), st.integers(0, 200))
def test_what_is_required_is_the_least_that_suffices(
    replicas: int, reserved: int, others: int
) -> None:
    """With it they fit, and with one connection less they do not."""
    needed = Server(0, reserved, others).required(replicas)
    assert Server(needed, reserved, others).fitting == replicas
    assert replicas == 0 or Server(needed - 1, reserved, others).fitting < replicas
