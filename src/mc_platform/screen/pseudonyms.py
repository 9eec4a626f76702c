"""Keyed pseudonyms: a labelled value's replacement that can be joined on, and opened with the key.

AES-SIV (RFC 5297): deterministic, so the same value of the same tenant and type always gets the
same pseudonym, and authenticated, so nobody can make one up. Each tenant has a key of its own,
derived from the platform's: another tenant's pseudonym cannot be opened. The token is spelled with
the letters a to p alone, in which no detector reads a number, a key or an address; the first eight are
the id of the key, but for the key `first` (`mc_contract.keyring`).

Whether anybody may open one is policy's business; see `query.break_glass`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache, partial

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mc_contract.keyring import FIRST, Key, KeySet
from mc_platform.model.label import CLASSES
from mc_platform.screen.findings import PAYMENT_CARD
from mc_platform.screen.redact import placeholder

_REVERSIBLE_CLASSES = frozenset({"personal", "financial", "special", "tenant"})
REVERSIBLE = frozenset(
    kind for kind, data_class in CLASSES.items() if data_class in _REVERSIBLE_CLASSES
) - {PAYMENT_CARD}
"""Label types that get a pseudonym; keys, cards, foreign ids and signs never come back."""
_LONGEST_BYTES = 512
_LETTERS = "abcdefghijklmnop"
_TO_LETTERS = str.maketrans("0123456789abcdef", _LETTERS)
_TO_HEX = str.maketrans(_LETTERS, "0123456789abcdef")
_TOKEN = re.compile(r"\[([a-z]{2,16}(?:-[a-z]{2,16}){0,2}):([a-p]{34,1100})\]")


class Pseudonymiser:
    """Makes pseudonyms and opens them; safe to share.

    Args:
        keys: Whoever has them can open every pseudonym.
    """

    def __init__(self, keys: KeySet) -> None:
        self.renew(keys)

    def renew(self, keys: KeySet) -> None:
        """Take another set of keys: the active one makes pseudonyms, all of them open some."""
        self._now = keys, lru_cache(maxsize=256)(_cipher)

    def __reduce__(self) -> tuple[type[Pseudonymiser], tuple[KeySet]]:
        """Pickled as its keys, for a process that screens."""
        return Pseudonymiser, (self._now[0],)

    def pseudonym(self, tenant: str, kind: str, value: str) -> str:
        """What stands for a value: `[type:letters]`, or `[type]` where it must not come back."""
        plain = value.strip().encode("utf-8", "replace")
        if kind not in REVERSIBLE or not plain or len(plain) > _LONGEST_BYTES:
            return placeholder(kind)
        keys, cipher = self._now
        sealed = cipher(keys.active.secret, tenant).encrypt(plain, [kind.encode()])
        return f"[{kind}:{_carried(keys.active)}{sealed.hex().translate(_TO_LETTERS)}]"

    def replacer(self, tenant: str) -> Callable[[str, str], str]:
        """A tenant's replacements, as `Screener.redact` takes them."""
        return partial(self.pseudonym, tenant)

    def reveal(self, tenant: str, text: str) -> tuple[str, dict[str, int]]:
        """The text with the tenant's pseudonyms opened; what cannot be opened stays as it is.

        Returns:
            The text, and how many were opened of each type.
        """
        opened: dict[str, int] = {}

        def value_of(match: re.Match[str]) -> str:
            kind, letters = match.groups()
            value = self._opened(tenant, kind, letters)
            if value is None:
                return match[0]
            opened[kind] = opened.get(kind, 0) + 1
            return value

        return _TOKEN.sub(value_of, text), opened

    def _opened(self, tenant: str, kind: str, letters: str) -> str | None:
        keys, cipher = self._now
        for key in keys:
            carried = _carried(key)
            if not letters.startswith(carried):
                continue
            try:
                sealed = bytes.fromhex(letters[len(carried) :].translate(_TO_HEX))
                return cipher(key.secret, tenant).decrypt(sealed, [kind.encode()]).decode()
            except (InvalidTag, ValueError):
                continue  # `first` carries nothing, so it may be another's that begins alike
        return None


def _carried(key: Key) -> str:
    return "" if key.id == FIRST else key.id.translate(_TO_LETTERS)


def _cipher(secret: bytes, tenant: str) -> AESSIV:
    info = b"mc-platform pseudonym v1|" + tenant.encode()
    return AESSIV(HKDF(algorithm=SHA256(), length=64, salt=None, info=info).derive(secret))
