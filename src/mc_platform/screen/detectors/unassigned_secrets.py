"""Secrets that no assignment holds: options of commands, attributes, cookies, codes, seed phrases.

The word that says what follows is a command's option, an attribute's name or a noun of its own; a
value counts if it looks drawn, as in `assigned`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import re2

from mc_platform.screen.detectors.assigned_secrets import (
    FOR_KEYS,
    FOR_LOGIN,
    is_secret_value,
    kinds_of,
)
from mc_platform.screen.detectors.context_words import cued, words
from mc_platform.screen.detectors.recogniser import Shaped
from mc_platform.screen.findings import SECRET_KEY, Budget, Finding

_REASON = "A word for a secret announces it, and it looks drawn rather than written."
_DETECTOR = "context.handed"
_IS = r"[\"'`*]{0,3}[ \t]{0,2}(?:[:=]|=>|(?i:is|are|was)\b:?)?[ \t]{1,3}[\"'`*]{0,3}"

# Programs that take a password as an option, and the options by which they do.
_PROGRAM = (
    r"(?:sshpass|(?:docker|podman|skopeo|helm registry|oras|az|npm|vault|cf|oc) login|mysql\w*|mariadb\w*|mongo\w*|psql|sqlcmd|redis-cli"
    r"|ldap(?:search|modify|add)|rabbitmq\w*|smbclient|xfreerdp|openssl|gpg|keytool|7z|zip|unzip|htpasswd|curlftpfs|lftp|sqlplus)"
)
_OPTION = (
    rf"\b{_PROGRAM}\b[^\n|;&]{{0,100}}?[ ](?:-p|(?:-p|-P|-a|-w|-k|-K|-storepass|-keypass|--pass(?:word|wd|phrase)?)[ =]|-pass(?:in|out)?[ ]pass:)"
    r"[\"']?(?P<value>[^\s\"'`|;]{6,128})"
)
_LOGIN = r"(?i:\b(?:login|user|username|account)[ ]{1,2})[^\s\"']{1,64}[ ]{1,2}(?i:password|passwd|pass)[ ]{1,2}(?P<value>[^\s\"'`]{6,128})"
_ATTRIBUTE = (
    rf"(?i:\b(?:key|name|id)[\"']?\s{{0,2}}[:=]\s{{0,2}}[\"']?[\w.\-]{{0,32}}?(?:(?P<login>{FOR_LOGIN})|{FOR_KEYS})[\w.\-]{{0,12}}[\"']?"
    r"[,]?\s{1,8}[\"']?(?:value|content|default)[\"']?\s{0,2}[:=]\s{0,2})[\"'](?P<value>[^\s\"'<>]{6,200})[\"']"
)
_ATTRIBUTE_SHAPE = rf"(?i:(?:{FOR_LOGIN}|{FOR_KEYS})[\w.\-]*[\"']?,?\s+[\"']?(?:value|content|default)[\"']?\s?[:=])"
_COOKIE = (
    r"(?i:\b(?:set-)?cookie[\"']?:[ ]?(?:[^\n]{0,160}?[; \"'])?[\w.\-]{0,24}(?:sess(?:ion)?(?:id)?|\bsid|auth|token|jwt|remember\w*)[\w.\-]{0,16})="
    r"(?P<value>[^\s;,\"']{16,512})"
)
_COOKIE_SHAPE = r"(?i)cookie[\"']?: ?[^\n]*="
_NETWORK = r"(?i:\b(?:wi-?fi|wlan|wpa2?|hotspot|network)[ _\-]?(?:key|pass|psk|passphrase)|\bpsk)"
_CODE = (
    r"(?i:\b(?:otp|one[- ]time[ -](?:pass(?:word|code)|code|pin)|(?:2fa|mfa|totp|tan|sms|verification|authentication|authenticator)[ _\-]code))"
    r"(?:[ ](?i:code|pin|password))?"
)
_AUTHENTICATOR = r"(?i:\b(?:totp|hotp|otp|2fa|mfa|authenticator)[ _\-]?(?:secret|key|seed))"
_RECOVERY = r"(?i:\b(?:recovery|backup|scratch|rescue)[ _\-](?:codes?|keys?|tokens?))"
_RECOVERY_CODE = r"[A-Za-z0-9]{4,8}(?:-[A-Za-z0-9]{4,8})+|[a-z]*\d[a-z0-9]{7,}"
_PHRASE = r"(?i:\b(?:seed|recovery|mnemonic|backup|wallet)[ _\-](?:phrase|words|seed)|\bmnemonic(?:[ ]phrase)?|\bseed)"
_TWELVE = r"(?:[a-z]{3,8}[ ,\n]{1,3}){11,23}[a-z]{3,8}"
# No list of mnemonics holds these, and hardly a sentence of twelve words does without them.
_PROSE = words(
    """the and for are your from will not was has must should have with when which were been its our his her
    into than them these those their also such more most"""
)
_SEQUENCES = "01234567890123456789 98765432109876543210"
_EXAMPLE = re.compile(r"(?i)your|example|changeme|xxx|\.\.\.|<|\$|%|\{|password|secret|placeholder")
# What turns pages, or is made for one form, is called a token, too.
_PASSING = re.compile(
    r"(?i)csrf|xsrf|page_?token|next_?token|continuation|cursor|sync_?token|id_?token"
)
_DRAWN = 6
_MNEMONIC = 3


def _password(text: str, start: int, end: int) -> bool:
    value = text[start:end]
    return (
        _EXAMPLE.match(value) is None
        and kinds_of(value) >= _MNEMONIC
        and is_secret_value(value, password=True, strict=True)
    ) or _is_long(value)


def _network_key(text: str, start: int, end: int) -> bool:
    value = text[start:end]
    mixed = any(map(str.islower, value)) and any(map(str.isupper, value))
    return mixed and _password(text, start, end)


def _is_long(value: str) -> bool:
    return _EXAMPLE.search(value) is None and is_secret_value(value, password=False, strict=True)


def _token(text: str, start: int, end: int) -> bool:
    return is_secret_value(text[start:end], password=False)


def _drawn_figures(text: str, start: int, end: int) -> bool:
    digits = text[start:end].replace("-", "").replace(" ", "")
    return len(set(digits)) >= _MNEMONIC and digits not in _SEQUENCES


def _base32(text: str, start: int, end: int) -> bool:
    value = text[start:end]
    return len(set(value)) >= _DRAWN and any(map(str.isdigit, value))


def _codes(text: str, start: int, end: int) -> bool:
    value = text[start:end]
    return (
        any(map(str.isdigit, value))
        and any(map(str.isalpha, value))
        and len(set(value)) >= _DRAWN
        and _EXAMPLE.search(value) is None
    )


def _mnemonic(text: str, start: int, end: int) -> bool:
    said = re.findall(r"[a-z]+", text[start:end])
    return len(said) % _MNEMONIC == 0 and _PROSE.isdisjoint(said)


def _attributes(text: str, _: str, budget: Budget) -> Iterator[Finding]:
    for match in _ATTRIBUTE_COMPILED.finditer(text):
        budget.spend()
        start, end = match.span(_ATTRIBUTE_VALUE)
        if _PASSING.search(text, match.start(), start) is not None:
            continue
        if is_secret_value(text[start:end], password=match.group("login") is not None):
            yield Finding(SECRET_KEY, start, end, 0.85, _DETECTOR, _REASON)


_ATTRIBUTE_COMPILED = re2.compile(_ATTRIBUTE)
_ATTRIBUTE_VALUE = _ATTRIBUTE_COMPILED.groupindex["value"]


def _handed(pattern: str, shape: str, accept: Callable[[str, int, int], bool]) -> Shaped:
    return cued(SECRET_KEY, _DETECTOR, pattern, shape=shape, accept=accept, reason=_REASON)


HANDED_FINDERS: tuple[Shaped, ...] = (
    _handed(_OPTION, rf"\b{_PROGRAM} [^\n]*-[pPawksK-]", _password),
    _handed(_LOGIN, r"(?i) (?:password|passwd|pass) [^\s]", _password),
    (_ATTRIBUTE_SHAPE, _attributes),
    _handed(_COOKIE, _COOKIE_SHAPE, _token),
    _handed(rf"{_NETWORK}{_IS}(?P<value>[^\s\"'`,;<>]{{8,63}})", _NETWORK, _network_key),
    _handed(rf"{_CODE}{_IS}(?P<value>\d{{3}}[ \-]\d{{3}}|\d{{4,8}})\b", _CODE, _drawn_figures),
    _handed(rf"{_AUTHENTICATOR}{_IS}(?P<value>[A-Z2-7]{{16,64}})\b", _AUTHENTICATOR, _base32),
    _handed(
        rf"{_RECOVERY}{_IS}(?P<value>(?:{_RECOVERY_CODE})(?:[, \n\-*]{{1,4}}(?:{_RECOVERY_CODE})\b)*)",
        _RECOVERY,
        _codes,
    ),
    _handed(
        rf"{_PHRASE}(?:[ ]?[:=]|[ ](?i:is|was)\b:?)\s{{0,2}}[\"'`]?(?P<value>{_TWELVE})\b",
        _PHRASE,
        _mnemonic,
    ),
)
