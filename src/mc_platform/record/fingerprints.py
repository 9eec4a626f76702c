"""Content fingerprints: digests of what was said from outside, so that its words are known again wherever they turn up.

Three kinds of fingerprints are taken of each text, all keyed:

- *Words*: every run of eight; of those next to each other the least is kept (winnowing: Schleimer,
  Wilkerson and Aiken, 2003). Whoever quotes eleven words in a row of a reply of up to 128 words
  repeats a kept digest. Of a longer reply a smaller share is kept, so a quotation of it must be
  longer to be known.
- *Letters*: every run of 32 letters and digits, whatever stands between them, winnowed likewise: 39
  in a row of a short reply are always known.
- *Identifiers*: what is known by itself, however few words it has; see `_identifiers`.

Nothing can be read from a digest, and no other tenant's words match it. A text is what
`screen.said` makes of a message: the same for whoever quotes it in disguise.
"""

from __future__ import annotations

import re
import struct
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import accumulate, pairwise
from typing import Any
from zlib import crc32

from mc_contract.keyring import Key, KeySet

_RUN_WORDS, _RUN_BYTES = 8, 32
_WINDOW, _BYTE_WINDOW = 4, 8
_USUALLY_KEPT, _MOST_KEPT = 64, 128
_KEPT_WORDS, _LOOKED_WORDS = 4096, 24_000
_KEPT_BYTES, _LOOKED_BYTES = 24_000, 80_000
_MOST_LETTERS = _MOST_IDENTIFIERS = 64
# Scripts that put no spaces between words: each character counts as one
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+"
)
_LETTERS = re.compile(r"[\W_]+")
# Each begins with a digit at a word's beginning, spelled so that only digits are tried
_DATE = re.compile(
    r"[0-9](?<!\w[0-9])(?:[0-9]{3}-[0-9]{2}-[0-9]{2}"
    r"(?:[t ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,9})?)?(?:z|[+\-][0-9]{2}:?[0-9]{2})?)?\b"
    r"|[0-9]?[./][0-9]{1,2}[./](?:[0-9]{4}|[0-9]{2})\b|[0-9]?:[0-9]{2}(?::[0-9]{2})?\b)"
)
_URL = re.compile(r"https?://([^\s\"'<>()\[\]{}|\\^`]{4,300})")
_ADDRESS = re.compile(r"[a-z0-9][\w.+\-]{1,63}@[\w\-]{1,63}(?:\.[\w\-]{1,63}){1,4}")
_TOKENS = re.compile(r"[a-z0-9\-_./:+]+")
_TOKEN = re.compile(r"[a-z0-9](?:[a-z0-9]|[\-_./:+](?=[a-z0-9])){7,79}")
_FIGURES = re.compile(r"[0-9](?:[\s\-./()]{0,2}[0-9]){8,80}")
_NUMBER = re.compile(r"[0-9]{3,}")
_TOKEN_CHARS, _TOKEN_DIGITS = 9, 5
_FIGURE_RUN, _VARIETY = 9, 4
_PAIR_DIGITS, _PAIR_LONG = 11, 6
_DIGITS = b"0123456789"
_FEW = 16


