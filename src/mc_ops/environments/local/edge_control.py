"""How the edge is told where to send requests: its state file, and its control socket's client."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mc_ops.environments.interface import Colour
from mc_ops.errors import CouldNotTell
from mc_ops.files import read_json_object, write_atomically

_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Route:
    """The colour that gets new requests, and every colour's replicas by URL."""

    active: Colour
    replicas: Mapping[Colour, tuple[str, ...]]

    @property
    def urls(self) -> list[str]:
        """The replicas of every colour."""
        return [url for urls in self.replicas.values() for url in urls]

    def as_dict(self) -> dict[str, Any]:
        """The route as it is stored and sent."""
        return {
            "active": self.active.value,
            "replicas": {colour.value: list(urls) for colour, urls in self.replicas.items()},
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Route:
        """Read a stored or sent route.

        Raises:
            ValueError: it is not one.
        """
        try:
            replicas = {
                colour: tuple(str(url) for url in value["replicas"].get(colour.value, ()))
                for colour in Colour
            }
            return cls(active=Colour(value["active"]), replicas=replicas)
        except (KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"not a route: {error!r}") from error


def read_state(path: Path) -> Route | None:
    """The route in the edge's state file; None if there was never one."""
    value = read_json_object(path)
    if value is None:
        return None
    try:
        return Route.from_dict(value)
    except ValueError as error:
        raise CouldNotTell(
            f"{path} is not the edge's state: {error}", hint="remove it, then `mcctl up`"
        ) from error


def write_state(path: Path, route: Route) -> None:
    """Store the route; a reader sees the old one or the new one, whole."""
    write_atomically(path, json.dumps(route.as_dict(), indent=2) + "\n")


def change(control: Path, route: Route) -> None:
    """Make the running edge use `route` for every request from now on; it is stored, too."""
    _ask(control, "PUT", "/route", route.as_dict())


def under_way(control: Path) -> dict[str, int]:
    """Requests that the edge has sent and not seen answered, by replica URL."""
    found = _ask(control, "GET", "/route", None).get("under_way", {})
    return {str(url): int(count) for url, count in found.items()}


def ready(control: Path) -> frozenset[str]:
    """The replicas, by URL, that the edge has seen healthy; only such ones get requests first."""
    return frozenset(map(str, _ask(control, "GET", "/route", None).get("ready", ())))


def _ask(control: Path, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
    # Here, not above: the edge itself imports this module and needs no such client
    import httpx

    from mc_ops.outgoing.clients import open_client

    try:
        with open_client(socket=control, base_url="http://edge", timeout_s=_TIMEOUT_S) as client:
            answer = client.request(method, path, json=body)
            answer.raise_for_status()
            value: dict[str, Any] = answer.json()
            return value
    except (httpx.HTTPError, ValueError) as error:
        raise CouldNotTell(
            f"the edge's control socket does not answer: {error}", hint="mcctl logs edge"
        ) from error
