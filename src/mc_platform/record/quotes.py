"""Digests of what was said from outside, so that its words are known again wherever they turn up.

Every run of eight words of a reply has a keyed digest; of those next to each other the least is
kept (winnowing: Schleimer, Wilkerson and Aiken, 2003). Whoever quotes eleven words in a row of a
reply of up to 128 words repeats a kept digest. Of a longer reply a smaller share is kept, so a
quotation of it must be longer to be known. Nothing can be read from a digest, and no other tenant's
words match it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Iterable
from hashlib import blake2b

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_RUN_WORDS = 8
_WINDOW = 4
_USUALLY_KEPT, _MOST_KEPT = 64, 128
_MOST_WORDS = 4096
# Scripts that put no spaces between words: each character counts as one
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+"
)


class Quotes:
    """Digests under one region's key."""

    def __init__(self, ledger_key: Ed25519PrivateKey) -> None:
        self._key = HKDF(
            algorithm=SHA256(), length=32, salt=None, info=b"mc-platform quotation v1"
        ).derive(ledger_key.private_bytes_raw())

    def kept(self, tenant: str, texts: Iterable[str], own: Iterable[str] = ()) -> tuple[int, ...]:
        """What is to be kept of a reply, some 64 digests; of a very long one, of its beginning.

        Args:
            own: Texts of the request: what a reply only repeats of it is no word from outside.
        """
        said = self._runs(tenant, _words(texts)[:_MOST_WORDS])
        if not said:
            return ()
        mine = set(self._runs(tenant, _words(own)[:_MOST_WORDS]))
        window = max(_WINDOW, 2 * len(said) // _USUALLY_KEPT)
        return tuple(sorted(_least_of_each(said, min(window, len(said))) - mine)[:_MOST_KEPT])

    def looked_for(self, tenant: str, texts: Iterable[str]) -> tuple[int, ...]:
        """What a message could repeat; of a very long one its beginning and its end."""
        words = _words(texts)
        if len(words) <= _MOST_WORDS:
            return tuple(set(self._runs(tenant, words)))
        half = _MOST_WORDS // 2
        ends = self._runs(tenant, words[:half]) + self._runs(tenant, words[-half:])
        return tuple(set(ends))

    def _runs(self, tenant: str, words: list[str]) -> list[int]:
        start = blake2b(tenant.encode(), digest_size=8, key=self._key)
        found = []
        for at in range(len(words) - _RUN_WORDS + 1):
            one = start.copy()
            one.update(" ".join(words[at : at + _RUN_WORDS]).encode("utf-8", "replace"))
            found.append(int.from_bytes(one.digest(), "big", signed=True))
        return found


def _least_of_each(digests: list[int], window: int) -> set[int]:
    """The least of each `window` neighbours, in one pass."""
    rising: deque[int] = deque()  # places whose digest may yet be the least, ascending in both
    found: set[int] = set()
    for at, digest in enumerate(digests):
        while rising and digests[rising[-1]] >= digest:
            rising.pop()
        rising.append(at)
        if rising[0] <= at - window:
            rising.popleft()
        if at >= window - 1:
            found.add(digests[rising[0]])
    return found


def _words(texts: Iterable[str]) -> list[str]:
    words: list[str] = []
    for text in texts:
        words += _WORD.findall(unicodedata.normalize("NFKC", text).casefold())
    return words
