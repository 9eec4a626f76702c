"""URLs of file parts: whoever fetches the file must not be led into a machine or a network of its own.

A file part asks its reader to fetch a URL. What may stand there is told, not what may not: an
absolute `http` or `https` URL that every reader takes alike and that names a public host. Readers
differ in what they make of odd spellings (`http:/host`, a backslash, `127.1`, `0x7f.1`, full-width digits, a
user name before `@`), so an odd spelling is enough; an address is judged with those within it.
Names are not looked up: a public name that leads to a private address cannot be told here, but for
services that exist for that.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterator
from urllib.parse import urlsplit

from mc_platform.model.label import Path
from mc_platform.screen.rules import rule_file

_ODD = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
_START = re.compile(r"(?i)https?://[^/?#]")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?")
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)")
_LABEL_MAX = 63
_RULES = rule_file("destinations")
_INTERNAL = _RULES.words("internal-names")
_STAND_INS = _RULES.words("stand-ins")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NOT_PUBLIC = tuple(map(ipaddress.ip_network, _RULES.words("not-public")))
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_file_url(path: Path) -> bool:
    """Whether the string at a path is the URL of a file part, as A2A 1.0 or 0.3 has it."""
    if len(path) == 3 and path[1] == "file":
        path = (path[0], path[2])
    return len(path) == 2 and path[1] in ("url", "uri")


def danger_of(url: str) -> str:
    """Why a file must not be fetched from a URL, as a sentence; empty if nothing is wrong."""
    if _ODD.search(url.strip(" ")):
        return "The URL has characters that readers take differently."
    if _START.match(url.strip(" ")) is None:
        return "The URL is no absolute http or https URL."
    try:
        parts = urlsplit(url.strip(" "))
        _ = parts.port  # checked when it is read
        host = parts.hostname or ""
    except ValueError:
        return "The URL cannot be parsed."
    if "@" in parts.netloc:
        return "The URL names a user before the host."
    if "[" in parts.netloc:
        return _danger_of_v6(host)
    return _danger_of_name(host)


def _danger_of_v6(host: str) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        return "The URL's host is no address that readers take alike."
    if address.scope_id is not None or not all(map(_is_public, _within(address))):
        return "The URL leads to an address that is not public."
    return ""


def _danger_of_name(host: str) -> str:
    name = _plain(host)
    if name is None or not all(0 < len(label) <= _LABEL_MAX for label in name.split(".")):
        return "The URL's host is no name that readers take alike."
    labels = name.split(".")
    if _NUMBER.fullmatch(labels[-1]):  # all readers take it for an IPv4 address, or for an error
        try:
            address = ipaddress.IPv4Address(name)
        except ValueError:
            return "The URL's host is an address in an unusual spelling."
        return "" if _is_public(address) else "The URL leads to an address that is not public."
    ends = {".".join(labels[at:]) for at in range(len(labels))}
    if len(labels) == 1 or ends & _INTERNAL:
        return "The URL leads to a name of a private network, or of this machine."
    if ends & _STAND_INS:
        return "The URL's host is a public name for private addresses."
    return ""


def _plain(host: str) -> str | None:
    """The host as ASCII without its trailing dot; None if readers may differ in it."""
    try:
        name = (host if host.isascii() else host.encode("idna").decode()).lower()
    except UnicodeError:
        return None
    name = name.removesuffix(".")
    if _HOST.fullmatch(name) is None:
        return None
    for label in name.split("."):
        if label.startswith("xn--") and _hides_ascii(label):
            return None
    return name


def _hides_ascii(label: str) -> bool:
    """Whether a label in Punycode is none, or spells ASCII letters in another form."""
    try:
        shown = label[4:].encode().decode("punycode")
    except (UnicodeError, ValueError, OverflowError):
        return True
    return unicodedata.normalize("NFKC", shown).isascii()


def _within(address: ipaddress.IPv6Address) -> Iterator[_Address]:
    """An IPv6 address, and the IPv4 addresses that it stands for."""
    yield address
    low = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    if address.ipv4_mapped is not None or address in _NAT64:
        yield low
    if int(address) >> 32 == 0:  # IPv4-compatible: long deprecated, still parsed
        yield low
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if (int(address) >> 32) & 0xFFFFFFFF in (0x5EFE, 0x02005EFE):  # ISATAP
        yield low


def _is_public(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped is not None or address in _NAT64
    ):
        return True  # the address within is judged
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not any(address in network for network in _NOT_PUBLIC)
    )
