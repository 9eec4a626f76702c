"""Shared ground: a platform of the test's own, in its own folder and on free ports."""

from __future__ import annotations

from pathlib import Path

import pytest

from mc_ops.environments.local.layout import Layout


@pytest.fixture
def layout(tmp_path: Path, free_ports: int) -> Layout:
    """A platform's layout with its folders made and a free range of ports."""
    layout = Layout(home=tmp_path / "mc", edge_port=free_ports)
    layout.prepare()
    return layout


@pytest.fixture
def port(layout: Layout) -> int:
    """One free port, which no replica and no edge of the layout will want."""
    return layout.port_of("siem")
