"""What runs on a cluster: sides, pods, health, logs, settings. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Sequence

from mc_ops.environments.interface import BASELINE, Colour, Group, Instance
from mc_ops.environments.kubernetes.client import Client, Object
from mc_ops.environments.kubernetes.names import COLOUR, PORT, SERVICE, labels_of


class Reading:
    """The platform of one namespace, as the API server has it."""

    def __init__(self, client: Client) -> None:
        """Look at the namespace of `client`."""
        self._client = client

    def active_colour(self) -> Colour | None:
        """The side that the Service `agent-workbench` selects; None if it is neither."""
        service = self._client.find("services", SERVICE) or {}
        selector = (service.get("spec") or {}).get("selector") or {}
        return next((colour for colour in Colour if colour == selector.get(COLOUR)), None)

    def pods(self, group: Group) -> list[Object]:
        """The pods of a group that are not on their way out, by name."""
        found = self._client.objects("pods", labels=labels_of(group))
        staying = [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]
        return sorted(staying, key=lambda pod: str(pod["metadata"]["name"]))

    def instances(self, group: Group | None = None) -> tuple[Instance, ...]:
        """The pods of a group, or of both sides, that run, ready or not."""
        groups: Sequence[Group] = tuple(Colour) if group is None else (group,)
        active = self.active_colour() if group == BASELINE else None
        return tuple(
            Instance(
                name=pod["metadata"]["name"],
                colour=(active or Colour.blue) if each == BASELINE else Colour(each),
                url=f"http://{pod['status']['podIP']}:{PORT}",
            )
            for each in groups
            for pod in self.pods(each)
            if pod["status"].get("phase") == "Running" and pod["status"].get("podIP")
        )
