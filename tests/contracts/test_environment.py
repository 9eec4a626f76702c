"""The laws of environments: the local one with real processes, and the double of the tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.contracts import environment_laws
from tests.contracts.environment_laws import *  # noqa: F403 - the laws are the tests
from tests.recording_environment import Recorded, RecordingEnvironment

from mc_ops.environments import Environment, UpRequest
from mc_ops.environments.local.environment import LocalEnvironment
from mc_ops.environments.local.layout import Layout

FAKE = Path(__file__).parents[1] / "unit" / "mc_ops" / "environments" / "fake_workbench.py"


@pytest.fixture(scope="module", params=[pytest.param("local", marks=pytest.mark.slow), "recording"])
def started(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    free_port_block: Callable[[], AbstractContextManager[int]],
) -> Iterator[Environment]:
    """A running platform of each kind, one for all tests: a start takes long."""
    home = tmp_path_factory.mktemp("contract") / "mc"
    if request.param == "recording":
        yield RecordingEnvironment(Recorded(home=home, replicas={"blue-1": {"MC_REGION": "r"}}))
        return
    with pytest.MonkeyPatch.context() as monkeypatch, free_port_block() as port:
        for name in list(os.environ):
            if name.startswith(("MC_", "AUDIT_")):
                monkeypatch.delenv(name)
        local = LocalEnvironment(
            Layout(home=home, edge_port=port), service=(sys.executable, str(FAKE))
        )
        local.up(UpRequest())
        yield local
        local.down()
        local.purge()


@pytest.fixture
def environment(started: Environment) -> Iterator[Environment]:
    """One blue replica serves, before and after, and nothing else runs."""
    yield from environment_laws.restored(started)
