"""The platform on a Kubernetes cluster, as deploy/kubernetes brings it up: operated, not started."""

# ruff: noqa: ARG002 - until every verb is here

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from subprocess import CompletedProcess
from typing import NoReturn

from mc_ops.environments.faults import Faults
from mc_ops.environments.interface import (
    Colour,
    EnvironmentStatus,
    Group,
    Instance,
    LogLine,
    Say,
    Switch,
    silent,
)
from mc_ops.environments.kubernetes.changing import Changing
from mc_ops.environments.kubernetes.client import Client
from mc_ops.environments.kubernetes.reading import Reading
from mc_ops.environments.workspace import Workspace
from mc_ops.errors import UnusableInput


class KubernetesEnvironment:
    """The platform of one namespace; its verbs raise as `interface` says."""

    name = "kubernetes"

    def __init__(self, client: Client) -> None:
        """Look at the platform in the namespace of `client`; asks nothing yet."""
        self._client = client
        self._reading = Reading(client)
        self._changing = Changing(client, self._reading)

    @classmethod
    def from_env(cls) -> KubernetesEnvironment:
        """The namespace of `MC_NAMESPACE`; without it, that of kubectl's context."""
        return cls(Client(namespace=os.environ.get("MC_NAMESPACE") or None))

    @property
    def url(self) -> str:
        _not_yet("the public URL")

    @property
    def workspace(self) -> Workspace:
        return Workspace.from_env()

    # -- what runs ----------------------------------------------------------------------------

    def active_colour(self) -> Colour | None:
        return self._reading.active_colour()

    def instances(self, group: Group | None = None) -> tuple[Instance, ...]:
        return self._reading.instances(group)

    def status(self) -> EnvironmentStatus:
        _not_yet("the status")

    def settings(self, name: str) -> Mapping[str, str]:
        _not_yet("a pod's settings")

    def logs(
        self, names: Sequence[str] = (), *, lines: int = 50, follow: bool = False
    ) -> Iterator[LogLine]:
        _not_yet("logs")

    def neighbour_url(self, name: str) -> str:
        _not_yet("neighbours")

    def catalogue_digest(self) -> str:
        _not_yet("the catalogue's digest")

    def wait_ready(self, group: Group, timeout_s: float) -> tuple[Instance, ...]:
        _not_yet("whether a side is ready")

    # -- what changes it ------------------------------------------------------------------------

    def scale(
        self,
        colour: Colour,
        replicas: int,
        say: Say = silent,
        *,
        restart: bool = False,
        faults: Faults | None = None,
        baseline: bool = False,
    ) -> None:
        self._changing.scale(
            colour, replicas, say, restart=restart, faults=faults, baseline=baseline
        )

    def stop_baseline(self, say: Say = silent) -> bool:
        return self._changing.stop_baseline(say)

    def switch(
        self,
        colour: Colour,
        *,
        allow_faults: bool = False,
        hold: Callable[[Sequence[Instance]], None] | None = None,
    ) -> Switch:
        return self._changing.switch(colour, allow_faults=allow_faults, hold=hold)

    def locked(self) -> AbstractContextManager[None]:
        return self._changing.locked()

    def administer(self, *command: str) -> CompletedProcess[str]:
        return self._changing.administer(*command)


def _not_yet(what: str) -> NoReturn:
    raise UnusableInput(f"mcctl cannot tell {what} of Kubernetes yet", hint="kubectl get pods")
