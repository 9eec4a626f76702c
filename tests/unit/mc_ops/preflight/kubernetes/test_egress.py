"""The table of who may reach whom: held against our manifests, each of their rules missed, and tried."""

from __future__ import annotations

import copy
import os
import subprocess
from pathlib import Path

import pytest
from tests.deploy.rendered import MANIFESTS, needs_kustomize, objects

from mc_ops.errors import UnusableInput
from mc_ops.preflight.kubernetes.egress import check_egress
from mc_ops.preflight.kubernetes.egress_table import namespaces_of, read_table
from mc_ops.preflight.kubernetes.manifests import Object
from mc_ops.preflight.kubernetes.probe import Outcome, connect, probe
from mc_ops.preflight.kubernetes.workloads import pods_of
from mc_ops.preflight.result import Status, exit_of

OVERLAYS = ("region", "peer", "local-test", "cloudnative-pg")


def checked(overlay, change=lambda _policies: None):
    """The results for an overlay whose policies were changed."""
    found = [Object(one) for one in objects(f"overlays/{overlay}")]
    pods = pods_of(found)
    policies = [copy.deepcopy(one.data) for one in found if one.kind == "NetworkPolicy"]
    change(policies)
    table = read_table(MANIFESTS / "overlays" / overlay / "egress.toml", pods)
    return list(check_egress([Object(one) for one in policies], pods, table))


def _spots(policies):
    """Every place at which something can be taken away: a policy, a rule, a peer, a hole, a port."""
    for number, policy in enumerate(policies):
        yield (number,)
        for direction, key in (("ingress", "from"), ("egress", "to")):
            for place, rule in enumerate(policy["spec"].get(direction, ())):
                here = (number, "spec", direction, place)
                yield here
                for part in (key, "ports"):
                    for index, one in enumerate(rule.get(part, ())):
                        if len(rule[part]) > 1:
                            yield (*here, part, index)
                        if "except" in one.get("ipBlock", ()):
                            yield (*here, part, index, "ipBlock", "except")


@needs_kustomize
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_our_policies_hold(overlay):
    """What must pass is looked at first, and all of it comes out as the table says."""
    results = checked(overlay)
    assert [one for one in results if one.status is not Status.passed] == []
    words = [one.name.split()[0] for one in results]
    assert words.index("deny") == words.count("allow") > 10
    assert words.count("deny") > 15


@needs_kustomize
@pytest.mark.parametrize("overlay", ["region", "peer", "cloudnative-pg"])
def test_nothing_in_our_policies_is_missed_by_nobody(overlay):
    """Take away any policy, rule, peer, port or hole: some pair of the table fails."""
    whole = [one for one in objects(f"overlays/{overlay}") if one["kind"] == "NetworkPolicy"]
    spots = list(_spots(whole))
    assert len(spots) > 25
    unmissed = []
    for *path, last in spots:

        def take_away(policies, path=path, last=last):
            node = policies
            for step in path:
                node = node[step]
            del node[last]

        if exit_of(checked(overlay, take_away)) == 0:
            unmissed.append((whole[(*path, last)[0]]["metadata"]["name"], *path[1:], last))
    assert unmissed == []


@needs_kustomize
def test_policies_that_refuse_everything_fail():
    """A default-deny alone denies well, and lets nothing that must pass."""
    results = checked("region", lambda policies: policies.__delitem__(slice(1, None)))
    assert exit_of(results) == 1
    failed = [one for one in results if one.status is Status.failed]
    assert all(one.name.startswith("allow") for one in failed)
    assert all(one.object and one.field and one.remedy for one in failed)


@needs_kustomize
def test_a_pair_that_hangs_on_the_plugin_fails():
    """10.0.0.0/8 covers pods for some plugins and not for others: neither is relied on."""

    def widen(policies):
        [dns] = [one for one in policies if one["metadata"]["name"] == "egress-dns"]
        [rule] = dns["spec"]["egress"]
        rule["to"] = [{"ipBlock": {"cidr": "10.0.0.0/8"}}]

    failed = [one for one in checked("region", widen) if one.status is Status.failed]
    assert {one.name for one in failed} == {
        "allow workbench -> dns 53/UDP",
        "allow migration -> dns 53/TCP",
    }
    assert "where ipBlock covers pods" in failed[0].detail


TABLE = """
[endpoints.web]
namespace = "n"
labels = { app = "web" }

[endpoints.far]
ip = "1.2.3.4"

[[pairs]]
from = "web"
to = "far"
port = 443
expect = "deny"
why = "it has no business there"
"""


def written(folder, text):
    path = folder / "egress.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('"deny"', '"denied"', "denied"),
        ("port = 443", "port = 0", "port"),
        ("port = 443", 'port = "443"', "port"),
        ('to = "far"', 'to = "fat"', "fat"),
        ("labels", "label", "label"),
        ('ip = "1.2.3.4"', 'ip = "1.2.3"', "1.2.3"),
        ('ip = "1.2.3.4"', "", "far"),
        (TABLE, 'include = ["egress.toml"]' + TABLE, "includes itself"),
        ('namespace = "n"', 'workload = "Deployment n/web"', "Deployment n/web"),
        (TABLE, 'pods = "10.0.0.1/8"' + TABLE, "10.0.0.1"),
        (TABLE, 'pods = "10.0.0.1/32"' + TABLE, "no room for 2 endpoints"),
        (TABLE, TABLE.partition("[[pairs]]")[0], "no pairs"),
        ('why = "it has no business there"', "", "why"),
    ],
    ids=lambda text: text[:20],
)
def test_a_table_that_says_something_else_is_refused(tmp_path, old, new, told):
    """With what is wrong in it."""
    with pytest.raises(UnusableInput, match=told.replace(".", r"\.")):
        read_table(written(tmp_path, TABLE.replace(old, new)), [])


