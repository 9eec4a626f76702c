"""Shared ground: a platform of the test's own, in its own folder and on free ports."""

from __future__ import annotations

import random
import socket
from pathlib import Path

import pytest

from mc_ops.environments.local.layout import Layout


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _all_free(base: int) -> bool:
    for offset in (0, 10, 11, 12, 13, 21, 22, 41, 42):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", base + offset))
            except OSError:
                return False
    return True


@pytest.fixture
def port() -> int:
    """One free port."""
    return free_port()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A platform's layout with its folders made and a free range of ports."""
    bases = (random.randrange(12_000, 30_000, 61) for _ in range(100))
    layout = Layout(home=tmp_path / "mc", edge_port=next(b for b in bases if _all_free(b)))
    layout.prepare()
    return layout
