"""The other regions over HTTP, as `MC_PEERS_FILE` names them; implements `receive.pass_on.PeerRegions`.

    {"peers": [{"region": "eu-2", "url": "https://eu-2.example.com", "ca_file": "/etc/mc/eu-2.pem"}]}

No credential of its own stands there: what is passed on bears its caller's.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, StringConstraints, model_validator

from mc_contract.configuration import FileProblems, Form, Several, Strict, check, json_of
from mc_platform.adapters.http import Lanes, Sink
from mc_platform.errors import Misconfigured

_MOST_ANSWER_BYTES = 16 * 1_048_576
_MOST_FILE_BYTES = 65_536


def _base_url(value: str) -> str:
    parts = urlsplit(value)
    host = parts.hostname or ""
    if parts.scheme not in ("https", "http") or not host or parts.username or parts.query:
        raise ValueError("must be https://HOST[:PORT], without a credential or a query")
    if parts.path.strip("/") or parts.fragment:
        raise ValueError("must be https://HOST[:PORT] without a path")
    if parts.scheme == "http" and not _is_here(host):
        raise ValueError("must be https: callers' credentials travel on it")
    return value.rstrip("/")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _Peer(Strict):
    region: Annotated[
        str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,30}$"), Form("a region's name")
    ]
    url: Annotated[str, AfterValidator(_base_url), Form("an https URL")]
    ca_file: str | None = None


class _Peers(Strict):
    peers: Several[_Peer]

    @model_validator(mode="after")
    def _named_once(self) -> _Peers:
        names = [peer.region for peer in self.peers]
        if len(set(names)) < len(names):
            raise ValueError("a region stands twice in peers")
        return self


class HttpPeerRegions:
    """Connections to the other regions, apart for each tenant.

    Args:
        path: The file of `MC_PEERS_FILE`; None: there is no peer.
        region: This region, which is no peer of its own.
        timeout_s: Within which an answer must be whole.

    Raises:
        Misconfigured: the file, or a certificate that it names, cannot be used.
    """

    def __init__(self, path: Path | None, *, region: str, timeout_s: float) -> None:
        peers = () if path is None else _read(path).peers
        if region in {peer.region for peer in peers}:
            raise Misconfigured(
                f"MC_PEERS_FILE names {region!r}, which MC_REGION says is this region",
                hint="name the other regions alone",
            )
        self._timeout_s = timeout_s
        self._urls = {peer.region: peer.url for peer in peers}
        self._lanes = {peer.region: Lanes(tls=_trusted(peer)) for peer in peers}
        self.names = frozenset(self._urls)

    async def ask(
        self,
        region: str,
        tenant: str,
        method: str,
        target: str,
        *,
        body: bytes | None,
        headers: Mapping[str, str],
        taker: Sink,
    ) -> None:
        await (
            self._lanes[region]
            .of(tenant)
            .exchange(
                method,
                f"{self._urls[region]}{target}",
                timeout_s=self._timeout_s,
                most_bytes=_MOST_ANSWER_BYTES,
                body=body,
                headers=headers,
                sink=taker,
            )
        )

    async def close(self) -> None:
        """Close the connections."""
        for lanes in self._lanes.values():
            await lanes.close()


def _read(path: Path) -> _Peers:
    try:
        with path.open("rb") as file:
            return check(_Peers, json_of(file.read(_MOST_FILE_BYTES + 1)))
    except OSError as error:
        raise Misconfigured(f"MC_PEERS_FILE {path} cannot be read: {error.strerror}") from error
    except FileProblems as error:
        raise Misconfigured(
            f"MC_PEERS_FILE {path}: {error}",
            hint='form: {"peers": [{"region": "eu-2", "url": "https://HOST"}]}',
        ) from error


def _trusted(peer: _Peer) -> ssl.SSLContext | None:
    if peer.ca_file is None:
        return None
    try:
        context = ssl.create_default_context(cafile=peer.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise Misconfigured(
            f"MC_PEERS_FILE: the ca_file of {peer.region} cannot be used: {type(error).__name__}"
        ) from error
    context.set_alpn_protocols(["http/1.1"])
    return context
