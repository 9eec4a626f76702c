"""What changes a platform on a cluster: replicas, faults, the side that serves."""

# ruff: noqa: ARG002 - until every verb is here

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from subprocess import CompletedProcess
from typing import NoReturn

from mc_ops.environments.faults import Faults
from mc_ops.environments.interface import Colour, Instance, Say, Switch, silent
from mc_ops.environments.kubernetes.client import Client
from mc_ops.environments.kubernetes.reading import Reading
from mc_ops.errors import UnusableInput


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
        _not_yet("scale", "kubectl scale deploy/agent-workbench --replicas=N")

    def stop_baseline(self, say: Say = silent) -> bool:
        """As `Environment.stop_baseline`."""
        _not_yet("stop the baseline", "kubectl delete deploy/agent-workbench-baseline")

    def switch(
        self,
        colour: Colour,
        *,
        allow_faults: bool = False,
        hold: Callable[[Sequence[Instance]], None] | None = None,
    ) -> Switch:
        """As `Environment.switch`."""
        _not_yet("cut over", "kubectl patch service agent-workbench; docs/how-to/kubernetes.md")

    def locked(self) -> AbstractContextManager[None]:
        """As `Environment.locked`."""
        _not_yet("hold the platform", "see that nobody else changes it meanwhile")

    def administer(self, *command: str) -> CompletedProcess[str]:
        """As `Environment.administer`."""
        _not_yet(f"run `{' '.join(command)}`", "run it in a Job, as deploy/kubernetes/migrate")


def _not_yet(what: str, instead: str) -> NoReturn:
    raise UnusableInput(f"mcctl cannot {what} on Kubernetes yet", hint=instead)
