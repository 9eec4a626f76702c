"""Whether NetworkPolicies let what the table allows, and nothing that it denies.

What must pass is looked at first: policies that refuse everything deny well. A pair must come out the
same whether the network plugin takes `ipBlock` to cover addresses of pods or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mc_contract.numbers import counted
from mc_ops.preflight.kubernetes.egress_table import Pair, Table
from mc_ops.preflight.kubernetes.findings import Finding, results
from mc_ops.preflight.kubernetes.manifests import Object
from mc_ops.preflight.kubernetes.policies import GROUP, Endpoint, evaluate, selects
from mc_ops.preflight.kubernetes.workloads import Pod
from mc_ops.preflight.result import CheckResult, unknown

_DIRECTIONS = ("Ingress", "Egress")


def check_egress(
    policies: Sequence[Object], pods: Sequence[Pod], table: Table
) -> Iterator[CheckResult]:
    """Every pair of the table, then what no pair can show.

    Args:
        policies: Kubernetes' own are evaluated; of those of another API it is said that they are not.

    Raises:
        UnusableInput: a policy says what the API would refuse.
    """
    others = [one for one in policies if (one.kind, one.group) != ("NetworkPolicy", GROUP)]
    policies = [one for one in policies if one not in others]
    for pair in sorted(table.pairs, key=lambda pair: pair.expect != "allow"):
        told = "passes" if pair.expect == "allow" else "is refused"
        good = f"{pair} {told}: {pair.why}"
        yield from results(f"{pair.expect} {pair}", _pair(policies, table, pair), good)
    sources = {pair.source for pair in table.pairs} & table.workloads.keys()
    spaces = {table.endpoints[name].namespace for name in sources}
    ours = [pod for pod in pods if pod.owner.namespace in spaces]
    good = f"isolated in both directions: {counted(len(ours), 'workload')}"
    yield from results("isolated", _open_pods(policies, ours), good)
    good = f"each of {len(policies)} policies selects somebody"
    yield from results("policy-selects", _idle(policies, pods, table), good)
    for one in others:
        why = f"{one} of {one.group} is not evaluated: it may let or refuse whom the table names"
        remedy = "try the pairs on a cluster (--env kubernetes), or say it in a NetworkPolicy"
        yield unknown("policy-kinds", why, remedy)


def _pair(policies: Sequence[Object], table: Table, pair: Pair) -> Iterator[Finding]:
    source, target = table.endpoints[pair.source], table.endpoints[pair.target]
    if source == target:  # a workload has several pods: the question is of one of them and another
        target = replace(target, name=f"another {target.name}")
    verdicts = [
        evaluate(policies, source, target, pair.at, blocks_cover_pods=cover)
        for cover in (False, True)
    ]
    wanted = pair.expect == "allow"
    wrong = next((one for one in verdicts if one.allowed is not wanted), None)
    if wrong is None:
        return
    where = f"NetworkPolicies of {source.namespace or target.namespace}"
    plugin = " where ipBlock covers pods" if verdicts[0].allowed != verdicts[1].allowed else ""
    if wanted:
        field = "; ".join(wrong.refused_by)
        fix = f"add a rule for {target.name} on {pair.port}/{pair.protocol}, or change the table"
        yield Finding(where, field, f"{pair} is refused{plugin}, must pass: {pair.why}", fix)
    else:
        field = "; ".join(wrong.passed_by)
        fix = "narrow the rule that lets it, or change the table"
        yield Finding(where, field, f"{pair} passes{plugin}, must be refused: {pair.why}", fix)


def _open_pods(policies: Sequence[Object], pods: Sequence[Pod]) -> Iterator[Finding]:
    for pod in pods:
        if pod.spec.get("hostNetwork") not in (None, False):
            why = "it is in its node's network, where no NetworkPolicy isolates it"
            yield Finding(str(pod.owner), f"{pod.path}.hostNetwork", why, "leave it out")
        as_endpoint = Endpoint("", pod.owner.namespace, pod.labels)
        for direction in _DIRECTIONS:
            if not any(selects(policy, as_endpoint, direction) for policy in policies):
                why = f"no NetworkPolicy isolates it for {direction}: it is open"
                fix = f"a policy with podSelector {{}} and policyTypes [{', '.join(_DIRECTIONS)}]"
                yield Finding(str(pod.owner), direction.lower(), why, fix)


def _idle(policies: Sequence[Object], pods: Sequence[Pod], table: Table) -> Iterator[Finding]:
    known = [Endpoint("", pod.owner.namespace, pod.labels) for pod in pods]
    known += table.endpoints.values()
    for policy in policies:
        if not any(selects(policy, one, way) for one in known for way in _DIRECTIONS):
            why = "selects no workload and no endpoint of the table: a label is misspelt"
            fix = "mend the labels, or name in the table whom it is for"
            yield Finding(str(policy), "spec.podSelector", why, fix)
