"""Who may reach whom: a table that the repository owns, TOML.

pods = "10.244.0.0/16"
include = ["../../egress.toml"]

[endpoints.workbench]
workload = "Deployment mc-platform/agent-workbench"

[[pairs]]
from = "workbench"
to = "dns"
port = 53
protocol = "UDP"
expect = "allow"
why = "names are resolved"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from mc_contract.configuration import (
    FileProblems,
    Form,
    Several,
    Strict,
    Text,
    Word,
    check,
    known,
    toml_of,
)
from mc_ops.errors import UnusableInput
from mc_ops.files import read_limited
from mc_ops.preflight.kubernetes.policies import PROTOCOLS, Endpoint, Port, address
from mc_ops.preflight.kubernetes.workloads import Pod

_HINT = "docs/how-to/kubernetes.md has the form of the table"
_PODS = "10.244.0.0/16"
_NAME = "kubernetes.io/metadata.name"
_Known = Annotated[Text, known("endpoints"), Form("the name of an endpoint")]


class _Endpoint(Strict):
    workload: Text | None = None
    namespace: Text | None = None
    namespace_labels: dict[Text, str] = Field(default_factory=dict)
    labels: dict[Text, str] = Field(default_factory=dict)
    ports: dict[Text, Annotated[int, Field(ge=1, le=65535)]] = Field(default_factory=dict)
    ip: Text | None = None
    address: Text | None = None


class Pair(Strict):
    """A row: from whom to whom, and whether it must pass."""

    source: _Known = Field(alias="from")
    target: _Known = Field(alias="to")
    port: int = Field(ge=1, le=65535)
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    expect: Literal["allow", "deny"]
    why: Text

    @property
    def at(self) -> Port:
        """The port with its protocol."""
        return Port(self.port, self.protocol)

    def __str__(self) -> str:
        """As results name it."""
        return f"{self.source} -> {self.target} {self.port}/{self.protocol}"


class _File(Strict):
    pods: Text | None = None
    control: Text | None = None
    include: Several[Text] = ()
    endpoints: dict[Word, _Endpoint] = Field(default_factory=dict)
    pairs: Several[Pair] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """The rows, with the endpoints as the workloads at hand make them.

    Attributes:
        addresses: Where an endpoint is reached on a cluster, by its name.
        workloads: What an endpoint runs as, by its name: `Deployment NAMESPACE/NAME`.
        control: The endpoint that no policy isolates, from which a target must be reachable.
    """

    endpoints: Mapping[str, Endpoint]
    addresses: Mapping[str, str]
    workloads: Mapping[str, str]
    pairs: tuple[Pair, ...]
    control: str | None


def read_table(path: Path, pods: Iterable[Pod]) -> Table:
    """Read a table.

    Args:
        path: The file.
        pods: Of the workloads that it may name.

    Raises:
        UnusableInput: it cannot be read, says something else, or names a workload that is not there.
    """
    files = _files(path)
    told = {name: one for file in reversed(files) for name, one in file.endpoints.items()}
    pairs = tuple(pair for file in files for pair in file.pairs)
    document = {"pairs": [pair.model_dump(by_alias=True) for pair in pairs]}
    try:
        check(_File, document, names={"endpoints": told})
        network = ip_network(next((one.pods for one in files if one.pods), _PODS))
        if network.num_addresses < len(told) + 2:
            raise ValueError(f"pods: {network} has no room for {len(told)} endpoints")
    except ValueError as error:  # FileProblems among them
        raise UnusableInput(f"{path}: {error}", hint=_HINT) from error
    if not pairs:
        raise UnusableInput(f"{path} has no pairs", hint=_HINT)
    made = {str(pod.owner): pod for pod in pods}
    endpoints = {
        name: _endpoint(name, one, made, str(network[place + 2]), path)
        for place, (name, one) in enumerate(sorted(told.items()))
    }
    return Table(
        endpoints,
        {name: one.address or "" for name, one in told.items()},
        {name: one.workload for name, one in told.items() if one.workload},
        pairs,
        next((one.control for one in files if one.control), None),
    )


def namespaces_of(path: Path) -> set[str]:
    """The namespaces of the workloads that a table names; raises as `read_table`."""
    files = _files(path)
    places = [one.workload for file in files for one in file.endpoints.values() if one.workload]
    return {place.partition(" ")[2].partition("/")[0] for place in places} - {""}


def _files(path: Path, within: tuple[Path, ...] = ()) -> list[_File]:
    """The file, then those that it includes; of two that name an endpoint the first counts."""
    whole = path.resolve()
    if whole in within:
        raise UnusableInput(f"{path} includes itself", hint=_HINT)
    main = _read(path)
    return [
        main,
        *(one for name in main.include for one in _files(path.parent / name, (*within, whole))),
    ]


def _read(path: Path) -> _File:
    raw = read_limited(path, 1024 * 1024)
    try:
        document = toml_of(raw)
        names = _names(document)
        return check(_File, document, names={"endpoints": names})
    except FileProblems as error:
        raise UnusableInput(f"{path}: {error}", hint=_HINT) from error


def _names(document: Mapping[str, object]) -> list[str]:
    """What the pairs of one file name: whether it is there is known when all files are."""
    pairs = document.get("pairs")
    rows = [one for one in pairs if isinstance(one, dict)] if isinstance(pairs, list) else []
    return [str(row.get(key)) for row in rows for key in ("from", "to")]


def _endpoint(
    name: str, told: _Endpoint, made: Mapping[str, Pod], address_of_pod: str, path: Path
) -> Endpoint:
    if told.workload is None:
        if (told.namespace is None) == (told.ip is None):
            raise UnusableInput(
                f"{path}: endpoints.{name} needs a workload, a namespace or an ip, and one of them",
                hint=_HINT,
            )
        if told.namespace is None:
            return Endpoint(name, ip=address(told.ip or ""))
        labels = {_NAME: told.namespace} | told.namespace_labels
        where = address(address_of_pod)
        return Endpoint(name, told.namespace, told.labels, labels, where, _by_name(told))
    pod = made.get(told.workload)
    if pod is None:
        known_ones = ", ".join(sorted(made)) or "none"
        raise UnusableInput(
            f"{path}: endpoints.{name}: there is no {told.workload}", hint=f"known: {known_ones}"
        )
    ports = {
        (str(port.get("name")), str(port.get("protocol") or "TCP")): int(port["containerPort"])
        for _, container in pod.containers()
        for port in pod.list_of("ports", container)
        if isinstance(port.get("containerPort"), int)
    } | _by_name(told)
    space = pod.owner.namespace
    labels = {_NAME: space} | told.namespace_labels
    return Endpoint(name, space, pod.labels, labels, address(address_of_pod), ports)


def _by_name(told: _Endpoint) -> dict[tuple[str, str], int]:
    """The named ports that the table says of an endpoint, whatever their protocol."""
    return {(name, way): number for name, number in told.ports.items() for way in PROTOCOLS}
