"""The table tried on a cluster: connections that pods really make.

A denied target must first be reachable from a pod that no policy isolates, else its silence shows
nothing. `refused` is an answer of the target's, so it counts as a leak: only silence is a denial.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import StrEnum

from mc_ops.errors import CouldNotTell
from mc_ops.preflight.kubernetes.cluster import kubectl
from mc_ops.preflight.kubernetes.egress_table import Pair, Table
from mc_ops.preflight.result import CheckResult, Status, unknown

TIMEOUT_S = 4
_OBJECTS = {
    "Deployment": "deploy",
    "StatefulSet": "sts",
    "DaemonSet": "ds",
    "Pod": "pod",
    "Job": "job",
}
# Each address of a name is tried, and the most open answer counts. UDP says nothing by itself: a question of DNS is asked, which has an answer
_CODE = """
import socket, sys
host, port, protocol, timeout = sys.argv[1], int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
try:
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[:4]
except OSError:
    print("unresolved"); sys.exit()
kind = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}[protocol]
said = []
for address in addresses:
    with socket.socket(address[0], kind) as probe:
        probe.settimeout(timeout)
        try:
            probe.connect(address[4])
            if protocol == "UDP":
                probe.send(bytes.fromhex("123401000001000000000000000002") + b"\\0\\1")
                probe.recv(512)
            said.append("open")
        except TimeoutError:
            said.append("silent")
        except ConnectionRefusedError:
            said.append("refused")
        except OSError as error:
            said.append(f"unreachable {error.errno}")
print(min(said, key=lambda one: ["open", "refused", "silent", "unreachable"].index(one.split()[0])))
"""


class Outcome(StrEnum):
    """What became of a connection."""

    open = "open"
    refused = "refused"
    silent = "silent"
    unreachable = "unreachable"
    unresolved = "unresolved"
    failed = "failed"


Try = Callable[[str, str, Pair], tuple[Outcome, str]]
"""Connect from a workload to an address as a pair says; what became of it, and what was said."""


def connect(workload: str, address: str, pair: Pair) -> tuple[Outcome, str]:
    """Connect from a pod of a workload, by `kubectl exec` and the Python that is in the image."""
    kind, _, place = workload.partition(" ")
    namespace, _, name = place.partition("/")
    target = f"{_OBJECTS.get(kind, kind.lower())}/{name}"
    where = ("-n", namespace, "--pod-running-timeout=5s", target)
    what = ("python", "-c", _CODE, address, str(pair.port), pair.protocol, str(TIMEOUT_S))
    try:
        answer = kubectl("exec", *where, "--", *what, timeout_s=TIMEOUT_S + 30)
    except CouldNotTell as error:
        return Outcome.failed, error.message
    word = answer.out.split()[:1]
    if answer.code or not word or word[0] not in set(Outcome):
        return Outcome.failed, answer.said
    return Outcome(word[0]), answer.out.strip()


def probe(table: Table, tried: Try = connect) -> Iterator[CheckResult]:
    """Try each pair whose source is a workload and whose target has an address."""
    for pair in sorted(table.pairs, key=lambda pair: pair.expect != "allow"):
        workload, address = table.workloads.get(pair.source), table.addresses[pair.target]
        name = f"probe {pair.expect} {pair}"
        if workload and address and pair.protocol != "SCTP":
            yield (_allowed if pair.expect == "allow" else _denied)(
                name, workload, address, pair, table, tried
            )


def _allowed(
    name: str, workload: str, address: str, pair: Pair, _table: Table, tried: Try
) -> CheckResult:
    outcome, said = tried(workload, address, pair)
    if outcome is Outcome.failed:
        return unknown(name, f"could not be tried from {workload}: {said}")
    if outcome in (Outcome.open, Outcome.refused) and pair.protocol == "TCP":
        word = "open" if outcome is Outcome.open else "refused by the target itself"
        status = Status.passed if outcome is Outcome.open else Status.failed
        remedy = "" if status is Status.passed else "nothing listens there"
        detail = f"{workload} -> {address}:{pair.port} is {word}: {pair.why}"
        return CheckResult(name, status, detail, remedy, object=workload, field=address)
    status = Status.passed if outcome is Outcome.open else Status.failed
    detail = f"{workload} -> {address}:{pair.port} is {said}: {pair.why}"
    remedy = "" if status is Status.passed else "look at the egress policies and the address"
    return CheckResult(name, status, detail, remedy, object=workload, field=address)


def _denied(
    name: str, workload: str, address: str, pair: Pair, table: Table, tried: Try
) -> CheckResult:
    control = table.workloads.get(table.control or "")
    if control is None:
        why = "the table names no `control`, a workload that no policy isolates"
        return unknown(name, why, "without it, that the target is silent shows nothing")
    outcome, said = tried(control, address, pair)
    if outcome is not Outcome.open:
        why = f"positive control: {control} -> {address}:{pair.port} is {said}"
        return unknown(name, why, "start the target: only what can be reached can be denied")
    outcome, said = tried(workload, address, pair)
    if outcome is Outcome.failed:
        return unknown(name, f"could not be tried from {workload}: {said}")
    if outcome is Outcome.unresolved:
        why = f"{workload} cannot resolve {address}: nothing was sent that could be refused"
        return unknown(name, why, "let it reach DNS, or give an address in the table")
    leaks = outcome in (Outcome.open, Outcome.refused)
    detail = f"{workload} -> {address}:{pair.port} is {said}; {pair.why}"
    remedy = "the packet reached the target: is a plugin there that enforces NetworkPolicies?"
    status = Status.failed if leaks else Status.passed
    return CheckResult(
        name, status, detail, remedy if leaks else "", object=workload, field=address
    )
