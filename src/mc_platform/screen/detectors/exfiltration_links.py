"""Links that would carry data away, and calls of tools that are smuggled into text.

A link is judged by what it carries, not by where it leads: encoded text in its query, path,
fragment or host name, a placeholder to be filled in, or an image (fetched without a click) with a
query that is no matter of layout. Hosts that a tenant trusts are the screener's to leave out, by
`leads_to`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator
from urllib.parse import unquote_plus, urlsplit

from mc_platform.screen.detectors.prompt_injection import discussed
from mc_platform.screen.detectors.recogniser import Prefiltered, recognisers
from mc_platform.screen.findings import EXFILTRATION_LINK, Budget, Finding
from mc_platform.screen.rules import rule_file

_RULES = rule_file("exfiltration_links")
_URL = re.compile(r"(?i)(?:https?:|wss?:|ftp:)?//[^\s\"'<>`]{3,2048}")
_URL_PREFILTER = r"//[\w\-\[]"
_BEFORE_CHARS = 160
_IMAGE = _RULES.re("image")
_LINK = re.compile(
    r"(?i)(?:\]\(\s{0,3}<?|\b(?:href|action|formaction|src|data|srcset)\s{0,3}=\s{0,3}[\"']?)\Z"
)
_REFERENCE = re.compile(r"\]:[ \t]{0,4}<?\Z")
_PLACEHOLDER = _RULES.re("placeholder")
_LAYOUT = _RULES.words("layout")
_FILLER = re.compile(r"<[A-Za-z_ ]{3,40}>[^\s\"'<>`]{0,200}")
_LAYOUT_VALUE = re.compile(r"[A-Za-z0-9.,\-_ /:+#%]{0,24}")
_LOADED = _RULES.words("loaded")
_VAGUE = _RULES.words("vague")
_PLAIN_VALUE = re.compile(r"[A-Za-z_\-]{0,14}|[\d.]{1,4}|https?://[\w.\-/]{1,120}")
_PLAIN_NAME_CHARS = 24
_VOID = _RULES.re("void")
_COLLECTORS = _RULES.re("collectors")
_ENCODED = re.compile(r"[A-Za-z0-9+/_\-]{16,}={0,2}")
_HEX = re.compile(r"(?i)[0-9a-f]{24,}")
_BASE32_LABEL = re.compile(r"(?i)[a-z2-7]{16,63}")
_LABEL_MIN, _LABEL_LONG = 16, 44
_READABLE_MIN = 8
_OPAQUE_CHARS = 24
_SEPARATED = re.compile(rb"[ =@\"{,;]")
_WORDS_MIN = 12
_REASON = "Whoever follows or renders it hands data to the host it leads to."
_DETECTOR = "sign.exfiltration"


def leads_to(text: str, hosts: frozenset[str]) -> bool:
    """Whether a link leads to one of the hosts, or to a host below one of them."""
    try:
        host = (urlsplit(text if "//" in text else f"//{text}").hostname or "").rstrip(".")
    except ValueError:
        return False
    return any(host == known or host.endswith(f".{known}") for known in hosts if known)


def find_links(text: str, _: str, budget: Budget) -> Iterator[Finding]:
    """Links that carry data; the span is the link alone, so that its host can be read from it."""
    for match in _URL.finditer(text):
        start = match.start()
        budget.spend()
        link = match[0]
        if (filler := _FILLER.match(text, match.end())) is not None:
            link += filler[0]
        before = text[max(0, start - _BEFORE_CHARS) : start]
        image = _IMAGE.search(before) is not None and (
            _REFERENCE.search(before) is None or "![" in text
        )
        active = image or _LINK.search(before) is not None
        link = _trimmed(link, active=active)
        if _carries(link, image=image, active=active):
            yield Finding(EXFILTRATION_LINK, start, start + len(link), 0.85, _DETECTOR, _REASON)


def _trimmed(link: str, *, active: bool) -> str:
    """A link without the bracket and the punctuation of the text around it."""
    if active:
        depth = 0
        for at, char in enumerate(link):
            depth += (char == "(") - (char == ")")
            if depth < 0:
                link = link[:at]
                break
    return link.rstrip(".,;:!?)*" if not active else ".,;")


def _carries(link: str, *, image: bool, active: bool) -> bool:
    try:
        parts = urlsplit(link)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not host or host in ("localhost", "127.0.0.1", "::1") or "." not in host.strip("."):
        return _carries_host(host)
    rest = link.split(host, 1)[-1] if host in link else link[len(parts.scheme) + 3 :]
    filled = active and _PLACEHOLDER.search(link if image else rest) is not None
    if filled and (image or parts.query or parts.fragment):
        return True
    if "$(" in link or ("${" in link.split("?", 1)[-1] and active and "?" in link):
        return True
    if _carries_host(host):
        return True
    pairs = [pair.partition("=") for pair in re.split("[&;]", parts.query) if pair]
    values = [(name.lower(), unquote_plus(value)) for name, _, value in pairs]
    if _COLLECTORS.search(host) is not None and (pairs or len(parts.path) > 40):
        return True
    if image and any(not _is_layout(name, value) for name, value in values):
        return True
    if any(name in _LOADED and _is_content(value) for name, value in values):
        return True
    pieces = [value for _, value in values]
    pieces += [name for name, value in values if not value]
    pieces += unquote_plus(parts.path).split("/")
    pieces.append(unquote_plus(parts.fragment).rsplit("=", 1)[-1])
    if any(_is_encoded_text(piece, told=image) for piece in pieces):
        return True
    return bool(image and any(len(piece) > 60 and " " in piece for piece in pieces))


def _is_layout(name: str, value: str) -> bool:
    if len(name) == 1:
        return value.isdigit() and len(value) <= 4
    if name == "logo" and value.startswith("data:image/"):
        return True
    if name in _LAYOUT:
        return _LAYOUT_VALUE.fullmatch(value) is not None
    if name in _LOADED or name in _VAGUE:
        return False
    return _PLAIN_VALUE.fullmatch(value) is not None and len(name) <= _PLAIN_NAME_CHARS


def _is_content(value: str) -> bool:
    return len(value) >= _WORDS_MIN and (" " in value or any(char.isdigit() for char in value))


def _is_encoded_text(piece: str, *, told: bool = True) -> bool:
    """Whether a piece of a link is text in base64, base64url, hexadecimal or base32.

    Unless `told`, short text without any separator does not count: opaque ids look like that.
    """
    if len(piece) < _LABEL_MIN:
        return False
    if _HEX.fullmatch(piece) is not None and len(piece) % 2 == 0:
        return _is_readable(bytes.fromhex(piece))
    if _ENCODED.fullmatch(piece) is not None:
        plain = piece.rstrip("=").replace("-", "+").replace("_", "/")
        try:
            raw = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
            if _is_readable(raw) and (told or len(raw) >= _OPAQUE_CHARS or _SEPARATED.search(raw)):
                return True
        except (binascii.Error, ValueError):
            pass
    plain = piece.rstrip("=").upper()
    if _BASE32_LABEL.fullmatch(plain) is None:
        return False
    try:
        return _is_readable(base64.b32decode(plain + "=" * (-len(plain) % 8)))
    except (binascii.Error, ValueError):
        return False


def _is_readable(raw: bytes) -> bool:
    if len(raw) < _READABLE_MIN:
        return False
    try:
        shown = raw.decode()
    except UnicodeDecodeError:
        return False
    return shown.isprintable()


def _carries_host(host: str) -> bool:
    """Whether a host's name holds encoded text, or labels that no one would choose."""
    labels = host.rstrip(".").split(".")[:-2]
    if not labels or host.endswith(".onion"):
        return False
    joined = "".join(label for label in labels if len(label) >= _READABLE_MIN)
    long_ones = [label for label in labels if len(label) >= 28 and not label.startswith("xn--")]
    return (
        any(_is_encoded_text(label) for label in labels)
        or (len(joined) >= 24 and _is_encoded_text(joined))
        or len(long_ones) > 1
        or any(len(label) >= _LABEL_LONG and _is_dense(label) for label in long_ones)
    )


def _is_dense(label: str) -> bool:
    digits = sum(char.isdigit() for char in label)
    return digits >= len(label) // 8 and "-" not in label[1:-1]


def _carries_away(text: str, start: int, end: int) -> bool:
    # A link is judged as such.
    return text[max(0, start - 2) : start] != "//" and _carries_host(text[start:end])


def _acts(text: str, start: int, end: int) -> bool:
    return _VOID.match(text, start, end) is None and not discussed(text, start, end)


def _smuggled(text: str, start: int, end: int) -> bool:
    # Inline code in a document about calls is no call.
    return text[max(0, start - 1) : start] != "`" and not discussed(text, start, end)


RECOGNISERS: tuple[Prefiltered, ...] = (
    *recognisers(_RULES, {"acts": _acts, "carries-away": _carries_away, "smuggled": _smuggled}),
    (_URL_PREFILTER, find_links),
)
