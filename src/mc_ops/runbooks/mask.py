"""Keeps secrets out of a log: standard input to standard output, each occurrence as `***`.

A process of its own between a step and its log file, so that an engine that is killed neither
stops the step nor lets its secrets through. Runs as a bare file with the standard library alone;
the secrets come as a JSON list in the environment variable `MASK`.
"""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

SHORTEST_LINE = 6
MASKED = b"***"


class Mask:
    """Replaces secrets in a stream of bytes, also those that arrive in pieces.

    Masked are all `forms_of` each secret. What might be the beginning of one is held back until it
    is known.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        texts = {text for secret in secrets for text in forms_of(secret)}
        self._secrets = [text.encode() for text in texts]
        self._held = b""
        self._covered = 0  # bytes at the beginning of `_held` that belong to a secret shown as ***

    def feed(self, data: bytes) -> bytes:
        """What can be written now, masked."""
        self._held += data
        return self._take(self._safe_end())

    def end(self) -> bytes:
        """The rest, masked; nothing more will come."""
        return self._take(len(self._held))

    def _safe_end(self) -> int:
        """The first place from which on the rest may be the beginning of a secret."""
        first = size = len(self._held)
        for one in self._secrets:
            place = max(0, size - len(one) + 1)
            # By its first byte, for there are many forms, and most of them begin nowhere in the rest
            while (place := self._held.find(one[:1], place, first)) >= 0:
                if one.startswith(self._held[place:]):
                    first = place
                place += 1
        return first

    def _take(self, end: int) -> bytes:
        written, place = b"", 0
        covered = [(0, self._covered)] if self._covered else []
        for start, stop in _merged(covered + self._found()):
            if start >= end:
                break
            shown_before = start == 0 and self._covered > 0
            written += self._held[place:start] + (b"" if shown_before else MASKED)
            place = stop
        written += self._held[place:end]
        self._held, self._covered = self._held[end:], max(0, place - end)
        return written

    def _found(self) -> list[tuple[int, int]]:
        found = []
        for secret in self._secrets:
            start = self._held.find(secret)
            while start >= 0:
                found.append((start, start + len(secret)))
                start = self._held.find(secret, start + 1)
        return found


def forms_of(secret: str) -> set[str]:
    """The forms in which a secret is known again: as it is, by its longer lines, and encoded.

    Encoded are JSON, a URL, HTML, what a shell quotes, hexadecimal and base64 (within other text, too,
    and in lines of 64 or 76 characters). Not recognised: compressed, encrypted, encoded twice, or
    taken apart.
    """
    found = {secret}
    for text in (secret, *_lines(secret)):
        found.add(text)
        found |= {form for form in _encoded(text) if len(form) >= SHORTEST_LINE}
    return found


def _encoded(text: str) -> Iterator[str]:
    raw = text.encode()
    for ascii_only in (True, False):
        told = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield from (told, told.replace("/", "\\/"), json.dumps(told)[1:-1])
    for form in (quote(text), quote(text, safe=""), quote(text, safe="!'()*"), quote_plus(text)):
        yield from (form, re.sub("%..", lambda found: found[0].lower(), form))
    yield from (html.escape(text), html.escape(text, quote=False))
    yield from (text.replace("'", "'\\''"), text.replace("'", "'\"'\"'"))
    yield re.sub(r"([^\w@%+=:,./-])", r"\\\1", text)
    yield from (raw.hex(), raw.hex().upper())
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before in range(3):
            # The letters that no neighbour has a part in: those of other bytes are left out
            whole = encode(bytes(before) + raw).decode().rstrip("=")
            end = (before + len(raw)) * 8 // 6
            kept = whole[-(-before * 8 // 6) : end]
            yield kept
        for width in (64, 76):
            yield from (kept_line for kept_line in _wrapped(encode(raw).decode(), width))


def _wrapped(text: str, width: int) -> list[str]:
    return [text[at : at + width].rstrip("=") for at in range(0, len(text), width)]


def _lines(secret: str) -> list[str]:
    # As text tools end a line, and at whatever else may end one: U+2028 is inside of a line to `grep`
    lines = (line.strip() for line in (*secret.split("\n"), *secret.splitlines()))
    return [line for line in lines if len(line) >= SHORTEST_LINE]


def _merged(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, stop in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def main() -> None:
    """Mask until the last writer has closed its end."""
    mask = Mask(json.loads(os.environ["MASK"]))
    while data := os.read(0, 65536):
        _write(mask.feed(data))
    _write(mask.end())


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


if __name__ == "__main__":
    main()