PROBED = """
control = "outsider"

[endpoints.outsider]
workload = "Deployment n/outsider"

[endpoints.web]
workload = "Deployment n/web"

[endpoints.dns]
namespace = "kube-system"
address = "dns.example"

[endpoints.far]
namespace = "far"
address = "far.example"

[[pairs]]
from = "web"
to = "far"
port = 443
expect = "deny"
why = "no business"

[[pairs]]
from = "web"
to = "dns"
port = 53
protocol = "UDP"
expect = "allow"
why = "names"
"""


def deployment(name):
    meta = {"name": name, "namespace": "n"}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": name}]}}
    spec = {"template": template}
    whole = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}
    return Object(whole)


@pytest.mark.parametrize(
    ("outcomes", "code", "told"),
    [
        ({}, 0, "silent"),
        ({("n/web", "far.example"): Outcome.open}, 1, "open"),
        ({("n/web", "far.example"): Outcome.refused}, 1, "refused"),  # it answered: a leak
        ({("n/web", "far.example"): Outcome.unreachable}, 0, "unreachable"),
        ({("n/web", "far.example"): Outcome.unresolved}, 3, "cannot resolve"),  # nothing was tried
        ({("n/outsider", "far.example"): Outcome.silent}, 3, "positive control"),
        ({("n/outsider", "far.example"): Outcome.failed}, 3, "positive control"),
        ({("n/web", "far.example"): Outcome.failed}, 3, "could not be tried"),
        ({("n/web", "dns.example"): Outcome.silent}, 1, "silent"),
        ({("n/web", "dns.example"): Outcome.failed}, 3, "could not be tried"),
    ],
    ids=str,
)
def test_what_was_tried_counts_as_it_should(tmp_path, outcomes, code, told):
    """Positive controls first; a refused connection reached the target, and is a leak."""
    path = written(tmp_path, PROBED)
    assert namespaces_of(path) == {"n"}
    table = read_table(path, pods_of([deployment("web"), deployment("outsider")]))
    usual = {
        ("n/web", "far.example"): Outcome.silent,
        ("n/outsider", "far.example"): Outcome.open,
        ("n/web", "dns.example"): Outcome.open,
    }
    asked = []

    def tried(workload, address, _pair):
        who = (workload.partition(" ")[2], address)
        asked.append(who)
        outcome = {**usual, **outcomes}[who]
        return outcome, str(outcome)

    results = list(probe(table, tried))
    assert exit_of(results) == code, results
    assert any(told in one.detail for one in results)
    assert asked[0] == ("n/web", "dns.example")
    if code != 3:
        assert asked[1:] == [("n/outsider", "far.example"), ("n/web", "far.example")]


def test_a_table_without_a_control_can_deny_nothing(tmp_path):
    """What nobody could reach may not be there at all."""
    path = written(tmp_path, PROBED.replace('control = "outsider"', ""))
    table = read_table(path, pods_of([deployment("web"), deployment("outsider")]))
    results = list(probe(table, lambda *_: (Outcome.open, "open")))
    assert exit_of(results) == 3


def test_a_workload_and_itself_are_two_of_its_pods(tmp_path):
    """No policy stops a pod from reaching itself, and that is not what is asked."""
    text = PROBED.replace('to = "far"', 'to = "web"').partition(
        '[[pairs]]\nfrom = "web"\nto = "dns"'
    )
    shut = Object(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "shut", "namespace": "n"},
            "spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]},
        }
    )
    pods = pods_of([deployment("web"), deployment("outsider")])
    for expect, status in (("deny", Status.passed), ("allow", Status.failed)):
        table = read_table(written(tmp_path, text[0].replace('"deny"', f'"{expect}"')), pods)
        told = next(check_egress([shut], pods, table))
        assert told.status is status, told


def test_a_real_connection_is_told_from_a_refused_one(tmp_path, monkeypatch):
    """The code that runs in the pod, in a pod that is this machine."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n')
    kubectl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{Path(os.sys.executable).parent}:{os.environ['PATH']}")
    import socket

    from mc_ops.preflight.kubernetes.egress_table import Pair

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        pair = Pair.model_validate(
            {"from": "a", "to": "b", "port": port, "expect": "allow", "why": "w"}
        )
        assert connect("Deployment n/web", "127.0.0.1", pair)[0] is Outcome.open
        # ::1 refuses and comes first: an address that is shut must not hide another that is open
        assert connect("Deployment n/web", "localhost", pair)[0] is Outcome.open
    assert connect("Deployment n/web", "127.0.0.1", pair)[0] is Outcome.refused
    assert connect("Deployment n/web", "no.such.invalid", pair)[0] is Outcome.unresolved
    kubectl.write_text("#!/bin/sh\necho forbidden >&2\nexit 1\n")
    assert connect("Deployment n/web", "127.0.0.1", pair) == (Outcome.failed, "forbidden")
    assert subprocess.run([kubectl], check=False, capture_output=True).returncode == 1
