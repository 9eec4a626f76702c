"""Whether the SIEM can be reached, trusted, spoken to, and opened with our key: in this order.

Each probe stands on the one before it, and stops the rest when it fails: without TLS no key is
sent. Nothing is delivered: the authenticated request holds no event. The service's own sinks do
the same over the same URLs (docs/reference/siem.md); these probes are apart from them on purpose, for a
defect of a sink must not hide itself.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import httpx
from cryptography import x509

from mc_contract.numbers import counted
from mc_contract.siem import (
    DEFAULT_INDEX,
    HEC_ACK_PATH,
    HEC_EVENT_PATH,
    SYSLOG_PORT,
    SYSLOG_TLS,
    SiemFormat,
    bulk_url,
    collector_url,
    target_problems,
)
from mc_ops.incidents.finding import Finding, Status
from mc_ops.outgoing.clients import open_client

TIMEOUT_S = 10.0
_SOON_DAYS = 14
_HEC_ACK_DISABLED = 14
_CHANNEL = "6d635f70-6c61-4466-8f72-6d2d70726f62"  # HEC wants a channel named; any GUID does
_SCHEMES = {
    SiemFormat.ocsf: "Bearer",
    SiemFormat.splunk_hec: "Splunk",
    SiemFormat.elastic: "ApiKey",
}


@dataclass(frozen=True, slots=True)
class SiemTarget:
    """Where events should go, as the service is told by its `AUDIT_SIEM_*` settings."""

    url: str
    key: str = ""
    siem_format: SiemFormat = SiemFormat.ocsf
    index: str = DEFAULT_INDEX
    ca_file: Path | None = None
    insecure: bool = False
    hec_ack_required: bool = True

    def __repr__(self) -> str:
        """Without the key: this may end up in a traceback."""
        return f"SiemTarget({self.siem_format}, key {'set' if self.key else 'not set'})"

    @property
    def secured(self) -> bool:
        """Whether it is spoken to over TLS."""
        return urlsplit(self.url).scheme in ("https", SYSLOG_TLS)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.url)
        defaults = {"https": 443, "http": 80}
        return parts.hostname or "", parts.port or defaults.get(parts.scheme, SYSLOG_PORT)

    @property
    def event_url(self) -> str:
        """Where a batch is posted."""
        if self.siem_format is SiemFormat.splunk_hec:
            return collector_url(self.url, HEC_EVENT_PATH)
        if self.siem_format is SiemFormat.elastic:
            return bulk_url(self.url, self.index)
        return self.url


Send = Callable[[SiemTarget, str, str, Mapping[str, str], bytes], httpx.Response]
"""Makes a request: of the target, method, URL, headers, content."""
Probe = Callable[[SiemTarget], Finding]


class Through(Protocol):
    """Where the requests are made, if that is not here: the SIEM may be within a cluster's reach alone."""

    def reached(self, target: SiemTarget) -> Finding:
        """Whether it can be connected to from there, its certificate verified."""

    def send(
        self, target: SiemTarget, method: str, url: str, headers: Mapping[str, str], content: bytes
    ) -> httpx.Response:
        """One request; its body is not read.

        Raises:
            httpx.HTTPError: There is no answer.
        """


def probe_siem(target: SiemTarget, through: Through | None = None) -> Iterator[Finding]:
    """Look at each layer, lowest first; ends after the first that does not work."""
    send = through.send if through else _send
    here: list[Probe] = [_resolved, _connected, _trusted]
    reached = [through.reached] if through else here
    probes: list[Probe] = [
        _configured,
        *reached,
        partial(_answers, send),
        partial(_authenticated, send),
    ]
    if target.siem_format is SiemFormat.splunk_hec and target.hec_ack_required:
        probes.append(partial(_acknowledges, send))
    for probe in probes:
        finding = probe(target)
        yield finding
        if finding.status in (Status.failed, Status.unknown):
            return


