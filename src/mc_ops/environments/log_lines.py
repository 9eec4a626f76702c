"""Lines of logs: when each was written, and several logs' lines in the order of that."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from operator import attrgetter
from typing import NamedTuple

import msgspec

from mc_contract.log_lines import framed
from mc_ops.environments.interface import LogLine


class _Known(msgspec.Struct):
    event: str
    at: str = ""


class Read(NamedTuple):
    """A line in the one format, and when it was written (Unix seconds), if it says so."""

    text: str
    at: float | None


_decode = msgspec.json.Decoder(_Known).decode


def read_line(text: str) -> Read:
    """Read a line; one that is not in the format of ours is framed."""
    try:
        known = _decode(text)
    except msgspec.DecodeError:
        return Read(framed(text), None)
    try:
        return Read(text, datetime.fromisoformat(known.at).timestamp())
    except ValueError:
        return Read(text, None)


def in_order(lines: Sequence[LogLine]) -> list[LogLine]:
    """One log's lines, none earlier than the one before it: as written, whatever their clocks say."""
    found: list[LogLine] = []
    for line in lines:
        found.append(replace(line, at=max(line.at, found[-1].at)) if found else line)
    return found


def merged(logs: Iterable[Sequence[LogLine]]) -> Iterator[LogLine]:
    """Lines of several logs, each in order, by time; those of one log stay as they are."""
    return heapq.merge(*logs, key=attrgetter("at"))
