"""What changes a platform on a cluster: replicas, faults, the side that serves.

Every verb holds the Lease `mcctl` while it changes something.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from subprocess import CompletedProcess

from mc_ops.environments.faults import Faults
from mc_ops.environments.interface import Colour, Instance, Say, Switch, silent
from mc_ops.environments.kubernetes import administration, switching
from mc_ops.environments.kubernetes.client import Client
from mc_ops.environments.kubernetes.lease import held
from mc_ops.environments.kubernetes.names import deployment_of
from mc_ops.environments.kubernetes.reading import Reading
from mc_ops.environments.kubernetes.scaling import Scaling, stop_baseline


class Changing:
    """The verbs of `Environment` that change something, in the namespace of `client`."""

    def __init__(self, client: Client, reading: Reading) -> None:
        """Change what `reading` looks at."""
        self._client = client
        self._reading = reading

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
        """As `Environment.scale`."""
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
        """As `Environment.stop_baseline`."""
        with held(self._client, say):
            return stop_baseline(self._client, self._reading, say)

    def switch(
        self,
        colour: Colour,
        *,
        allow_faults: bool = False,
        hold: Callable[[Sequence[Instance]], None] | None = None,
    ) -> Switch:
        """As `Environment.switch`."""
        with held(self._client, silent) as lease:
            return switching.switch(
                self._client, self._reading, lease, colour, allow_faults=allow_faults, hold=hold
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """As `Environment.locked`."""
        with held(self._client, silent):
            yield

    def administer(self, *command: str) -> CompletedProcess[str]:
        """As `Environment.administer`."""
        active = self._reading.active_colour() or Colour.blue
        serving = self._client.get("deployments", deployment_of(active))
        return administration.administer(self._client, serving, command)