def _configured(target: SiemTarget) -> Finding:
    problems = target_problems(
        target.url,
        siem_format=target.siem_format,
        has_key=bool(target.key),
        insecure=target.insecure,
    )
    if problems:
        return Finding("settings", Status.failed, "; ".join(problems), "docs/reference/settings.md")
    key = f"key {'set' if target.key else 'not set'}" if target.siem_format.needs_key else "no key"
    host, port = target.address
    return Finding("settings", Status.ok, f"format {target.siem_format} to {host}:{port}, {key}")


def _resolved(target: SiemTarget) -> Finding:
    host, port = target.address
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return Finding(
            "dns",
            Status.failed,
            f"{host} does not resolve: {error.strerror or error}",
            "check the host of AUDIT_SIEM_URL, and this machine's resolver",
        )
    addresses = sorted({str(entry[4][0]) for entry in found})
    return Finding("dns", Status.ok, f"{host} is {', '.join(addresses)}")


def _connected(target: SiemTarget) -> Finding:
    host, port = target.address
    began = time.monotonic()
    try:
        socket.create_connection((host, port), timeout=TIMEOUT_S).close()
    except OSError as error:
        return Finding(
            "tcp",
            Status.failed,
            f"{host}:{port} is not reachable: {_reason(error)}",
            "is the SIEM up? does a firewall or an egress policy stand between?",
        )
    took_ms = (time.monotonic() - began) * 1000
    return Finding("tcp", Status.ok, f"connected to {host}:{port} in {took_ms:.0f} ms")


def _trusted(target: SiemTarget) -> Finding:
    if not target.secured:
        return Finding("tls", Status.skipped, "the URL is not one of TLS")
    try:
        with _handshake(target, _verifying(target)) as tls:
            version = tls.version()
            certificate = tls.getpeercert(binary_form=True)
    except ssl.SSLCertVerificationError as error:
        seen = _unverified(target)
        return Finding(
            "tls",
            Status.failed,
            f"the certificate is refused: {error.verify_message}" + (f"; {seen}" if seen else ""),
            "renew it, or name the CA that signed it in AUDIT_SIEM_CA_FILE",
        )
    except (OSError, ValueError) as error:
        return Finding("tls", Status.failed, f"no TLS: {_reason(error)}", "is it a TLS port?")
    if certificate is None:
        return Finding("tls", Status.unknown, "no certificate was shown")
    days, told = _expiry(certificate)
    detail = f"{version}, chain and host name verified, {told}"
    if days < _SOON_DAYS:
        return Finding("tls", Status.warning, detail, "have the certificate renewed")
    return Finding("tls", Status.ok, detail)


def _verifying(target: SiemTarget) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(target.ca_file) if target.ca_file else None)


@contextlib.contextmanager
def _handshake(target: SiemTarget, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(target.address, timeout=TIMEOUT_S) as plain,
        context.wrap_socket(plain, server_hostname=target.address[0]) as tls,
    ):
        yield tls


