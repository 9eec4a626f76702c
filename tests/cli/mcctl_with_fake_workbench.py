"""`mcctl` with only the environment's verbs, over the fake workbench: a program for the tests."""

from __future__ import annotations

import sys
from pathlib import Path

import mc_ops.cli.environment as verbs
import mc_ops.cli.main as mcctl
from mc_ops.environments import open_startable
from mc_ops.environments.local.environment import LocalEnvironment
from mc_ops.environments.local.layout import Layout

FAKE = Path(__file__).parents[1] / "unit" / "mc_ops" / "environments" / "fake_workbench.py"


def _open(kind: str) -> LocalEnvironment:
    open_startable(kind)
    return LocalEnvironment(Layout.from_env(), service=(sys.executable, str(FAKE)))


if __name__ == "__main__":
    verbs.open_environment = verbs.open_startable = _open
    mcctl.main()
