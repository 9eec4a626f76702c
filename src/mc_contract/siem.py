"""What a SIEM's address means in each format: shared by the service that delivers and `mcctl`.

The key travels with every request, so by default it goes to another machine over TLS only.
"""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from urllib.parse import SplitResult, urlsplit, urlunsplit

INDEX_PATTERN = r"^[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*$"
"""Names of an index or data stream: lower case, no leading `_`, `-` or dot, no `..`."""
DEFAULT_INDEX = "mc-audit"
SYSLOG_TLS, SYSLOG_CLEAR = "syslog+tls", "syslog+tcp"
SYSLOG_PORT = 6514  # RFC 5425, section 4.1
HEC_EVENT_PATH = "/services/collector/event"
HEC_ACK_PATH = "/services/collector/ack"


class SiemFormat(StrEnum):
    """How events are told to the SIEM (`AUDIT_SIEM_FORMAT`)."""

    ocsf = "ocsf"
    splunk_hec = "splunk-hec"
    elastic = "elastic"
    cef = "cef"

    @property
    def schemes(self) -> tuple[str, ...]:
        """The URL schemes that it travels by."""
        return (SYSLOG_TLS, SYSLOG_CLEAR) if self is SiemFormat.cef else ("https", "http")

    @property
    def needs_key(self) -> bool:
        """Whether the receiver is shown a key."""
        return self is not SiemFormat.cef


def target_problems(
    url: str, *, siem_format: SiemFormat, has_key: bool, insecure: bool = False
) -> list[str]:
    """What is wrong with `AUDIT_SIEM_URL` and its neighbours; values are not quoted.

    Args:
        url: As it is configured.
        siem_format: How events are told.
        has_key: Whether `AUDIT_SIEM_KEY` is set.
        insecure: Whether a key may travel in clear to another machine (http only).
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return ["AUDIT_SIEM_URL is not a URL"]
    problems = []
    if parts.scheme not in siem_format.schemes or not host:
        accepted = " or ".join(f"{scheme}://HOST" for scheme in siem_format.schemes)
        problems.append(f"AUDIT_SIEM_URL must begin with {accepted} for the format {siem_format}")
    if "@" in parts.netloc:
        problems.append("AUDIT_SIEM_URL must not hold a user or password: use AUDIT_SIEM_KEY")
    if siem_format.needs_key and not has_key:
        problems.append("AUDIT_SIEM_URL is set, AUDIT_SIEM_KEY is not")
    if host and not is_loopback(host):
        if parts.scheme == "http" and not insecure:
            problems.append(
                "AUDIT_SIEM_URL must be https:// unless it is on this machine: the key would "
                "travel in clear (AUDIT_SIEM_INSECURE=1 accepts that)"
            )
        if parts.scheme == SYSLOG_CLEAR:
            problems.append(f"AUDIT_SIEM_URL must be {SYSLOG_TLS}:// unless it is on this machine")
    return problems


def is_loopback(host: str) -> bool:
    """Whether a host of a URL is this machine, by its text alone: names are not resolved."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def collector_url(url: str, path: str) -> str:
    """The URL of an endpoint of Splunk's collector; `url` names the server or any of them."""
    parts = urlsplit(url)
    before = parts.path.rstrip("/").split("/services/collector", 1)[0]
    return _at(parts, before + path, parts.query)


def bulk_url(url: str, index: str, query: str = "") -> str:
    """The URL of Elasticsearch's bulk API for an index, below whatever path the server stands."""
    parts = urlsplit(url)
    base = parts.path.rstrip("/").removesuffix("/_bulk").removesuffix(f"/{index}")
    queries = "&".join(part for part in (parts.query, query) if part)
    return _at(parts, f"{base}/{index}/_bulk", queries)


def _at(parts: SplitResult, path: str, query: str) -> str:
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))
