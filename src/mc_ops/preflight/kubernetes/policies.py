"""What NetworkPolicies allow: evaluated as the API documents them, without a cluster.

    evaluate(policies, source, target, Port(5432)).allowed

A connection passes if the source's egress and the target's ingress both let it. A pod that no policy
selects for a direction is open in it; rules of several policies add up. What is outside of the
cluster has an address and no policies. Whether an `ipBlock` also covers addresses of pods depends on
the network plugin: `blocks_cover_pods` says which is assumed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from mc_ops.errors import UnusableInput
from mc_ops.preflight.kubernetes.manifests import Object, mapping, sequence

_DIRECTIONS = {"Ingress": "from", "Egress": "to"}
PROTOCOLS = ("TCP", "UDP", "SCTP")
GROUP = "networking.k8s.io"
"""Of the NetworkPolicies that are meant here: Calico's and others' have the kind's name, and another meaning."""
_RULE_KEYS = {"from", "to", "ports"}
_PORT_KEYS = {"protocol", "port", "endPort"}
_SELECTOR_KEYS = {"matchLabels", "matchExpressions"}
_OF_VALUES = {"In": True, "NotIn": True, "Exists": False, "DoesNotExist": False}
_SPEC_KEYS = {"podSelector", "policyTypes", "ingress", "egress"}
_PEER_KEYS = {"podSelector", "namespaceSelector", "ipBlock"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A pod, or an address outside of the cluster.

    Attributes:
        namespace: None outside of the cluster.
        ports: A pod's named ports: (name, protocol) to number.
    """

    name: str
    namespace: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    ip: IPv4Address | IPv6Address | None = None
    ports: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Port:
    """Where a connection goes."""

    number: int
    protocol: str = "TCP"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a connection passes.

    Attributes:
        refused_by: Each end that refuses it, with the policies that select it and have no rule for it.
        passed_by: Each end that lets it, with the policies that do, or with none that selects it.
    """

    refused_by: tuple[str, ...] = ()
    passed_by: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether nobody refuses it."""
        return not self.refused_by


def evaluate(
    policies: Sequence[Object],
    source: Endpoint,
    target: Endpoint,
    port: Port,
    *,
    blocks_cover_pods: bool = False,
) -> Verdict:
    """Whether the connection passes.

    Raises:
        UnusableInput: a policy says what the API would refuse.
    """
    if source == target:
        return Verdict()  # no policy stops a pod from reaching itself
    refused: list[str] = []
    passed: list[str] = []
    for direction, mine, other in (("Egress", source, target), ("Ingress", target, source)):
        selecting = [one for one in policies if selects(one, mine, direction)]
        letting = [
            one
            for one in selecting
            if any(
                _peer_matches(rule, direction, one, other, blocks_cover_pods)
                and _port_matches(rule, one, target, port)
                for rule in rules_of(one, direction)
            )
        ]
        names = (
            ", ".join(sorted(one.name for one in letting or selecting)) or "no policy selects it"
        )
        end = f"{direction.lower()} of {mine.name} ({names})"
        (refused if selecting and not letting else passed).append(end)
    return Verdict(tuple(refused), tuple(passed))


def _of(value: Any, keys: Collection[str], field: str, where: Object) -> Mapping[str, Any]:
    """An object of these keys: a misspelt one would be left out, and the rest mean more than was written.

    Raises:
        UnusableInput: it has another key, or is no object.
    """
    told = mapping(value, field, where)
    if others := sorted(str(key) for key in told if key not in keys):
        raise UnusableInput(
            f"{where}: {field} has {', '.join(others)[:200]}, which is none of its fields",
            hint=f"it may have {', '.join(sorted(keys))}",
        )
    return told


def selects(policy: Object, endpoint: Endpoint, direction: str) -> bool:
    """Whether a policy isolates an endpoint in a direction, `Ingress` or `Egress`."""
    _of(policy.spec, _SPEC_KEYS, "spec", policy)
    return (
        endpoint.namespace == policy.namespace
        and direction in types_of(policy)
        and _selected(policy.spec.get("podSelector"), endpoint.labels, "spec.podSelector", policy)
    )


def types_of(policy: Object) -> Sequence[str]:
    """The directions of a policy; where it names none: Ingress, and Egress if it has such rules."""
    types = sequence(policy.spec.get("policyTypes"), "spec.policyTypes", policy)
    if any(one not in tuple(_DIRECTIONS) for one in types):
        raise UnusableInput(f"{policy}: spec.policyTypes is {types!r}, must be Ingress or Egress")
    if types:
        return types
    return ("Ingress", "Egress") if policy.spec.get("egress") else ("Ingress",)


def rules_of(policy: Object, direction: str) -> Iterator[Mapping[str, Any]]:
    """Its rules of a direction."""
    name = direction.lower()
    for rule in sequence(policy.spec.get(name), f"spec.{name}", policy):
        yield _of(rule, _RULE_KEYS, f"spec.{name}[]", policy)


def _peer_matches(
    rule: Mapping[str, Any], direction: str, policy: Object, other: Endpoint, cover_pods: bool
) -> bool:
    key = _DIRECTIONS[direction]
    peers = sequence(rule.get(key), key, policy)
    return not peers or any(
        _is_peer(mapping(peer, key, policy), policy, other, cover_pods) for peer in peers
    )


def _is_peer(peer: Mapping[str, Any], policy: Object, other: Endpoint, cover_pods: bool) -> bool:
    keys = {name for name, value in peer.items() if value is not None}
    if not keys or keys - _PEER_KEYS or ("ipBlock" in keys and len(keys) > 1):
        raise UnusableInput(
            f"{policy}: a peer has {', '.join(sorted(keys)) or 'nothing'}, must have an ipBlock "
            "alone, or a podSelector, a namespaceSelector or both"
        )
    if "ipBlock" in keys:
        covered = other.namespace is None or cover_pods
        block = _of(peer["ipBlock"], {"cidr", "except"}, "ipBlock", policy)
        return other.ip is not None and covered and _in_block(other.ip, block, policy)
    if other.namespace is None:
        return False
    if "namespaceSelector" in keys:
        selector = peer["namespaceSelector"]
        if not _selected(selector, other.namespace_labels, "namespaceSelector", policy):
            return False
    elif other.namespace != policy.namespace:
        return False
    return "podSelector" not in keys or _selected(
        peer["podSelector"], other.labels, "podSelector", policy
    )


def _in_block(address: Any, block: Mapping[str, Any], policy: Object) -> bool:
    try:
        whole = _network(block.get("cidr"))
        holes = [_network(one) for one in sequence(block.get("except"), "except", policy)]
    except ValueError as error:
        raise UnusableInput(f"{policy}: ipBlock: {error}") from error
    for hole in holes:
        inside = hole.version == whole.version and hole.subnet_of(whole)  # type: ignore[arg-type] # as checked
        if not inside or hole == whole:
            raise UnusableInput(
                f"{policy}: ipBlock.except {hole} is not a smaller block within {whole}"
            )
    return address in whole and not any(address in hole for hole in holes)


def _network(text: Any) -> IPv4Network | IPv6Network:
    """A network as the API takes it; Python's own also takes one without a length, or with a mask."""
    if not isinstance(text, str) or not text.partition("/")[2].isdigit():
        raise ValueError(f"{text!r} is no network, such as 192.0.2.0/24")
    return ip_network(text)


def _port_matches(rule: Mapping[str, Any], policy: Object, target: Endpoint, port: Port) -> bool:
    ports = sequence(rule.get("ports"), "ports", policy)
    return not ports or any(
        _is_port(_of(o, _PORT_KEYS, "ports[]", policy), policy, target, port) for o in ports
    )


def _is_port(told: Mapping[str, Any], policy: Object, target: Endpoint, port: Port) -> bool:
    protocol, number, end = told.get("protocol") or "TCP", told.get("port"), told.get("endPort")
    if protocol not in PROTOCOLS:
        raise UnusableInput(f"{policy}: protocol {protocol!r}, must be TCP, UDP or SCTP")
    if isinstance(number, bool) or not isinstance(number, int | str | None):
        raise UnusableInput(f"{policy}: port {number!r} is neither a number nor a name")
    if end is not None and not (isinstance(number, int) and isinstance(end, int) and end >= number):
        raise UnusableInput(f"{policy}: endPort {end!r} needs a port number that is not above it")
    if protocol != port.protocol:
        return False
    if number is None:
        return True
    if isinstance(number, str):  # of the pod that is reached; nobody knows those of an address
        return target.ports.get((number, protocol)) == port.number
    return number <= port.number <= (number if end is None else end)


def matches(selector: Any, labels: Mapping[str, str], where: Object) -> bool:
    """Whether labels fit a selector of an object; one that is missing selects nothing here."""
    return selector is not None and _selected(selector, labels, "spec.selector", where)


def _selected(selector: Any, labels: Mapping[str, str], where: str, policy: Object) -> bool:
    """Whether labels match a selector; one that is empty (or missing) selects all."""
    told = _of(selector, _SELECTOR_KEYS, where, policy)
    wanted = mapping(told.get("matchLabels"), f"{where}.matchLabels", policy)
    if any(labels.get(str(key)) != str(value) for key, value in wanted.items()):
        return False
    for one in sequence(told.get("matchExpressions"), f"{where}.matchExpressions", policy):
        expression = mapping(one, f"{where}.matchExpressions[]", policy)
        key, operator = str(expression.get("key")), expression.get("operator")
        values = {str(v) for v in sequence(expression.get("values"), "values", policy)}
        if (
            isinstance(operator, str)
            and operator in _OF_VALUES
            and bool(values) is not _OF_VALUES[operator]
        ):
            needs = "needs values" if _OF_VALUES[operator] else "takes no values"
            raise UnusableInput(f"{policy}: {where}: {operator} of {key} {needs}")
        answers = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not isinstance(operator, str) or operator not in answers:
            raise UnusableInput(
                f"{policy}: operator {operator!r} of {where}, must be {', '.join(_OF_VALUES)}"
            )
        if not answers[operator]:
            return False
    return True


def address(text: str) -> IPv4Address | IPv6Address:
    """An address.

    Raises:
        UnusableInput: it is none.
    """
    try:
        return ip_address(text)
    except ValueError as error:
        raise UnusableInput(f"{text!r} is no IP address") from error
