"""Worlds of pods and NetworkPolicies to compare evaluators on, and an evaluator that is all sets.

Of few labels, ports and addresses, so that selectors hit and miss about equally often.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from mc_ops.preflight.kubernetes.manifests import Object
from mc_ops.preflight.kubernetes.policies import Endpoint, Port

NUMBERS = (53, 80, 443, 8000, 8080, 8443)
PORTS = [Port(number, protocol) for number in NUMBERS for protocol in ("TCP", "UDP")]
NAMES = ("web", "api")
BLOCKS = ("1.2.0.0/16", "1.2.3.0/24", "1.2.3.4/32", "0.0.0.0/0", "9.9.9.0/24")
OUTSIDE = ("1.2.3.4", "1.2.3.5", "1.2.9.9", "9.9.9.9", "8.8.8.8")
KEYS = {"app": ("x", "y"), "tier": ("front", "back"), "role": ("a",)}


@dataclass(frozen=True)
class World:
    """Namespaces with labels, pods in them, addresses outside, and policies."""

    namespaces: dict[str, dict[str, str]]
    pods: list[Endpoint]
    outside: list[Endpoint]
    policies: list[Object]

    @property
    def connections(self):
        """Every connection with a pod at one end at least."""
        ends = [*self.pods, *self.outside]
        for source, target in itertools.product(ends, ends):
            if source.namespace or target.namespace:
                for port in PORTS:
                    yield source, target, port


def world(seed: int, *, namespaces: int = 3, pods: int = 6, policies: int = 6) -> World:
    """A world; one seed always gives the same."""
    chance = random.Random(seed)
    spaces = {f"ns{n}": _labels(chance) for n in range(namespaces)}
    all_labels = {
        name: {**labels, "kubernetes.io/metadata.name": name} for name, labels in spaces.items()
    }
    made = []
    for number in range(pods):
        space = chance.choice(list(spaces))
        ports = {}
        for name in NAMES:
            if chance.random() < 0.6:
                protocol = chance.choice(("TCP", "TCP", "UDP"))
                ports[name, protocol] = chance.choice(NUMBERS)
        labels = _labels(chance)
        address = ip_address(f"10.244.0.{number + 1}")
        made.append(Endpoint(f"p{number}", space, labels, all_labels[space], address, ports))
    outside = [Endpoint(text, ip=ip_address(text)) for text in OUTSIDE]
    told = [Object(_policy(chance, number, list(spaces))) for number in range(policies)]
    return World(all_labels, made, outside, told)


def _labels(chance):
    return {key: chance.choice(values) for key, values in KEYS.items() if chance.random() < 0.6}


def _selector(chance):
    selector = {}
    if chance.random() < 0.5:
        selector["matchLabels"] = {
            key: chance.choice(values)
            for key, values in chance.sample(sorted(KEYS.items()), chance.choice((0, 1, 1)))
        }
    if chance.random() < 0.4:
        key = chance.choice(sorted(KEYS))
        operator = chance.choice(("In", "NotIn", "Exists", "DoesNotExist"))
        expression = {"key": key, "operator": operator}
        if operator in {"In", "NotIn"}:
            expression["values"] = chance.sample(KEYS[key], chance.randint(1, len(KEYS[key])))
        selector["matchExpressions"] = [expression]
    return selector


def _peer(chance):
    kind = chance.choice(("block", "pods", "spaces", "both", "name"))
    if kind == "block":
        cidr = chance.choice(BLOCKS)
        inside = [
            one for one in BLOCKS if one != cidr and ip_network(one).subnet_of(ip_network(cidr))
        ]
        block = {"cidr": cidr}
        if inside and chance.random() < 0.5:
            block["except"] = chance.sample(inside, 1)
        return {"ipBlock": block}
    if kind == "name":
        name = f"ns{chance.randint(0, 2)}"
        return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}
    peer = {}
    if kind in {"pods", "both"}:
        peer["podSelector"] = _selector(chance)
    if kind in {"spaces", "both"}:
        peer["namespaceSelector"] = _selector(chance)
    return peer


def _port(chance):
    kind = chance.choice(("number", "range", "name", "all", "default"))
    port = {} if kind == "default" else {"protocol": chance.choice(("TCP", "UDP"))}
    if kind in {"number", "default"}:
        port["port"] = chance.choice(NUMBERS)
    elif kind == "range":
        first, last = sorted(chance.sample(NUMBERS, 2))
        port |= {"port": first, "endPort": last}
    elif kind == "name":
        port["port"] = chance.choice(NAMES)
    return port


def _rule(chance, key):
    rule = {}
    if chance.random() < 0.8:
        rule[key] = [_peer(chance) for _ in range(chance.randint(1, 2))]
    if chance.random() < 0.7:
        rule["ports"] = [_port(chance) for _ in range(chance.randint(1, 2))]
    return rule


def _policy(chance, number, spaces):
    spec = {"podSelector": _selector(chance)}
    for name, key in (("ingress", "from"), ("egress", "to")):
        if chance.random() < 0.6:
            spec[name] = [_rule(chance, key) for _ in range(chance.randint(0, 2))]
    if chance.random() < 0.7:
        spec["policyTypes"] = chance.choice((["Ingress"], ["Egress"], ["Ingress", "Egress"]))
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"np{number}", "namespace": chance.choice(spaces)},
        "spec": spec,
    }


def allowed_by_sets(told: World) -> set[tuple[str, str, int, str]]:
    """All connections that pass, by sets: who is isolated, and what each rule adds.

    Addresses of pods lie in no `ipBlock`.
    """
    every = {(s.name, t.name, p.number, p.protocol) for s, t, p in told.connections}
    passing = set(every)
    for direction, ours, theirs in (("Egress", 0, 1), ("Ingress", 1, 0)):
        isolated: set[str] = set()
        added: set[tuple[str, str, int, str]] = set()
        for policy in told.policies:
            spec = policy.data["spec"]
            types = spec.get("policyTypes") or (
                ["Ingress"] + (["Egress"] if spec.get("egress") else [])
            )
            if direction not in types:
                continue
            space = policy.data["metadata"]["namespace"]
            mine = {
                p.name
                for p in told.pods
                if p.namespace == space and _fits(spec["podSelector"], p.labels)
            }
            isolated |= mine
            for rule in spec.get(direction.lower()) or []:
                peers = rule.get("from" if direction == "Ingress" else "to")
                others = (
                    {one.name for peer in peers for one in _members(peer, space, told)}
                    if peers
                    else {one.name for one in [*told.pods, *told.outside]}
                )
                added |= {
                    one
                    for one in every
                    if one[ours] in mine
                    and one[theirs] in others
                    and (not rule.get("ports") or _reaches(rule["ports"], one, told))
                }
        passing &= added | {one for one in every if one[ours] not in isolated}
    return passing | {one for one in every if one[0] == one[1]}


def _fits(selector, labels):
    wanted = set((selector.get("matchLabels") or {}).items())
    if not wanted <= set(labels.items()):
        return False
    for one in selector.get("matchExpressions") or []:
        has = {labels[one["key"]]} if one["key"] in labels else set()
        hit = has & set(one.get("values") or has)
        if bool(hit) is (one["operator"] in {"NotIn", "DoesNotExist"}):
            return False
    return True


def _members(peer, space, told):
    if "ipBlock" in peer:
        block = peer["ipBlock"]
        holes = [ip_network(one) for one in block.get("except") or []]
        for one in told.outside:
            if one.ip in ip_network(block["cidr"]) and not any(one.ip in hole for hole in holes):
                yield one
        return
    for one in told.pods:
        if "namespaceSelector" in peer:
            near = _fits(peer["namespaceSelector"], told.namespaces[one.namespace])
        else:
            near = one.namespace == space
        if near and _fits(peer.get("podSelector") or {}, one.labels):
            yield one


def _reaches(ports, connection, told):
    _, target, number, protocol = connection
    named = next((one.ports for one in told.pods if one.name == target), {})
    for one in ports:
        if one.get("protocol", "TCP") != protocol:
            continue
        port = one.get("port")
        if port is None or named.get((port, protocol)) == number:
            return True
        if isinstance(port, int) and number in range(port, one.get("endPort", port) + 1):
            return True
    return False
