"""Loads the rooms of the tool-chain at their first use, so that `mcctl --help` answers at once.

The CLI's modules import a room whole (`from mc_ops import audit`). That only prepares the module
here: it is executed when one of its names is first asked for, by `importlib.util.LazyLoader`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

ROOMS = frozenset(
    f"mc_ops.{room}"
    for room in (
        *("audit", "backups", "canary", "drills", "evidence", "incidents", "keys", "operations"),
        *("policies", "preflight", "redteam", "runbooks", "service_client", "slack", "slo"),
        *("environments.credentials", "environments.faults", "environments.policy_set"),
    )
) | {"mc_contract.evidence", "mc_contract.keyring", "mc_contract.ledger.checkpoint"}


class _RoomFinder(PathFinder):
    """Finds the rooms, and nothing else."""

    @classmethod
    def find_spec(
        cls,
        fullname: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        spec = super().find_spec(fullname, path, target) if fullname in ROOMS else None
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def install() -> None:
    """Load rooms lazily from now on; those already imported stay as they are."""
    if _RoomFinder not in sys.meta_path:
        sys.meta_path.insert(0, _RoomFinder)
