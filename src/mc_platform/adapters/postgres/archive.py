"""Retention: old partitions of the ledger leave as files, with what proves them.

Runs with an administrator's URL, as `migrate` does; the service's role could not. A partition goes
when its whole month is old enough, every sink that ever took events has it (the database's cursors
tell, not this process's settings), its last entry's tile is kept, and a signed checkpoint covers it. It is hashed first and held against the signed checkpoints
in its range, so what was tampered with stays where it can be looked at. The file is written,
synced, read back and hashed again before the rows are dropped; if anything fails, they stay.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any

from mc_contract.ledger.archive import (
    ArchiveError,
    ArchiveHeader,
    entry_line,
    read_entries,
    read_header,
)
from mc_contract.ledger.checkpoint import CheckpointError, parse_checkpoint
from mc_contract.ledger.entry import MAX_LINE_BYTES, Entry
from mc_contract.ledger.epochs import file_name
from mc_contract.ledger.merkle import Frontier
from mc_contract.ledger.tiles import TILE_WIDTH, split_hashes
from mc_platform.adapters.audit_file import sync_folder
from mc_platform.adapters.postgres.migrate import administrator
from mc_platform.adapters.postgres.pools import wrapped
from mc_platform.adapters.postgres.rows import ENTRY_COLUMNS
from mc_platform.errors import LedgerDamaged, Misconfigured, Unavailable

_STAND_IN = "file"  # holds what the SIEM refuses for a while, and has no more than that
_LOCK = 7_219_005_313_403  # one archiver at a time
_PAGE = 2000
_REGION = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}(/e[0-9]{1,6})?$")
_BOUNDS = re.compile(r"FROM \('(.+?)'\) TO \('(.+?)'\)")
_PARTITIONS = """
SELECT c.relname AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds
FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'mc.ledger_event'::regclass AND c.relname <> 'ledger_event_default'
"""
# The default partition's rows go where they belong first: an archive is one run of indices.
_SORT_OUT = """
SELECT mc.make_ledger_partition(month) FROM (
    SELECT DISTINCT date_trunc('month', recorded_at, 'UTC') AS month FROM mc.ledger_event_default
) AS months
"""


@dataclass(frozen=True, slots=True)
class _Partition:
    name: str
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class _Run:
    """One region's entries of one partition, checked; `file` and `sha256` once they are written."""

    partition: str
    header: ArchiveHeader
    delivered_to: tuple[str, ...]
    file: str = ""
    sha256: bytes = b""

    @property
    def count(self) -> int:
        return self.header.last_index - self.header.first_index + 1


class _NotYet(Exception):
    """The partition can't go yet, for the reason given."""


