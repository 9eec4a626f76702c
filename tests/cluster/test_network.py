"""Names, Services and NetworkPolicies: who reaches whom."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.cluster.conftest import Cluster, Space, deployment, until

pytestmark = pytest.mark.cluster

HOST = "10.87.0.1"  # this machine, as pods see it


def policy(name: str, **spec) -> dict:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": spec,
    }


def pods_of(app: str) -> dict:
    return {"podSelector": {"matchLabels": {"app": app}}}


DENY = policy("default-deny", podSelector={}, policyTypes=["Ingress", "Egress"])
DNS = {
    "to": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}}],
    "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}],
}  # fmt: skip
NAMED = policy(
    "caller",
    podSelector={"matchLabels": {"app": "caller"}},
    policyTypes=["Egress"],
    egress=[DNS, {"to": [pods_of("server")], "ports": [{"port": "http"}]}],
)
ENTRY = policy(
    "server",
    podSelector={"matchLabels": {"app": "server"}},
    policyTypes=["Ingress"],
    ingress=[{"from": [pods_of("caller")], "ports": [{"port": 8080}]}],
)


@pytest.fixture
def three(space: Space) -> Iterator[dict[str, str]]:
    """The pods of three Deployments: a caller, a server, and one that has no business here."""
    for app in ("caller", "server", "other"):
        space.apply(*deployment(app))
    for app in ("caller", "server", "other"):
        space.kubectl("rollout", "status", f"deployment/{app}", "--timeout=90s")
    return {app: space.pods(app)[0]["metadata"]["name"] for app in ("caller", "server", "other")}


def reaches(space: Space, pod: str, target: str) -> bool:
    """Asked in the pod by exec, which no policy of a network is in the way of."""
    ask = f"import sys; sys.path.insert(0, '/app'); import app; print(app.reach({target!r}))"
    return not space.kubectl("exec", pod, "--", "python", "-c", ask).stdout.startswith("no:")


def test_services_have_names(space: Space, three: dict[str, str]):
    full = f"server.{space.name}.svc.cluster.local"
    address = space.read("service", "server")["spec"]["clusterIP"]
    for name in ("server", f"server.{space.name}", f"server.{space.name}.svc", full):
        said = space.kubectl("exec", three["caller"], "--", "getent", "hosts", name).stdout
        assert said.split() == [address, full], name
    assert not reaches(space, three["caller"], "nobody")
    assert not reaches(space, three["caller"], "example.com")
    headless = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "headless"},
                "spec": {"clusterIP": "None", "selector": {"app": "server"}, "ports": [{"port": 8080}]}}  # fmt: skip
    space.apply(headless)
    until(lambda: reaches(space, three["caller"], "http://headless:8080/"))
    # A pod reaches itself by its service
    until(lambda: reaches(space, three["server"], "http://server/"), 20)


def test_only_the_named_pairs_of_a_default_deny_talk(space: Space, three: dict[str, str]):
    server = f"http://{space.read('pod', three['server'])['status']['podIP']}:8080/"
    other = f"http://{space.read('pod', three['other'])['status']['podIP']}:8080/"
    full = f"server.{space.name}.svc.cluster.local"
    pairs = {
        ("caller", server): True, ("caller", "http://server/"): True, ("caller", "server"): True,
        ("caller", other): False, ("caller", f"http://{HOST}:1/"): False, ("caller", "http://10.87.0.2:6443/"): False,
        ("other", server): False, ("other", full): False, ("server", other): False,
    }  # fmt: skip
    # Open before the policies; a service's rules come a moment after its pods are ready
    until(lambda: reaches(space, three["other"], "http://server/"), 20)
    space.apply(DENY, NAMED, ENTRY)
    until(lambda: not reaches(space, three["other"], server), 20)
    with ThreadPoolExecutor() as at_once:
        asked = at_once.map(lambda pair: reaches(space, three[pair[0]], pair[1]), pairs)
        assert dict(zip(pairs, asked, strict=True)) == pairs
    space.kubectl("delete", "networkpolicy", "--all")
    until(lambda: reaches(space, three["other"], server), 20)


def test_a_policy_holds_from_a_pods_first_packet(space: Space):
    """A pod must not run before the rules over its address are in force."""
    space.apply(DENY)
    leak = "from urllib.request import urlopen\ntry:\n  urlopen('http://10.87.0.2:6443', timeout=1); print('leak')\nexcept OSError as e: print(type(e).__name__, e)"
    space.deploy(
        "quick",
        replicas=4,
        args=["-c", leak + "\nimport time; time.sleep(600)"],
        readinessProbe=None,
        lifecycle=None,
    )
    until(lambda: space.kubectl("logs", "-l", "app=quick").stdout.count("timed out") == 4, 30)


def test_a_namespace_is_a_peer_by_its_label(cluster: Cluster, space: Space, three: dict[str, str]):
    address = f"http://{space.read('pod', three['server'])['status']['podIP']}:8080/"
    space.apply(DENY, policy("team", podSelector=pods_of("server")["podSelector"], policyTypes=["Ingress"],
                             ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"team": "friends"}}}]}]),
                policy("free", podSelector=pods_of("other")["podSelector"], policyTypes=["Egress"], egress=[{}]))  # fmt: skip
    until(lambda: not reaches(space, three["other"], address), 20)
    cluster.kubectl("label", "namespace", space.name, "team=friends")
    until(lambda: reaches(space, three["other"], address), 20)
