"""Two fake sides of a canary, on loopback."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

_SPEC = importlib.util.spec_from_file_location("fake_edge", Path(__file__).parent / "fake_edge.py")
assert _SPEC is not None
assert _SPEC.loader is not None
fake_edge = importlib.util.module_from_spec(_SPEC)
sys.modules["fake_edge"] = fake_edge
_SPEC.loader.exec_module(fake_edge)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let whole runs survive a busy test machine; the limit itself is tested in test_run.py."""
    monkeypatch.setattr("mc_ops.canary.plan.REHEARSAL_LATENESS_LIMIT_S", 30.0)


@pytest.fixture
def edge() -> Iterator[Callable[..., Any]]:
    """Start fake edges: `edge(latency_s=0.02)`; they end with the test."""
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(fake_edge.serving(fake_edge.FakeEdge(**how)))
