"""A run of ledger entries that left the database: gzipped JSON lines.

    {"format": "mc-ledger-archive", "version": 1, "region", "first_index", "last_index",
     "frontier_before", "frontier_after", "checkpoint"}      the first line
    one entry as `Entry.as_dict` spells it                   each further line, by index

A frontier (base64 of `Frontier.to_bytes`) is all that is needed to go on hashing: files and live
rows verify as one log. Nothing in the header is to be believed before the entries were hashed and
the roots held against signed checkpoints.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mc_contract.canonical import canonical_json, encode_base64
from mc_contract.errors import McError
from mc_contract.ledger.entry import Entry, EntryError, strict_base64
from mc_contract.ledger.merkle import Frontier, ProofError

FORMAT = "mc-ledger-archive"
VERSION = 1


class ArchiveError(McError):
    """A file is no ledger archive, or is damaged."""

    code = "ledger-archive"


@dataclass(frozen=True, slots=True)
class ArchiveHeader:
    """What the file says of itself."""

    region: str
    first_index: int
    last_index: int
    frontier_before: Frontier
    frontier_after: Frontier
    checkpoint: str

    def line(self) -> bytes:
        """The file's first line."""
        value = {
            "format": FORMAT,
            "version": VERSION,
            "region": self.region,
            "first_index": self.first_index,
            "last_index": self.last_index,
            "frontier_before": encode_base64(self.frontier_before.to_bytes()),
            "frontier_after": encode_base64(self.frontier_after.to_bytes()),
            "checkpoint": self.checkpoint,
        }
        return canonical_json(value) + b"\n"


def entry_line(entry: Entry) -> bytes:
    """An entry's line."""
    return canonical_json(entry.as_dict()) + b"\n"


def read_header(line: bytes) -> ArchiveHeader:
    """The file's first line.

    Raises:
        ArchiveError: it is not that of an archive, or does not hold together.
    """
    try:
        value = json.loads(line)
        if value["format"] != FORMAT or value["version"] != VERSION:
            raise ArchiveError("this is no ledger archive of a known version")
        header = ArchiveHeader(
            region=str(value["region"]),
            first_index=int(value["first_index"]),
            last_index=int(value["last_index"]),
            frontier_before=Frontier.from_bytes(strict_base64(value["frontier_before"])),
            frontier_after=Frontier.from_bytes(strict_base64(value["frontier_after"])),
            checkpoint=str(value["checkpoint"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError, EntryError, ProofError) as error:
        raise ArchiveError("the archive's first line is malformed") from error
    if (header.first_index, header.last_index + 1) != (
        header.frontier_before.size,
        header.frontier_after.size,
    ):
        raise ArchiveError("the archive's indices are not those of its frontiers")
    return header


def read_entries(lines: Iterable[bytes]) -> Iterator[Entry]:
    """The further lines; order and hashes are the reader's to check.

    Raises:
        ArchiveError: a line is no entry.
    """
    for number, line in enumerate(lines, 2):
        try:
            yield Entry.from_dict(json.loads(line))
        except (ValueError, RecursionError, EntryError) as error:
            raise ArchiveError(f"line {number} of the archive is no entry") from error
