"""Deployments that mcctl changes: their count and their template, with who did it."""

from __future__ import annotations

from collections.abc import Callable

from mc_ops.environments.interface import Group
from mc_ops.environments.kubernetes.client import Client, Object
from mc_ops.environments.kubernetes.names import deployment_of
from mc_ops.environments.kubernetes.record import signed
from mc_ops.errors import CouldNotTell

_TRIES = 5

Change = Callable[[Object], Object | None]
"""From a template that is there to the one that is to be; None where nothing is to be changed."""


class Rollouts:
    """The Deployments of one platform."""

    def __init__(self, client: Client) -> None:
        """Change those in the namespace of `client`."""
        self._client = client

    def set_replicas(self, group: Group, replicas: int) -> None:
        """Ask for so many replicas; returns at once."""
        body = {"spec": {"replicas": replicas}}
        self._client.patch("deployments", deployment_of(group), body, subresource="scale")

    def change(self, group: Group, what: str, changed: Change | None = None) -> None:
        """Say in a Deployment who does what, and change its template.

        Args:
            group: Whose Deployment.
            what: The command.
            changed: Gives the template that it is to have; None: as it is.

        Raises:
            CouldNotTell: others change it all the time.
        """
        for tries_left in reversed(range(_TRIES)):
            found = self._client.get("deployments", deployment_of(group))
            meta: Object = {"annotations": signed(what)}
            template = changed(found["spec"]["template"]) if changed else None
            body: Object = {"metadata": meta}
            if template is not None:
                meta["resourceVersion"] = found["metadata"]["resourceVersion"]
                body["spec"] = {"template": template}
            try:
                self._client.patch("deployments", deployment_of(group), body)
            except CouldNotTell:  # a conflict: its status changes often while it is rolled out
                if not tries_left:
                    raise
            else:
                return
