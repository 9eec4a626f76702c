"""What NetworkPolicies allow: against the API's own words, and against two other evaluators."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from ipaddress import ip_address, ip_network, summarize_address_range
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.mc_ops.preflight.kubernetes.network_worlds import (
    KEYS,
    PORTS,
    allowed_by_sets,
    world,
)

from mc_ops.errors import UnusableInput
from mc_ops.preflight.kubernetes.manifests import Object
from mc_ops.preflight.kubernetes.policies import Endpoint, Port, evaluate, types_of

ROOT = Path(__file__).parents[5]
NCA = ROOT / ".venv-nca" / "bin" / "nca"
A = Endpoint("a", "n", {"app": "a"}, {"is": "n"}, ip_address("10.244.0.1"), {("http", "TCP"): 8080})
B = Endpoint("b", "n", {"app": "b"}, {"is": "n"}, ip_address("10.244.0.2"), {("http", "TCP"): 8080})
C = Endpoint("c", "m", {"app": "a"}, {"is": "m"}, ip_address("10.244.0.3"))
OUT = Endpoint("out", ip=ip_address("1.2.3.4"))


def policy(**spec):
    return Object(
        {"kind": "NetworkPolicy", "metadata": {"name": "p", "namespace": "n"}, "spec": spec}
    )


def allowed(spec, source, target, port=8080, protocol="TCP", **how):
    return evaluate([policy(**spec)], source, target, Port(port, protocol), **how).allowed


@given(st.integers(0, 2**32))
def test_an_evaluator_of_sets_says_the_same(seed):
    """Any world: which connections pass is the same by sets of them."""
    told = world(seed)
    ours = {
        (source.name, target.name, port.number, port.protocol)
        for source, target, port in told.connections
        if evaluate(told.policies, source, target, port).allowed
    }
    assert ours == allowed_by_sets(told)


@pytest.mark.slow
@pytest.mark.skipif(not NCA.exists(), reason="network-config-analyzer: make .venv-nca/.locked")
@pytest.mark.parametrize("seed", range(4))
def test_network_config_analyzer_says_the_same(seed, tmp_path):
    """A world of 12 namespaces, 24 pods and 40 policies, by IBM's analyzer."""
    told = world(seed, namespaces=12, pods=24, policies=40)
    for one in told.policies:
        # It refuses rules of a direction that the types do not have, and takes an empty list of
        # rules for a type; the API's defaults (SetDefaults_NetworkPolicy) count rules
        spec = one.data["spec"]
        spec["policyTypes"] = list(types_of(one))
        for direction in {"Ingress", "Egress"} - set(spec["policyTypes"]):
            spec.pop(direction.lower(), None)
    theirs = _by_nca(told, tmp_path)
    for source, target, port in told.connections:
        if source != target:  # it does not look at a pod that asks itself
            ours = evaluate(told.policies, source, target, port).allowed
            assert ours is ((source.name, target.name, port) in theirs), (source, target, port)


def _by_nca(told, folder):
    """The connections that it allows."""
    objects = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        for name, labels in told.namespaces.items()
    ]
    for number, pod in enumerate(told.pods):
        ports = [
            {"name": name, "protocol": protocol, "containerPort": port}
            for (name, protocol), port in pod.ports.items()
        ]
        # One that says whose it is, or equal ones are shown as one
        labels = {**pod.labels, "pod": str(number)}
        objects.append(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": pod.name, "namespace": pod.namespace, "labels": labels},
                "spec": {"containers": [{"name": "c", "image": "i", "ports": ports}]},
                "status": {"podIP": str(pod.ip)},
            }
        )
    objects += [_as_values(copy.deepcopy(one.data)) for one in told.policies]
    (folder / "world.yaml").write_text(yaml.safe_dump_all(objects))
    out = folder / "out.json"
    how = ("--output_format", "json", "--output_endpoints", "pods", "--file_out", out)
    subprocess.run(
        [NCA, "--connectivity", "world.yaml", "-r", "world.yaml", *how],
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=240,
    )
    [query] = json.loads(out.read_text())
    [explanation] = query["explanation"]
    found = set()
    for rule in explanation["rules"]:
        sources, targets = (_ends(rule, side, told) for side in ("src", "dst"))
        for connection in rule["connection"]:
            found |= {(s, t, p) for s in sources for t in targets for p in _ports(connection)}
    return found


def _as_values(node):
    """`Exists` as all values that there are, and `DoesNotExist` as none of them.

    It looks for these two among the pods of the policy's own namespace, whatever the
    namespaceSelector beside them says (`get_peers_with_key(self.namespace, ...)`).
    """
    if isinstance(node, dict):
        if node.get("operator") in {"Exists", "DoesNotExist"}:
            node["operator"] = "In" if node["operator"] == "Exists" else "NotIn"
            node["values"] = list(KEYS[node["key"]])
        for value in node.values():
            _as_values(value)
    elif isinstance(node, list):
        for value in node:
            _as_values(value)
    return node


def _ends(rule, side, told):
    if f"{side}_ip_block" in rule:
        blocks = [network for text in rule[f"{side}_ip_block"] for network in _blocks(text)]
        return [one.name for one in told.outside if any(one.ip in block for block in blocks)]
    spaces, words = rule[f"{side}_ns"], rule[f"{side}_pods"]
    return [
        pod.name
        for pod in told.pods
        if pod.namespace in spaces
        and any(word in {"*", pod.name} or _is_of(word, pod.labels) for word in words)
    ]


