"""Keyed pseudonyms: a labelled value's replacement that can be joined on, and opened with the key.

AES-SIV (RFC 5297): deterministic, so the same value of the same tenant and type always gets the
same pseudonym, and authenticated, so nobody can make one up. Each tenant has a key of its own,
derived from the platform's: another tenant's pseudonym cannot be opened. The token is spelled with
the letters a to p alone, in which no detector reads a number, a key or an address.

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

from mc_platform.model.label import CLASSES
from mc_platform.screen.findings import PAYMENT_CARD
from mc_platform.screen.redact import placeholder

KEY_BYTES = 32
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
        key: At least 32 bytes; whoever has them can open every pseudonym.

    Raises:
        ValueError: the key is too short.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < KEY_BYTES:
            raise ValueError(f"the pseudonym key has {len(key)} bytes, at least {KEY_BYTES} needed")
        self._key = key
        self._cipher = lru_cache(maxsize=256)(self._made_cipher)

    def __reduce__(self) -> tuple[type[Pseudonymiser], tuple[bytes]]:
        """Pickled as its key, for a process that screens."""
        return Pseudonymiser, (self._key,)

    def pseudonym(self, tenant: str, kind: str, value: str) -> str:
        """What stands for a value: `[type:letters]`, or `[type]` where it must not come back."""
        plain = value.strip().encode("utf-8", "replace")
        if kind not in REVERSIBLE or not plain or len(plain) > _LONGEST_BYTES:
            return placeholder(kind)
        sealed = self._cipher(tenant).encrypt(plain, [kind.encode()])
        return f"[{kind}:{sealed.hex().translate(_TO_LETTERS)}]"

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
            try:
                sealed = bytes.fromhex(letters.translate(_TO_HEX))
                value = self._cipher(tenant).decrypt(sealed, [kind.encode()]).decode()
            except (InvalidTag, ValueError):
                return match[0]
            opened[kind] = opened.get(kind, 0) + 1
            return value

        return _TOKEN.sub(value_of, text), opened

    def _made_cipher(self, tenant: str) -> AESSIV:
        info = b"mc-platform pseudonym v1|" + tenant.encode()
        return AESSIV(HKDF(algorithm=SHA256(), length=64, salt=None, info=info).derive(self._key))
