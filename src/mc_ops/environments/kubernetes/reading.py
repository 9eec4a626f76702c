"""What runs on a cluster: sides, pods, how they do. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from mc_ops.environments.faults import shown, told_by
from mc_ops.environments.interface import (
    BASELINE,
    Colour,
    EnvironmentStatus,
    Group,
    Instance,
    ProcessStatus,
)
from mc_ops.environments.kubernetes import pods as pod_facts
from mc_ops.environments.kubernetes import told
from mc_ops.environments.kubernetes.client import Client, Object
from mc_ops.environments.kubernetes.names import (
    COLOUR,
    NEIGHBOURS,
    PORT,
    SERVICE,
    SETTINGS,
    deployment_of,
    labels_of,
)
from mc_ops.errors import CouldNotTell, NotAllowed, UnusableInput

_CLUSTER_DOMAIN: Final = (".svc", ".svc.cluster.local")


class Reading:
    """The platform of one namespace, as the API server has it."""

    def __init__(self, client: Client) -> None:
        """Look at the namespace of `client`."""
        self._client = client

    # -- the region ---------------------------------------------------------------------------

    def region(self) -> dict[str, str]:
        """The settings of the region: what is in the ConfigMap `mc-platform-config`."""
        found = self._client.get("configmaps", SETTINGS)
        return {str(key): str(value) for key, value in (found.get("data") or {}).items()}

    def url(self) -> str:
        """The public URL: the region's MC_PUBLIC_URL, a Service of the cluster by its address.

        Raises:
            CouldNotTell: the region's settings do not say it.
        """
        found = self.region().get("MC_PUBLIC_URL")
        if not found:
            raise CouldNotTell(
                f"{SETTINGS} says no MC_PUBLIC_URL", hint="put it there, or set MC_URL"
            )
        return self._by_address(found)

    def neighbour_url(self, name: str) -> str:
        """Where a sample agent or the SIEM receiver listens, as the region's settings say it.

        Raises:
            UnusableInput: no neighbour has this name, or the region has none.
        """
        known = f"known: {', '.join(NEIGHBOURS)}"
        if name not in NEIGHBOURS:
            raise UnusableInput(f'unknown neighbour "{name}"', hint=known)
        found = self.region().get(NEIGHBOURS[name])
        if not found:
            raise UnusableInput(f"{SETTINGS} says no {NEIGHBOURS[name]}", hint=known)
        parts = urlsplit(found)
        return self._by_address(f"{parts.scheme}://{parts.netloc}")

    def _by_address(self, url: str) -> str:
        """The URL with a Service's address for its name, which only pods can look up.

        Over TLS the name stays, for the certificate is of the name.
        """
        parts = urlsplit(url)
        place = _service_of(parts.hostname or "")
        if place is None or parts.scheme != "http":
            return url
        try:
            service = self._client.get("services", place[0], namespace=place[1])
        except (CouldNotTell, NotAllowed):
            return url
        address = service["spec"].get("clusterIP")
        if address in (None, "None"):
            return url
        port = f":{parts.port}" if parts.port else ""
        return urlunsplit(parts._replace(netloc=f"{address}{port}"))

    # -- what runs ----------------------------------------------------------------------------

    def active_colour(self) -> Colour | None:
        """The side that the Service `agent-workbench` selects; None if it is neither."""
        service = self._client.find("services", SERVICE) or {}
        selector = (service.get("spec") or {}).get("selector") or {}
        return next((colour for colour in Colour if colour == selector.get(COLOUR)), None)

    def deployment(self, group: Group) -> Object | None:
        """The Deployment of a group, if there is one."""
        return self._client.find("deployments", deployment_of(group))

    def pods(self, group: Group, *, leaving: bool = False) -> list[Object]:
        """The pods of a group that stay, by name; with those that are `leaving` or at their end."""
        found = self._client.objects("pods", labels=labels_of(group))
        return sorted((p for p in found if leaving or pod_facts.stays(p)), key=pod_facts.name_of)

    def instances(self, group: Group | None = None) -> tuple[Instance, ...]:
        """The pods of a group, or of both sides, that run, ready or not."""
        groups: Sequence[Group] = tuple(Colour) if group is None else (group,)
        active = self.active_colour() if group == BASELINE else None
        return tuple(
            instance_of(pod, (active or Colour.blue) if each == BASELINE else Colour(each))
            for each in groups
            for pod in self.pods(each)
            if pod_facts.running(pod) and pod_facts.address_of(pod)
        )

    def all_pods(self) -> list[Object]:
        """The pods of both sides and of a fresh baseline."""
        return [pod for group in (*Colour, BASELINE) for pod in self.pods(group)]

    def status(self) -> EnvironmentStatus:
        """The pods of both sides and of a fresh baseline, and of the neighbours that may be seen."""
        processes: dict[str, ProcessStatus] = {}
        reached: list[Instance] = []
        for group in (*Colour, BASELINE):
            colour = None if group == BASELINE else Colour(group)
            for pod in self.pods(group):
                line = _told_by_conditions(pod, PORT, colour)
                processes[line.name] = line
                if pod_facts.running(pod) and pod_facts.address_of(pod):
                    reached.append(instance_of(pod, colour or Colour.blue))
        for one in told.ask(reached):
            if one.status:
                line = processes[one.instance.name]
                told_faults = told_by(one.faults)
                processes[line.name] = replace(line, health=one.word, faults=told_faults)
        return EnvironmentStatus(
            processes=(*processes.values(), *self._neighbours()),
            active_colour=self.active_colour(),
            url=self.url(),
        )

    def _neighbours(self) -> list[ProcessStatus]:
        found: list[ProcessStatus] = []
        region = self.region()
        for setting in NEIGHBOURS.values():
            place = _service_of(urlsplit(region.get(setting, "")).hostname or "")
            if place is None:
                continue
            try:
                service = self._client.get("services", place[0], namespace=place[1])
                selector = service["spec"].get("selector") or {}
                pods = self._client.objects("pods", labels=selector, namespace=place[1])
            except (CouldNotTell, NotAllowed):
                continue
            port = next((one["port"] for one in service["spec"]["ports"]), None)
            found += [_told_by_conditions(pod, port) for pod in pods if pod_facts.stays(pod)]
        return found

    def warnings(self, name: str) -> list[str]:
        """What the events warn of about an object, the newest first; none where they may not be read."""
        fields = f"involvedObject.name={name},type=Warning"
        try:
            found = self._client.objects("events", fields=fields)
        except NotAllowed:
            return []
        found.sort(key=lambda one: str(one.get("lastTimestamp") or one.get("eventTime") or ""))
        return [f"{one.get('reason')}: {one.get('message', '')[:300]}" for one in found[::-1]]


def instance_of(pod: Object, colour: Colour) -> Instance:
    """A pod as a replica, and where it listens inside the cluster's network."""
    url = f"http://{pod_facts.address_of(pod)}:{PORT}"
    return Instance(name=pod_facts.name_of(pod), colour=colour, url=url)


def _told_by_conditions(
    pod: Object, port: int | None, colour: Colour | None = None
) -> ProcessStatus:
    uptime = pod_facts.uptime_s(pod, datetime.now(UTC))
    return ProcessStatus(
        name=pod_facts.name_of(pod),
        state=pod_facts.state_of(pod),
        pid=None,
        port=port,
        uptime_s=None if uptime is None else round(uptime, 1),
        health=pod_facts.word_of(pod),
        faults=shown(pod_facts.literal_env(pod)),
        colour=colour,
        restarts=pod_facts.restarts(pod),
    )


def _service_of(host: str) -> tuple[str, str] | None:
    """The name and the namespace of a Service of the cluster that a host stands for."""
    for domain in _CLUSTER_DOMAIN:
        name, _, namespace = host.removesuffix(domain).partition(".")
        if host.endswith(domain) and name and namespace and "." not in namespace:
            return name, namespace
    return None