def _unverified(target: SiemTarget) -> str:
    """What the refused certificate says of its dates; nothing but the handshake is sent to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with _handshake(target, context) as tls:
            certificate = tls.getpeercert(binary_form=True)
    except OSError:
        return ""
    return _expiry(certificate)[1] if certificate else ""


def _expiry(certificate: bytes) -> tuple[int, str]:
    ends_at = x509.load_der_x509_certificate(certificate).not_valid_after_utc
    days = (ends_at - datetime.now(UTC)).days
    if days < 0:
        return days, f"it expired {counted(-days, 'day')} ago"
    return days, f"it expires in {counted(days, 'day')}"


def _answers(send: Send, target: SiemTarget) -> Finding:
    """An empty request without a key: a SIEM that works refuses it."""
    if not target.siem_format.needs_key:
        return Finding("http", Status.skipped, "syslog has no answers")
    try:
        answer = _ask(send, target, "POST", target.event_url, authenticated=False)
    except httpx.HTTPError as error:
        return Finding("http", Status.failed, f"no answer: {type(error).__name__}", _LOOK_AT_SIEM)
    return _sick(answer, "http") or _strangers(answer)


_LOOK_AT_SIEM = "look at the SIEM itself; the service repeats by itself until it answers"


def _strangers(answer: httpx.Response) -> Finding:
    told = f"HTTP {answer.status_code} without a key"
    if answer.is_success:
        return Finding("http", Status.warning, f"{told}: anybody can write events", "demand a key")
    return Finding("http", Status.ok, f"{told}, in {answer.elapsed.total_seconds() * 1000:.0f} ms")


def _sick(answer: httpx.Response, step: str) -> Finding | None:
    """What an answer says that is about no key at all; None if it is not of that sort."""
    status = answer.status_code
    told = f"HTTP {status}"
    if answer.is_redirect:
        return Finding(
            step, Status.failed, f"{told}: redirects are not followed", "set the final URL"
        )
    if status in (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED):
        return Finding(step, Status.failed, f"{told}: no such path", "check AUDIT_SIEM_URL's path")
    if status == httpx.codes.TOO_MANY_REQUESTS or answer.is_server_error:
        asked = answer.headers.get("Retry-After", "")
        later = f", asks to wait {asked[:40]}" if asked else ""
        return Finding(step, Status.failed, f"{told}: the SIEM takes nothing{later}", _LOOK_AT_SIEM)
    return None


def _authenticated(send: Send, target: SiemTarget) -> Finding:
    """A request with the key and without an event."""
    if not target.siem_format.needs_key:
        return Finding("authentication", Status.skipped, "syslog is not shown a key")
    method, url = "POST", target.event_url
    if target.siem_format is SiemFormat.elastic:
        server = target.event_url.partition("?")[0].removesuffix(f"/{target.index}/_bulk")
        method, url = "GET", f"{server}/_security/_authenticate"
    try:
        answer = _ask(send, target, method, url, authenticated=True)
    except httpx.HTTPError as error:
        return Finding("authentication", Status.unknown, f"no answer: {type(error).__name__}")
    status = answer.status_code
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return Finding(
            "authentication",
            Status.failed,
            f"HTTP {status}: the key is not accepted",
            "have a new key made, set AUDIT_SIEM_KEY, restart the replicas",
        )
    return _sick(answer, "authentication") or Finding(
        "authentication", Status.ok, f"the key is accepted (HTTP {status})"
    )


def _acknowledges(send: Send, target: SiemTarget) -> Finding:
    step = "acknowledgement"
    try:
        answer = _ask(
            send,
            target,
            "POST",
            collector_url(target.url, HEC_ACK_PATH),
            authenticated=True,
            content=b'{"acks":[0]}',
        )
        code = answer.json().get("code")
    except (httpx.HTTPError, ValueError, AttributeError) as error:
        return Finding(step, Status.unknown, f"no usable answer: {type(error).__name__}")
    if code == _HEC_ACK_DISABLED:
        return Finding(
            step,
            Status.failed,
            "the token does not acknowledge, and AUDIT_SIEM_HEC_ACK requires it",
            "enable indexer acknowledgement for the token, or set AUDIT_SIEM_HEC_ACK=off",
        )
    if not answer.is_success:
        return Finding(step, Status.unknown, f"HTTP {answer.status_code}")
    return Finding(step, Status.ok, "the indexers acknowledge")


def _ask(
    send: Send,
    target: SiemTarget,
    method: str,
    url: str,
    *,
    authenticated: bool,
    content: bytes = b"",
) -> httpx.Response:
    headers = {"Content-Type": "application/x-ndjson"}
    if target.siem_format is SiemFormat.splunk_hec:
        headers["X-Splunk-Request-Channel"] = _CHANNEL
    if authenticated:
        headers["Authorization"] = f"{_SCHEMES[target.siem_format]} {target.key}"
    return send(target, method, url, headers, content)


def _send(
    target: SiemTarget, method: str, url: str, headers: Mapping[str, str], content: bytes
) -> httpx.Response:
    verify = _verifying(target) if target.secured else None
    with open_client(timeout_s=TIMEOUT_S, verify=verify) as client:
        return client.request(method, url, headers=headers, content=content)


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or type(error).__name__)
