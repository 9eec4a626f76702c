"""Where the service connects to: only what its settings name, and on a laptop only loopback.

A snapshot of the connections held at one moment; a destination that is contacted later is not
seen. On a cluster NetworkPolicy enforces what this check only observes.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from mc_contract.numbers import counted
from mc_ops.errors import CouldNotTell
from mc_ops.preflight.processes import Running, environment_of, is_loopback, shown, sockets_of
from mc_ops.preflight.result import CheckResult, found, not_applicable, unknown

# The settings by which an operator may name a destination outside this machine.
DECLARED_BY = ("MC_DATABASE_URL", "AUDIT_SIEM_URL")


def check_egress(replicas: Sequence[Running]) -> list[CheckResult]:
    """Every check of this subject; `replicas` are the workbench's processes that live."""
    return [
        outbound_declared(replicas),
        not_applicable(
            "network-policy", "local has no NetworkPolicy: nothing is enforced, only observed"
        ),
    ]


def outbound_declared(replicas: Sequence[Running]) -> CheckResult:
    """Each established outbound connection goes to loopback or to a declared destination."""
    name = "egress-declared"
    if not replicas:
        return unknown(name, "no replica of the workbench runs", "mcctl up")
    problems, seen = [], 0
    try:
        for replica in replicas:
            allowed = declared(environment_of(replica))
            outbound = sockets_of(replica).outbound
            seen += len(outbound)
            stray = [
                address
                for address in outbound
                if not is_loopback(address[0]) and address[0] not in allowed
            ]
            if stray:
                problems.append(f"{replica.name} is connected to {shown(stray)}")
    except CouldNotTell as error:
        return unknown(name, error.message)
    if not seen:
        # A replica at work holds a connection to its database: seeing none means not seeing.
        return unknown(name, "no outbound connection was seen at all", "mcctl status")
    good = f"{counted(seen, 'destination')} of {counted(len(replicas), 'replica')} at this moment, all declared"
    return found(name, problems, good, "find out what it is; settings name what is allowed")


def declared(environment: Mapping[str, str]) -> frozenset[str]:
    """Addresses of the hosts that a replica's settings name; an unknown host gives none."""
    addresses: set[str] = set()
    for variable in DECLARED_BY:
        host = urlsplit(environment.get(variable, "")).hostname
        if host:
            try:
                addresses |= {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
            except OSError:
                continue
    return frozenset(addresses)
