"""Shared ground: a platform of the test's own, in its own folder and on free ports."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from mc_ops.environments.local.layout import Layout


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def port() -> int:
    """One free port."""
    return free_port()


@pytest.fixture
def layout(tmp_path: Path, free_port_block: Callable[[], int]) -> Layout:
    """A platform's layout with its folders made and a free range of ports."""
    layout = Layout(home=tmp_path / "mc", edge_port=free_port_block())
    layout.prepare()
    return layout
