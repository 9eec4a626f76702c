"""Where a request comes from: nobody becomes local, or another client, by what it sends."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from mc_platform.receive.peers import Peers

EDGE = (ip_network("127.0.0.1"),)
INGRESS = (ip_network("10.0.0.0/8"),)


def _scope(peer, host="localhost:8080", **headers):
    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"client": (peer, "5"), "headers": [(b"host", host.encode()), *sent]}


@pytest.mark.parametrize(
    ("trusted", "peer", "headers", "local"),
    [
        ((), "127.0.0.1", {}, True),
        ((), "::1", {"host": "[::1]:8080"}, True),
        ((), "::ffff:127.0.0.1", {"host": "127.0.0.1:8080"}, True),
        ((), "10.0.0.7", {}, False),
        ((), "127.0.0.1", {"host": "rebound.example.com"}, False),
        ((), "127.0.0.1", {"x_forwarded_for": "127.0.0.1"}, False),
        (EDGE, "127.0.0.1", {"x_forwarded_for": "127.0.0.1", "x_forwarded_proto": "http"}, True),
        (EDGE, "127.0.0.1", {"x_forwarded_for": "unknown, 127.0.0.1"}, False),
        (EDGE, "127.0.0.1", {"x_forwarded_for": "203.0.113.7"}, False),
        (EDGE, "127.0.0.1", {"x_forwarded_for": "127.0.0.1", "forwarded": "for=x"}, False),
        (EDGE, "127.0.0.1", {"x_envoy_attempt_count": "1"}, False),
        (EDGE, "127.0.0.1", {"x_forwarded_client_cert": "x"}, False),
        (EDGE, "127.0.0.1", {"x_forwarded_proto": "http"}, False),
        (INGRESS, "10.0.0.7", {"x_forwarded_for": "127.0.0.1"}, False),
        (INGRESS, "127.0.0.1", {"x_forwarded_for": "127.0.0.1"}, False),
    ],
)
def test_local_is_who_connects_from_here_and_was_forwarded_by_nobody(trusted, peer, headers, local):
    """A loopback peer may be a proxy; a trusted one names its own clients only."""
    assert Peers(trusted).local(_scope(peer, **headers)) is local
    assert not Peers(trusted, loopback_is_local=False).local(_scope(peer, **headers))


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "client"),
    [
        ((), "198.51.100.1", None, "198.51.100.1"),
        ((), "198.51.100.1", "203.0.113.7", "198.51.100.1"),
        (INGRESS, "10.0.0.7", "203.0.113.7", "203.0.113.7"),
        (INGRESS, "10.0.0.7", "6.6.6.6, 203.0.113.7", "203.0.113.7"),
        (INGRESS, "10.0.0.7", "203.0.113.7, 10.1.1.1", "203.0.113.7"),
        (INGRESS, "10.0.0.7", "6.6.6.6, rubbish", "unknown"),
        (INGRESS, "10.0.0.7", None, "10.0.0.7"),
        (EDGE, "127.0.0.1", "unknown, 127.0.0.1", "127.0.0.1"),
        (EDGE, "127.0.0.1", "203.0.113.7", "127.0.0.1"),
        (EDGE, "::ffff:127.0.0.1", "203.0.113.7", "127.0.0.1"),
        (EDGE, "127.0.0.1", "127.0.0.1", "127.0.0.1"),
        (INGRESS, "10.0.0.7", "2001:db8:1:2::9%25eth0", "2001:db8:1:2::/64"),
        (INGRESS, "10.0.0.7", "::1%whatever", "::1"),
        (INGRESS, "10.0.0.7", "[2001:db8::1]:443", "unknown"),
        ((), "2001:db8:1:2:3::4", None, "2001:db8:1:2::/64"),
        ((), "::ffff:198.51.100.1", None, "198.51.100.1"),
        ((), "::1", None, "::1"),
    ],
)
def test_the_client_is_the_last_whom_no_trusted_proxy_is(trusted, peer, forwarded, client):
    """What a client writes into the header stands before what proxies add, and counts for nothing."""
    headers = {} if forwarded is None else {"x_forwarded_for": forwarded}
    assert Peers(trusted).client(_scope(peer, **headers)) == client


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("6.6.6.6, 203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 127.0.0.1", "203.0.113.7"),
        ("203.0.113.7, unknown", "unknown"),
    ],
)
def test_a_proxy_on_the_same_address_names_its_clients_where_there_are_no_others(forwarded, client):
    """Beside a side-car nobody else connects over loopback, and so its word is its own."""
    peers = Peers(EDGE, loopback_is_local=False)
    assert peers.client(_scope("127.0.0.1", x_forwarded_for=forwarded)) == client
