"""Values that a shell completes: tenants, runs, operations, backups, processes, runbooks.

They are looked up where the verb itself would look; what cannot be looked up is completed by nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mc_ops.errors import OpsError

if TYPE_CHECKING:
    from mc_ops.environments import Workspace

_MOST = 50  # operations, newest first


def values_of(names: Collection[str | None]) -> Callable[..., list[str]] | None:
    """What completes the parameter of these names (its options, or its name in help); None: nothing does."""
    for name in names:
        if name in _LOOK_UPS:
            return _completed(_LOOK_UPS[name])
    return None


def _completed(look_up: Callable[[], Iterable[str]]) -> Callable[..., list[str]]:
    def complete(context: Any, parameter: Any, incomplete: str) -> list[str]:
        del context, parameter
        try:
            return [value for value in look_up() if value.startswith(incomplete)]
        except (OpsError, OSError, ValueError, LookupError, TypeError):
            return []

    return complete


def _tenants() -> Iterable[str]:
    import tomllib

    from mc_ops.environments.workspace import catalogue_path

    tenants = tomllib.loads(catalogue_path(os.environ).read_text(encoding="utf-8-sig"))["tenants"]
    return [*tenants]


def _workspace() -> Workspace:
    from mc_ops.environments import Workspace

    return Workspace.from_env()


def _names(pattern: str) -> list[str]:
    """Of what matches in the state folder, newest first."""
    home = _workspace().home
    found = sorted(home.glob(pattern), key=lambda path: path.stat().st_mtime, reverse=True)
    return [path.name.removesuffix(".log") for path in found]


def _runs() -> Iterable[str]:
    """Of runbooks: what resumes, shows and approves one knows no other."""
    from mc_ops.runbooks import RunStore

    return reversed(RunStore(_workspace().home).ids())


def _backups() -> Iterable[str]:
    from mc_ops.backups import Store, usual_places

    folder, _ = usual_places(_workspace())
    return [one.id for one in reversed(Store(folder).backups())]


def _logs() -> Iterable[str]:
    from mc_ops.environments.workspace import SECOND

    second = (f"{SECOND}/{name}" for name in _names(f"{SECOND}/log/*.log"))
    return [*_names("log/*.log"), *second]


def _scenarios() -> Iterable[str]:
    from mc_contract.drill import SCENARIOS

    return SCENARIOS


def _operations() -> Iterable[str]:
    from mc_ops.cli.operator_access import Access

    with Access().client() as client:
        return [str(one["id"]) for one in client.operations(limit=str(_MOST))["operations"]]


def _runbooks() -> Iterable[str]:
    from mc_ops.runbooks.lint import known_files

    return [path.stem for path in known_files(Path.cwd())]


_LOOK_UPS: dict[str | None, Callable[[], Iterable[str]]] = {
    **dict.fromkeys(("--tenant", "TENANT", "[TENANT]"), _tenants),
    **dict.fromkeys(("RUN", "[RUN]", "--run"), lambda: _names("runs/[!.]*")),
    **dict.fromkeys(("[RUN_ID]", "RUN_ID"), _runs),
    "OPERATION": _operations,
    **dict.fromkeys(("[BACKUP]", "--backup"), _backups),
    "[NAME]...": _logs,
    "--scenario": _scenarios,
    "RUNBOOK": _runbooks,
}