_TERM = re.compile(r"(!?)has\((\w+)\)|(\w+) (not in|in) \(([\w,]+)\)|(\w+)(!?=)(\w+)")


def _is_of(word, labels):
    """Whether labels fit what it writes for a group of pods: `has(a) and b in (x,y)`, `a!=x`."""

    def answer(term):
        negated, key, of, how, values, one, equal, value = term.groups()
        if key:
            return str((key in labels) is not bool(negated))
        if of:
            return str((labels.get(of) in values.split(",")) is (how == "in"))
        return str((labels.get(one) == value) is (equal == "="))

    formula = _TERM.sub(answer, word).translate(str.maketrans("{}", "()"))
    return bool(re.search("True|False", formula)) and eval(formula)


def _blocks(text):
    for part in text.split(","):
        first, _, last = part.partition("-")
        if last:
            yield from summarize_address_range(ip_address(first), ip_address(last))
        else:
            yield ip_network(first)


def _ports(connection):
    if connection == "All connections":
        return PORTS
    numbers = set()
    for told in connection.get("dst_ports", [f"1-{2**16}"]):
        first, _, last = str(told).partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    return [p for p in PORTS if p.protocol in connection["protocols"] and p.number in numbers]


@pytest.mark.parametrize(
    ("spec", "open_ways"),
    [
        ({}, {"out"}),  # neither rules nor types: Ingress alone
        ({"egress": []}, {"out"}),  # an empty list is no rule
        ({"egress": [{}]}, {"out"}),  # Egress as well, and a rule that lets all
        ({"egress": [{"to": [{"podSelector": {"matchLabels": {"app": "z"}}}]}]}, set()),
        ({"policyTypes": ["Egress"]}, {"in"}),
        ({"policyTypes": ["Ingress", "Egress"]}, set()),
        ({"ingress": [{}], "policyTypes": ["Ingress"]}, {"in", "out"}),
        ({"ingress": [{"from": []}]}, {"in", "out"}),
        ({"podSelector": {"matchLabels": {"app": "z"}}}, {"in", "out"}),
    ],
)
def test_the_types_that_a_policy_does_not_name(spec, open_ways):
    """As the API documents its defaults."""
    found = {way for way, (s, t) in {"in": (C, A), "out": (A, C)}.items() if allowed(spec, s, t)}
    assert found == open_ways


def test_a_selector_of_pods_alone_means_the_policys_namespace():
    """The same labels in another namespace are somebody else, unless it is selected as well."""
    same = {"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "a"}}}]}]}
    assert allowed(same, A, B)
    assert not allowed(same, C, B)
    both = {"ingress": [{"from": [{"podSelector": {}, "namespaceSelector": {}}]}]}
    assert allowed(both, C, B)
    either = {"ingress": [{"from": [{"podSelector": {}}, {"namespaceSelector": {}}]}]}
    assert allowed(either, C, B)


def test_named_ports_are_those_of_the_pod_that_is_reached():
    """Also where the rule is the source's; an address has none."""
    spec = {"egress": [{"ports": [{"port": "http"}]}], "policyTypes": ["Egress"]}
    assert allowed(spec, A, B, 8080)
    assert not allowed(spec, A, B, 80)
    assert not allowed(spec, A, B, 8080, "UDP")
    assert not allowed(spec, A, C, 8080)
    assert not allowed(spec, A, OUT, 8080)


def test_an_address_of_a_pod_lies_in_a_block_where_the_plugin_says_so():
    """Which differs between plugins: both can be asked."""
    spec = {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}], "policyTypes": ["Egress"]}
    assert not allowed(spec, A, C)
    assert allowed(spec, A, C, blocks_cover_pods=True)
    assert not allowed(spec, A, OUT)


def test_nobody_stops_a_pod_from_reaching_itself():
    """Nor may a policy."""
    assert allowed({"policyTypes": ["Ingress", "Egress"]}, A, A)


@pytest.mark.parametrize(
    "spec",
    [
        {"policyTypes": ["ingress"]},
        {"ingress": [{"from": [{}]}]},
        {"ingress": [{"from": [{"podSelectors": {}}]}]},
        {"ingress": [{"from": [{"ipBlock": {"cidr": "1.0.0.0/8"}, "podSelector": {}}]}]},
        {"ingress": [{"from": [{"ipBlock": {"cidr": "1.2.3.4/8"}}]}]},
        {"ingress": [{"from": [{"ipBlock": {"cidr": "1.2.3.4"}}]}]},
        {"ingress": [{"from": [{"ipBlock": {"cidr": "1.0.0.0/255.0.0.0"}}]}]},
        {"ingress": [{"from": [{"ipBlock": {"cidr": 16777216}}]}]},
        {"egress": [{"to": [{"ipBlock": {"cidr": "1.0.0.0/8", "except": ["2.0.0.0/8"]}}]}]},
        {"ingress": [{"ports": [{"port": 80, "protocol": "tcp"}]}]},
        {"ingress": [{"ports": [{"port": 80, "endPort": 79}]}]},
        {"ingress": [{"ports": [{"port": "http", "endPort": 90}]}]},
        {"ingress": [{"ports": [{"port": True}]}]},
        {"ingress": "all"},
        {"podSelector": {"matchExpressions": [{"key": "app", "operator": "in"}]}},
    ],
    ids=str,
)
def test_what_the_api_would_refuse_is_refused(spec):
    """A policy that means nothing never passes for one that denies."""
    ends = (OUT, A) if "egress" not in spec else (A, OUT)
    with pytest.raises(UnusableInput, match="NetworkPolicy n/p"):
        allowed(spec, *ends)
