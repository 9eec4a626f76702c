"""Who gets requests: what the edge is told, and what it knows of replicas."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mc_ops.environments.interface import Colour
from mc_ops.environments.local import edge_control
from mc_ops.environments.local.records import Records, living_instances
from mc_ops.errors import CouldNotTell

_DRAIN_TIMEOUT_S = 30.0
_POLL_S = 0.1


class Traffic:
    """The edge of one platform, whether it runs or not."""

    def __init__(self, records: Records) -> None:
        """Look at the edge before the replicas of `records`."""
        self._layout = records.layout
        self._records = records
        self._state = records.layout.home / "edge.json"

    def active_colour(self) -> Colour | None:
        """The colour that the edge serves, or served when it last ran.

        Raises:
            CouldNotTell: the edge's state file is damaged.
        """
        try:
            route = edge_control.read_state(self._state)
        except CouldNotTell as error:
            raise CouldNotTell(
                error.message,
                hint="remove it, then `mcctl up` (blue serves then; or `mcctl up --colour green`)",
            ) from error
        return route.active if route else None

    def send_to(self, active: Colour | None, without: Sequence[str] = ()) -> None:
        """Have the edge send requests to the replicas of `active` that live, but not to some."""
        edge_control.change(self._layout.control_socket(), self._route(active, without))

    def begin_with(self, active: Colour) -> None:
        """Where the edge sends requests when it is started."""
        edge_control.write_state(self._state, self._route(active))

    def _route(self, active: Colour | None, without: Sequence[str] = ()) -> edge_control.Route:
        living = {colour: living_instances(self._records.of(colour), colour) for colour in Colour}
        replicas = {
            colour: tuple(one.url for one in found if one.name not in without)
            for colour, found in living.items()
        }
        return edge_control.Route(active=active or Colour.blue, replicas=replicas)

    def not_ready(self) -> set[str]:
        """The replicas, by URL, to which the edge would not send a request yet."""
        return set(self._route(None).urls) - edge_control.ready(self._layout.control_socket())

    def require_answer(self) -> None:
        """See that the edge answers.

        Raises:
            CouldNotTell: it does not.
        """
        edge_control.under_way(self._layout.control_socket())

    def drain(self, urls: Sequence[str]) -> None:
        """Wait until these replicas have answered what they were sent, or for half a minute."""
        deadline = time.monotonic() + _DRAIN_TIMEOUT_S
        while time.monotonic() < deadline:
            under_way = edge_control.under_way(self._layout.control_socket())
            if not any(under_way.get(url, 0) for url in urls):
                return
            time.sleep(_POLL_S)

    def forget(self) -> None:
        """Remove what an edge that ended has left behind."""
        self._layout.control_socket().unlink(missing_ok=True)
