"""The platform on a Kubernetes cluster, as deploy/kubernetes brings it up: operated, not started."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from subprocess import CompletedProcess

from mc_contract.configuration import FileProblems
from mc_ops.environments.catalogue import catalogue_digest
from mc_ops.environments.faults import Faults
from mc_ops.environments.interface import (
    RECENT,
    Colour,
    EnvironmentStatus,
    Group,
    Instance,
    LogFilter,
    LogLine,
    Say,
    Switch,
    silent,
)
from mc_ops.environments.kubernetes import administration, switching
from mc_ops.environments.kubernetes.client import Client
from mc_ops.environments.kubernetes.lease import held
from mc_ops.environments.kubernetes.logs import read_logs
from mc_ops.environments.kubernetes.names import CATALOGUE, CATALOGUE_FILE, deployment_of
from mc_ops.environments.kubernetes.reading import Reading
from mc_ops.environments.kubernetes.scaling import Scaling, stop_baseline
from mc_ops.environments.kubernetes.settings import settings_of
from mc_ops.environments.kubernetes.waiting import await_serving
from mc_ops.environments.workspace import Workspace
from mc_ops.errors import UnusableInput


class KubernetesEnvironment:
    """The platform of one namespace; its verbs raise as `interface` says."""

    name = "kubernetes"

    def __init__(self, client: Client) -> None:
        """Look at the platform in the namespace of `client`; asks nothing yet."""
        self._client = client
        self._reading = Reading(client)

    @classmethod
    def from_env(cls) -> KubernetesEnvironment:
        """That of the cluster and the namespace that `Client.from_env` names."""
        return cls(Client.from_env())

    @property
    def url(self) -> str:
        """`MC_URL`; else the region's MC_PUBLIC_URL."""
        return self.workspace.service_url or self._reading.url()

    @property
    def workspace(self) -> Workspace:
        """`MC_HOME`; else the folder of this namespace under the `.mc` of this machine."""
        here = Workspace.from_env()
        if os.environ.get("MC_HOME"):
            return here
        return replace(here, home=here.home / self.name / self._client.namespace)

    # -- what runs ----------------------------------------------------------------------------

    def active_colour(self) -> Colour | None:
        return self._reading.active_colour()

    def instances(self, group: Group | None = None) -> tuple[Instance, ...]:
        return self._reading.instances(group)

    def status(self) -> EnvironmentStatus:
        return self._reading.status()

    def settings(self, name: str) -> Mapping[str, str]:
        return settings_of(self._client, name)

    def logs(self, names: Sequence[str] = (), wanted: LogFilter = RECENT) -> Iterator[LogLine]:
        return read_logs(self._client, self._reading.all_pods, names, wanted)

    def neighbour_url(self, name: str) -> str:
        return self._reading.neighbour_url(name)

    def catalogue_digest(self) -> str:
        """Of the ConfigMap `mc-platform-catalogue`."""
        found = self._client.get("configmaps", CATALOGUE).get("data") or {}
        try:
            return catalogue_digest(str(found[CATALOGUE_FILE]).encode(), self._reading.region())
        except (KeyError, FileProblems) as error:
            raise UnusableInput(f"ConfigMap {CATALOGUE}, {CATALOGUE_FILE}: {error}") from error

    def wait_ready(self, group: Group, timeout_s: float) -> tuple[Instance, ...]:
        await_serving(self._reading, {group: 1}, timeout_s)
        return self._reading.instances(group)

    # -- what changes it, under the Lease `mcctl` -------------------------------------------------

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
        scaling = Scaling(
            client=self._client,
            reading=self._reading,
            colour=colour,
            replicas=replicas,
            restart=restart,
            faults=faults,
            baseline=baseline,
        )
        scaling.require_possible()
        with held(self._client, say) as lease:
            scaling.carry_out(say, lease)

    def stop_baseline(self, say: Say = silent) -> bool:
        with held(self._client, say):
            return stop_baseline(self._client, self._reading, say)

    def switch(
        self,
        colour: Colour,
        *,
        allow_faults: bool = False,
        hold: Callable[[Sequence[Instance]], None] | None = None,
    ) -> Switch:
        with held(self._client, silent) as lease:
            return switching.switch(
                self._client, self._reading, lease, colour, allow_faults=allow_faults, hold=hold
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        with held(self._client, silent):
            yield

    def administer(self, *command: str) -> CompletedProcess[str]:
        active = self._reading.active_colour() or Colour.blue
        serving = self._client.get("deployments", deployment_of(active))
        return administration.administer(self._client, serving, command)
