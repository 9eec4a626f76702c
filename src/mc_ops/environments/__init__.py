"""Where the platform runs: processes on this machine, or pods of a Kubernetes cluster.

>>> from mc_ops.environments import open_environment
>>> environment = open_environment("local")
>>> environment.url
'http://127.0.0.1:8080'
"""

from __future__ import annotations

from mc_ops.environments.interface import (
    BASELINE,
    STANDS_STILL,
    UNREACHED,
    Colour,
    EmbeddedDatabase,
    Environment,
    EnvironmentStatus,
    Group,
    Holder,
    Instance,
    LogFilter,
    LogLine,
    Part,
    ProcessStatus,
    Startable,
    State,
    Switch,
    UpRequest,
)
from mc_ops.environments.workspace import Workspace, catalogue_path, checkout
from mc_ops.errors import UnusableInput

KINDS = ("local", "kubernetes")


def checked_kind(kind: str) -> str:
    """The kind of an environment.

    Raises:
        UnusableInput: there is no such kind.
    """
    if kind not in KINDS:
        raise UnusableInput(f'unknown environment "{kind}"', hint=f"known: {', '.join(KINDS)}")
    return kind


def open_environment(kind: str = "local") -> Environment:
    """The environment of that kind, as the process's environment variables describe it.

    Raises:
        UnusableInput: there is no such kind.
    """
    if kind == "kubernetes":
        from mc_ops.environments.kubernetes.environment import KubernetesEnvironment

        return KubernetesEnvironment.from_env()
    return open_startable(kind)


def open_regions(kind: str = "local") -> tuple[Environment, ...]:
    """The environment of that kind; before its second region, if it has two on this machine.

    Raises:
        UnusableInput: there is no such kind.
    """
    if checked_kind(kind) == "kubernetes":
        return (open_environment(kind),)
    return startable_regions(kind)


def startable_regions(kind: str = "local") -> tuple[Startable, ...]:
    """Likewise, with the verbs that bring regions up and take them away.

    Raises:
        UnusableInput: as `open_startable`.
    """
    first = open_startable(kind)
    second = first.second()
    return (first,) if second is None else (first, second)


def open_startable(kind: str = "local") -> Startable:
    """The environment of that kind, with the verbs that bring it up and take it away.

    Raises:
        UnusableInput: there is no such kind, or mcctl does not bring it up.
    """
    if checked_kind(kind) == "kubernetes":
        raise UnusableInput(
            "mcctl neither starts a platform on Kubernetes nor takes it away",
            hint="kubectl apply -k deploy/kubernetes/overlays/region, or delete -k; "
            "docs/how-to/kubernetes.md",
        )
    # Here, not above: the edge and the samples start without these.
    from mc_ops.environments.local.environment import LocalEnvironment
    from mc_ops.environments.local.layout import Layout

    return LocalEnvironment(Layout.from_env())


__all__ = [
    "BASELINE",
    "STANDS_STILL",
    "UNREACHED",
    "Colour",
    "EmbeddedDatabase",
    "Environment",
    "EnvironmentStatus",
    "Group",
    "Holder",
    "Instance",
    "LogFilter",
    "LogLine",
    "Part",
    "ProcessStatus",
    "Startable",
    "State",
    "Switch",
    "UpRequest",
    "Workspace",
    "catalogue_path",
    "checked_kind",
    "checkout",
    "open_environment",
    "open_regions",
    "open_startable",
    "startable_regions",
]