@wrapped("the ledger cannot be archived")
async def archive_ledger(
    *,
    admin_url: str,
    older_than_days: int,
    folder: Path,
    delivery_configured: bool,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Move out every partition that may go, the oldest first.

    Args:
        admin_url: An administrator's URL of the service's database.
        older_than_days: A partition goes when its last moment is that long ago.
        folder: Where the files are written; made if it is not there.
        delivery_configured: Whether a sink is configured here, as far as this process can see; a
            partition stays then until some sink has begun.

    Returns:
        `archived`, one object for each file, with the sinks that have it all (`delivered_to`);
        `kept`, the oldest partition that stays and why
        (later ones wait for it), or None if none is left that is old enough.

    Raises:
        LedgerDamaged: an entry or a checkpoint does not fit; the partition stays.
        Misconfigured: the folder or the URL can't be used.
        Unavailable: the database does not answer, or is too busy.
    """
    _prepare(folder)
    before = (now or datetime.now(UTC)) - timedelta(days=older_than_days)
    async with administrator(admin_url) as connection:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        archiver = _Archiver(connection, folder, delivery_configured=delivery_configured)
        return await archiver.archive(before)


class _Archiver:
    def __init__(self, connection: Any, folder: Path, *, delivery_configured: bool) -> None:
        self._connection = connection
        self._folder = folder
        self._delivery_configured = delivery_configured

    async def archive(self, before: datetime) -> dict[str, Any]:
        await self._connection.execute(_SORT_OUT)
        archived: list[dict[str, Any]] = []
        kept = None
        for partition in await self._partitions():
            if partition.ends_at > before:
                break
            try:
                archived += await self._move_out(partition)
            except _NotYet as reason:
                kept = {"partition": partition.name, "reason": str(reason)}
                break
        return {"archived": archived, "kept": kept}

    async def _partitions(self) -> list[_Partition]:
        found = []
        for row in await self._connection.fetch(_PARTITIONS):
            bounds = _BOUNDS.search(row["bounds"])
            if bounds is None:
                raise LedgerDamaged(f"partition {row['name']} has bounds that are not ours")
            found.append(_Partition(row["name"], datetime.fromisoformat(bounds[2])))
        return sorted(found, key=lambda partition: partition.ends_at)

    async def _move_out(self, partition: _Partition) -> list[dict[str, Any]]:
        regions = await self._connection.fetch(
            # A peer's entries leave with the partition: the peer archives them itself
            f'SELECT DISTINCT region FROM mc."{partition.name}" '  # noqa: S608
            "WHERE region IN (SELECT region FROM mc.ledger_head) ORDER BY region"
        )
        runs = [await self._checked(partition, row["region"]) for row in regions]
        written = [await self._written(run) for run in runs]
        await self._drop(partition, written)
        return [
            {
                "partition": partition.name,
                "region": run.header.region,
                "first_index": run.header.first_index,
                "last_index": run.header.last_index,
                "file": run.file,
                "sha256": run.sha256.hex(),
                "delivered_to": list(run.delivered_to),
            }
            for run in written
        ]

    # -- is it whole, and may it go ------------------------------------------------------------

    async def _checked(self, partition: _Partition, region: str) -> _Run:
        if not _REGION.match(region):
            raise LedgerDamaged(f"region {region!r} cannot name a file")
        before = await self._archived_frontier(region)
        after = await self._hashed(partition.name, region, before)
        delivered_to = await self._require_delivered(region, after.size)
        await self._require_tiles(region, after.size)
        note = await self._connection.fetchval(
            "SELECT note FROM mc.ledger_checkpoint WHERE region = $1 AND size >= $2 "
            "ORDER BY size LIMIT 1",
            region,
            after.size,
        )
        if note is None:
            raise _NotYet(f"no stored checkpoint covers entry {after.size - 1}")
        return _Run(
            partition.name,
            ArchiveHeader(region, before.size, after.size - 1, before, after, note),
            delivered_to,
        )

    async def _archived_frontier(self, region: str) -> Frontier:
        stored = await self._connection.fetchval(
            "SELECT frontier_after FROM mc.ledger_archive WHERE region = $1 "
            "ORDER BY first_index DESC LIMIT 1",
            region,
        )
        return Frontier() if stored is None else Frontier.from_bytes(stored)

    async def _hashed(self, name: str, region: str, frontier: Frontier) -> Frontier:
        """The frontier after the partition's entries, each of which fits what is known of it."""
        signed = _SignedRoots(self._connection, region, frontier.size)
        begins = frontier.size
        hashes: list[bytes] = []
        async for entry in self._entries(name, region):
            if entry.index != frontier.size:
                raise LedgerDamaged(f"expected entry {frontier.size}, found entry {entry.index}")
            wrong = entry.disagreements(region)
            if wrong or entry.leaf_hash() != entry.recorded_hash:
                raise LedgerDamaged(f"entry {entry.index} disagrees in {wrong or 'its leaf hash'}")
            frontier = frontier.append(entry.recorded_hash)
            hashes.append(entry.recorded_hash)
            root = await signed.at(frontier.size)
            if root is not None and root != frontier.root():
                raise LedgerDamaged(f"the stored checkpoint of size {frontier.size} does not fit")
            if frontier.size % TILE_WIDTH == 0:
                await self._compare_tile(region, frontier.size // TILE_WIDTH - 1, hashes, begins)
                hashes.clear()
        return frontier

    async def _compare_tile(self, region: str, tile: int, hashes: list[bytes], begins: int) -> None:
        stored = await self._connection.fetchval(
            "SELECT hashes FROM mc.ledger_tile WHERE region = $1 AND level = 0 AND index = $2",
            region,
            tile,
        )
        if stored is None:
            raise _NotYet(f"tile 0/{tile} is not kept yet")
        skipped = max(0, begins - tile * TILE_WIDTH)  # those are in the archive before this one
        if split_hashes(stored)[skipped:] != hashes:
            raise LedgerDamaged(f"tile 0/{tile} does not fit its entries")

    async def _require_delivered(self, region: str, size: int) -> tuple[str, ...]:
        """The sinks that must have all of it, and have."""
        rows = await self._connection.fetch(
            "SELECT sink, next_index FROM mc.delivery_cursor WHERE region = $1 ORDER BY sink",
            region,
        )
        if not rows and self._delivery_configured:
            raise _NotYet(
                f"no sink of {region} has begun, and AUDIT_SIEM_URL or AUDIT_FILE_ENABLED is set; "
                "entries that nobody is to get leave only if both are unset"
            )
        needed = [row for row in rows if row["sink"] != _STAND_IN] or rows
        for row in needed:
            if row["next_index"] < size:
                raise _NotYet(
                    f"sink {row['sink']} of {region} has {row['next_index']} of {size} entries"
                )
        return tuple(row["sink"] for row in needed)

    async def _require_tiles(self, region: str, size: int) -> None:
        last = (size - 1) // TILE_WIDTH
        kept = await self._connection.fetchval(
            "SELECT true FROM mc.ledger_tile WHERE region = $1 AND level = 0 AND index = $2",
            region,
            last,
        )
        if not kept:
            raise _NotYet(f"tile 0/{last} is not full yet: its entries are needed for proofs")

    # -- the file ------------------------------------------------------------------------------

    async def _written(self, run: _Run) -> _Run:
        header = run.header
        name = f"ledger-{file_name(header.region)}-{header.first_index:012}-{header.last_index:012}.jsonl.gz"
        path = self._folder / name
        partial = path.with_suffix(".partial")
        with _create(partial) as file, gzip.GzipFile("", "wb", 6, file, mtime=0) as lines:
            lines.write(header.line())
            async for entry in self._entries(run.partition, header.region):
                lines.write(entry_line(entry))
        _settle(partial, path)
        _read_back(path, header)
        return replace(run, file=name, sha256=_sha256(path))

    async def _entries(self, name: str, region: str) -> AsyncIterator[Entry]:
        after = -1
        while True:
            rows = await self._connection.fetch(
                f'SELECT {ENTRY_COLUMNS} FROM mc."{name}" AS e '  # noqa: S608
                "WHERE region = $1 AND index > $2 "
                "ORDER BY index LIMIT $3",
                region,
                after,
                _PAGE,
            )
            for row in rows:
                yield Entry(**row)
            if len(rows) < _PAGE:
                return
            after = rows[-1]["index"]

    # -- and away ------------------------------------------------------------------------------

    async def _drop(self, partition: _Partition, runs: Sequence[_Run]) -> None:
        async with self._connection.transaction():
            await self._connection.execute("SET LOCAL lock_timeout = '3s'")
            await self._connection.execute("LOCK TABLE mc.ledger_event IN ACCESS EXCLUSIVE MODE")
            count = await self._connection.fetchval(
                f'SELECT count(*) FROM mc."{partition.name}"'  # noqa: S608
            )
            if count != sum(run.count for run in runs):
                raise Unavailable(f"partition {partition.name} changed while it was archived")
            for run in runs:
                await self._connection.execute(
                    "INSERT INTO mc.ledger_archive (region, first_index, last_index, partition, "
                    "file, sha256, frontier_before, frontier_after, checkpoint) "
                    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                    run.header.region,
                    run.header.first_index,
                    run.header.last_index,
                    partition.name,
                    run.file,
                    run.sha256,
                    run.header.frontier_before.to_bytes(),
                    run.header.frontier_after.to_bytes(),
                    run.header.checkpoint,
                )
            await self._connection.execute(
                f'ALTER TABLE mc.ledger_event DETACH PARTITION mc."{partition.name}"'
            )
            await self._connection.execute(f'DROP TABLE mc."{partition.name}"')


class _SignedRoots:
    """The roots of stored checkpoints, asked for by growing size; a page at a time is held."""

    def __init__(self, connection: Any, region: str, size: int) -> None:
        self._connection = connection
        self._region = region
        self._known = size
        self._page: dict[int, bytes] = {}
        self._ended = False

    async def at(self, size: int) -> bytes | None:
        """The root signed for `size`, if one was stored."""
        while size > self._known and not self._ended:
            rows = await self._connection.fetch(
                "SELECT size, note FROM mc.ledger_checkpoint WHERE region = $1 AND size > $2 "
                "ORDER BY size LIMIT $3",
                self._region,
                self._known,
                _PAGE,
            )
            self._page = {row["size"]: _root_of(row["note"]) for row in rows}
            self._ended = len(rows) < _PAGE
            self._known = rows[-1]["size"] if rows else self._known
        return self._page.get(size)


def _root_of(note: str) -> bytes:
    try:
        return parse_checkpoint(note.rpartition("\n\n")[0] + "\n").root
    except CheckpointError as error:
        raise LedgerDamaged(f"a stored checkpoint is malformed: {error.message}") from error


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(f"{folder} cannot be made: {error.strerror}") from error


def _create(path: Path) -> IO[bytes]:
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    except OSError as error:
        raise Misconfigured(f"{path} cannot be written: {error.strerror}") from error


def _settle(partial: Path, path: Path) -> None:
    """Make the written file durable, under its own name."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)


def _read_back(path: Path, wanted: ArchiveHeader) -> None:
    """Hash the file's entries from what the disk gives, up to the frontier that was computed."""
    try:
        with gzip.open(path) as lines:
            header = read_header(lines.readline(MAX_LINE_BYTES))
            frontier = header.frontier_before
            for entry in read_entries(lines):
                frontier = frontier.append(entry.leaf_hash())
    except (OSError, EOFError, ArchiveError) as error:
        raise Unavailable(f"{path} cannot be read back: {type(error).__name__}") from error
    if header != wanted or frontier != wanted.frontier_after:
        raise Unavailable(f"{path} does not hold what was written to it; nothing was dropped")


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