class ContentFingerprints:
    """Digests under the platform's key, and of what is looked for under all keys that are known.

    They carry no key's id: eight bytes have no room for it, and in two weeks they are forgotten.
    """

    def __init__(self, keys: KeySet) -> None:
        self.renew(keys)

    def renew(self, keys: KeySet) -> None:
        """Take another set of keys."""
        self._keys = keys

    def kept(
        self,
        tenant: str,
        texts: Sequence[str],
        own: Sequence[str] = (),
        looked_for: frozenset[int] = frozenset(),
    ) -> tuple[int, ...]:
        """What is to be kept of a reply; of a very long one, of its beginning.

        Args:
            tenant: Whose it is.
            texts: What the reply says, in each way in which it can be read.
            own: Likewise of the request: what a reply only repeats of it is no word from outside.
            looked_for: The same as fingerprints, instead of `own`, if that is not long
                (`are_looked_for_whole`).
        """
        start = _start(self._keys.active, tenant)
        found: set[int] = set()
        for text in texts:
            runs = _runs(start, [text], _KEPT_WORDS)
            window = max(_WINDOW, 2 * len(runs) // _USUALLY_KEPT)
            found |= _least_of_each(runs, min(window, len(runs)))
        if found and own:
            found.difference_update(_runs(start, own, _KEPT_WORDS))
        kept = sorted(found - looked_for)[:_MOST_KEPT]
        pieces = {
            piece
            for text in texts
            for piece in _spelled([text], _KEPT_BYTES, _letters_window(len(text)))
        }
        if pieces and own:
            pieces.difference_update(_spelled(own, _KEPT_BYTES, _BYTE_WINDOW))
        kept += sorted(_digests(start, b"letters", pieces) - looked_for)[:_MOST_LETTERS]
        names = _names(texts)
        if names and own:
            names -= _names(own)
        kept += sorted(_digests(start, b"name", names) - looked_for)[:_MOST_IDENTIFIERS]
        return tuple(sorted(set(kept)))

    def looked_for(self, tenant: str, texts: Sequence[str]) -> tuple[int, ...]:
        """What a message could repeat; of a very long one its beginning and its end."""
        letters, names = set(_spelled(texts, _LOOKED_BYTES, _BYTE_WINDOW)), _names(texts)
        found: set[int] = set()
        for key in self._keys:
            start = _start(key, tenant)
            found.update(_runs(start, texts, _LOOKED_WORDS))
            found |= _digests(start, b"letters", letters)
            found |= _digests(start, b"name", names)
        return tuple(found)

    @staticmethod
    def are_looked_for_whole(texts: Sequence[str]) -> bool:
        """Whether `looked_for` tells of these texts all that `kept` would leave out."""
        return all(len(text) <= _KEPT_WORDS and text.isascii() for text in texts)


def _start(key: Key, tenant: str) -> Any:
    return blake2b(tenant.encode(), digest_size=8, key=key.secret[:64])


def _digests(start: Any, kind: bytes, pieces: set[bytes]) -> set[int]:
    if not pieces:
        return set()
    return set(_digests_of(start, [b"\0%b\0%b" % (kind, piece) for piece in pieces]))


def _digests_of(start: Any, pieces: Sequence[bytes]) -> tuple[int, ...]:
    if not pieces:
        return ()
    found = []
    copy = start.copy
    for piece in pieces:
        one = copy()
        one.update(piece)
        found.append(one.digest())
    return struct.unpack(f">{len(found)}q", b"".join(found))


def _runs(start: Any, texts: Iterable[str], most: int) -> Sequence[int]:
    """The digests of each text's runs of words; of a long one, of its beginning and its end."""
    pieces: list[bytes] = []
    half = most // 2
    for text in texts:
        plain = text if text.isascii() else unicodedata.normalize("NFKC", text)
        words = _WORD.findall(plain.casefold())
        if len(words) < _RUN_WORDS:
            continue
        for some in [words] if len(words) <= most else [words[:half], words[-half:]]:
            line = " ".join(some).encode("utf-8", "replace")
            # Where each word begins, without the spaces before it
            at = list(accumulate(map(len, line.split(b" ")), initial=0))
            pieces += [
                line[at[first] + first : at[first + _RUN_WORDS] + first + _RUN_WORDS - 1]
                for first in range(len(some) - _RUN_WORDS + 1)
            ]
    return _digests_of(start, pieces)


def _letters_window(chars: int) -> int:
    return max(_BYTE_WINDOW, 2 * min(chars, _KEPT_BYTES) // _USUALLY_KEPT)


def _spelled(texts: Iterable[str], most: int, window: int) -> Iterator[bytes]:
    """Runs of letters and digits, whatever stands between them: of each few neighbours one.

    A wider window chooses among those that a narrower one does.
    """
    for text in texts:
        letters = _LETTERS.sub("", text).encode("utf-8", "replace")
        if len(letters) < _RUN_BYTES:
            continue
        half = most // 2
        for some in [letters] if len(letters) <= most else [letters[:half], letters[-half:]]:
            ranks = [
                (crc32(some[at : at + _RUN_BYTES]) << 32) + at
                for at in range(len(some) - _RUN_BYTES + 1)
            ]
            for rank in _least_of_each(ranks, min(window, len(ranks))):
                at = rank & 0xFFFFFFFF
                yield some[at : at + _RUN_BYTES]


def _names(texts: Iterable[str]) -> set[bytes]:
    return {name.encode("utf-8", "replace") for name in _identifiers(texts)}


def _identifiers(texts: Iterable[str]) -> Iterator[str]:
    """What is distinctive enough to be known by itself.

    Links with a path; addresses; tokens of nine letters and digits or more, five of them digits, such
    as accounts and orders' numbers; runs of nine digits, however they are grouped; and two
    neighbouring numbers of eleven digits together, such as an account and an amount. Ordinary
    words, small numbers, dates and times are none.
    """
    for text in texts:
        encoded = text.encode("utf-8", "replace")
        figures = len(encoded) - len(encoded.translate(None, _DIGITS))
        if figures < _TOKEN_DIGITS and "@" not in text and "://" not in text:
            continue
        plain = _DATE.sub(" | ", text[:_LOOKED_BYTES])
        for url in _URL.finditer(plain):
            host, _, rest = url[1].rstrip(".,;:!?").partition("/")
            if len(rest) > 3:
                yield f"{host}/{rest}"
        if "@" in plain:
            for address in _ADDRESS.finditer(plain):
                yield address[0].rstrip(".-")
        if figures >= _TOKEN_DIGITS:
            yield from _numbered(plain)


def _numbered(plain: str) -> Iterator[str]:
    """Of those, what holds digits: tokens, runs of digits, pairs of numbers."""
    # A token lies within a run of its characters; most runs are words, and too short
    for run in _TOKENS.findall(plain):
        for token in _TOKEN.findall(run) if len(run) >= _TOKEN_CHARS else ():
            squashed = _LETTERS.sub("", token)
            digits = sum(map(str.isdigit, squashed))
            if len(squashed) >= _TOKEN_CHARS and digits >= _TOKEN_DIGITS and not squashed.isdigit():
                yield squashed
    for figures in _FIGURES.finditer(plain):
        digits_only = _LETTERS.sub("", figures[0])
        for at in range(len(digits_only) - _FIGURE_RUN + 1):
            run = digits_only[at : at + _FIGURE_RUN]
            if len(set(run)) >= _VARIETY:
                yield run
    for one, other in pairwise(number[0] for number in _NUMBER.finditer(plain)):
        long = len(one) + len(other) >= _PAIR_DIGITS and max(len(one), len(other)) >= _PAIR_LONG
        if long and len(set(one + other)) >= _VARIETY:
            yield "+".join(sorted((one, other)))


def _least_of_few(digests: Sequence[int], window: int) -> set[int]:
    """The same; a window is only looked through again where its least has left it."""
    if len(digests) < window:
        return set()
    least = min(digests[:window])
    place = digests.index(least)
    found = {least}
    for at in range(window, len(digests)):
        if digests[at] <= least:
            least, place = digests[at], at
        elif place > at - window:
            continue
        else:
            first = at - window + 1
            least = min(digests[first : at + 1])
            place = digests.index(least, first)
        found.add(least)
    return found


def _least_of_each(digests: Sequence[int], window: int) -> set[int]:
    """The least of each `window` neighbours, in one pass."""
    if 0 < window <= _FEW:
        return _least_of_few(digests, window)
    if not digests:
        return set()
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
