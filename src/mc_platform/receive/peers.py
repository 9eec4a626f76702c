"""Who is at the other end: the client's address behind trusted proxies, and whether it is local.

A proxy adds a forwarding header, so a peer on the loopback interface proves nothing by itself: the
edge of a laptop and the side-car of a pod are such peers, and forward for anyone. Local is who
connects over loopback, asks for a loopback host name, and was forwarded by nobody, or by a trusted
proxy that names one loopback address and nothing else (the local edge, for a client of this machine).
Anyone can say that it was forwarded, and so only lose.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

Network = IPv4Network | IPv6Network
_FORWARDED_FOR = b"x-forwarded-for"
_HARMLESS = frozenset({b"x-forwarded-proto", _FORWARDED_FOR})
_UNKNOWN = "unknown"


class Peers:
    """Tells of a request where it comes from.

    Args:
        trusted: Proxies whose `X-Forwarded-For` is believed.
        loopback_is_local: False where whoever connects over loopback is no client of this machine,
            but a proxy that forwards for strangers.
    """

    def __init__(
        self, trusted: tuple[Network, ...] = (), *, loopback_is_local: bool = True
    ) -> None:
        self._trusted = trusted
        self._loopback_is_local = loopback_is_local

    def trusts(self, address: str) -> bool:
        """Whether it is a trusted proxy's."""
        found = _address(address)
        return found is not None and any(found in network for network in self._trusted)

    def client(self, scope: Scope) -> str:
        """The client's address, as `share_of` has it: the last one whose word is not believed."""
        peer = _peer(scope)
        for hop in reversed([*_hops(scope), peer]):
            if not self.trusts(hop) or (self._loopback_is_local and _is_loopback(hop)):
                # A word that is no address is a trusted proxy's own: never the caller's text
                return share_of(hop) if _address(hop) else _UNKNOWN
        return share_of(peer)

    def local(self, scope: Scope) -> bool:
        """Whether it was sent from this machine (in a cluster: from within this pod)."""
        peer = _peer(scope)
        if not self._loopback_is_local or not _is_loopback(peer) or not _asks_for_loopback(scope):
            return False
        names = {name for name, _ in scope["headers"]}
        if any(_tells_of_a_proxy(name) for name in names):
            return False
        if names.isdisjoint(_HARMLESS):
            return True
        hops = _hops(scope)
        return self.trusts(peer) and len(hops) == 1 and _is_loopback(hops[0])


def share_of(address: str) -> str:
    """What limits go by: of IPv6 the network, since one machine has 2^64 addresses of it."""
    found = _address(address)
    if isinstance(found, IPv6Address) and not found.is_loopback:
        return str(ip_network((found, 64), strict=False))
    return str(found or address)


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else _UNKNOWN


def _hops(scope: Scope) -> list[str]:
    values = [value for name, value in scope["headers"] if name == _FORWARDED_FOR]
    return [hop.strip() for value in values for hop in value.decode("latin-1").split(",")]


def _tells_of_a_proxy(name: bytes) -> bool:
    if name in _HARMLESS:
        return False
    return name in (b"forwarded", b"via", b"x-real-ip", b"true-client-ip") or name.startswith(
        (b"x-forwarded-", b"x-envoy-", b"cf-")
    )


def _asks_for_loopback(scope: Scope) -> bool:
    """Keeps out pages whose name was made to mean this machine (DNS rebinding)."""
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1:
        return False
    host = hosts[0].decode("latin-1").lower()
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name == "localhost" or _is_loopback(name)


def _is_loopback(text: str) -> bool:
    found = _address(text)
    return found is not None and found.is_loopback


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text.partition("%")[0])  # the rest names an interface, in free words
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
