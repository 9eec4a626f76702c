"""What the kernel says about the platform's processes: who they run as, where they listen, and
to whom they hold connections. Read by pid; no process is asked about itself.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

from mc_ops.errors import CouldNotTell

# A handshake that is under way, or is refused in silence, is an attempt to get out as well.
_OUTBOUND = {psutil.CONN_ESTABLISHED, psutil.CONN_SYN_SENT}


@dataclass(frozen=True, slots=True)
class Running:
    """A recorded process that lives; `pid` is its leader, children included in what is read."""

    name: str
    pid: int


@dataclass(frozen=True, slots=True)
class Sockets:
    """Addresses of one process and its children, as `(ip, port)`."""

    listening: frozenset[tuple[str, int]]
    outbound: frozenset[tuple[str, int]]


def sockets_of(process: Running) -> Sockets:
    """Read a process's TCP sockets and its bound UDP ones.

    Raises:
        CouldNotTell: The process is gone, or belongs to somebody else.
    """
    listening: set[tuple[str, int]] = set()
    connections = []
    for member in _family(process):
        try:
            connections += member.net_connections(kind="inet")
        except psutil.NoSuchProcess:
            continue  # a child that ended while we looked
        except psutil.AccessDenied as error:
            raise CouldNotTell(f"sockets of {process.name} may not be read") from error
    for connection in connections:
        bound_udp = connection.status == psutil.CONN_NONE and not connection.raddr
        if connection.laddr and (connection.status == psutil.CONN_LISTEN or bound_udp):
            listening.add((connection.laddr.ip, connection.laddr.port))
    ports = {port for _, port in listening}
    outbound = {
        (connection.raddr.ip, connection.raddr.port)
        for connection in connections
        if connection.raddr
        and (connection.status in _OUTBOUND or connection.status == psutil.CONN_NONE)
        and connection.laddr.port not in ports  # those were made by others, to us
    }
    return Sockets(frozenset(listening), frozenset(outbound))


def uids_of(process: Running) -> frozenset[int]:
    """Effective user ids of a process and its children.

    Raises:
        CouldNotTell: The process is gone.
    """
    found = set()
    for member in _family(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            found.add(member.uids().effective)
    return frozenset(found)


def environment_of(process: Running) -> dict[str, str]:
    """The environment that a process was started with.

    Raises:
        CouldNotTell: The process is gone, or belongs to somebody else.
    """
    try:
        return psutil.Process(process.pid).environ()
    except psutil.Error as error:
        raise CouldNotTell(f"environment of {process.name} may not be read") from error


def is_loopback(address: str) -> bool:
    """Whether an address never leaves this machine; 0.0.0.0 and :: are no loopback."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def shown(addresses: Iterable[tuple[str, int]]) -> str:
    """Addresses as text, sorted."""
    return ", ".join(f"{ip}:{port}" for ip, port in sorted(addresses))


def _family(process: Running) -> list[psutil.Process]:
    try:
        leader = psutil.Process(process.pid)
        return [leader, *leader.children(recursive=True)]
    except psutil.Error as error:
        raise CouldNotTell(f"process {process.name} (pid {process.pid}) is gone") from error
