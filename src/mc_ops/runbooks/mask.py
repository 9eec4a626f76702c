"""Keeps secrets out of a log: standard input to standard output, each occurrence as `***`.

A process of its own between a step and its log file, so that an engine that is killed neither
stops the step nor lets its secrets through. Runs as a bare file with the standard library alone;
the secrets come as a JSON list in the environment variable `MASK`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

SHORTEST_LINE = 6
MASKED = b"***"


class Mask:
    """Replaces secrets in a stream of bytes, also those that arrive in pieces.

    A secret of several lines is masked as a whole and by each line that is long enough. What might
    be the beginning of a secret is held back until it is known. Encoded forms are not recognised.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        texts = {text for secret in secrets for text in (secret, *_lines(secret))}
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
        longest = max((len(secret) for secret in self._secrets), default=1) - 1
        size = len(self._held)
        for place in range(max(0, size - longest), size):
            rest = self._held[place:]
            if any(len(rest) < len(one) and one.startswith(rest) for one in self._secrets):
                return place
        return size

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
