"""Exports and single proofs: fetched, verified at once with the ledger's key, then written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mc_contract.ledger.checkpoint import Checkpoint, CheckpointError, LogKeys
from mc_contract.ledger.export import (
    MAX_EXPORT_BYTES,
    ExportError,
    ExportWriter,
    ProvenLeaf,
    VerifiedExport,
    region_of,
    verify_export,
    verify_leaf,
    verify_log_checkpoint,
    write_export,
)
from mc_ops.audit.client import AuditClient
from mc_ops.audit.witnesses import Demand, require_witnessed
from mc_ops.errors import Finding, UnusableInput

_AGO = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
INDEX = re.compile(r"[0-9]{1,18}")  # of an entry; what is longer may be an event's id
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_REST_BYTES = 4096  # more than what stands after the entries


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export holds: `entries` of a tenant (empty: single events) at a checkpoint."""

    checkpoint: Checkpoint
    region: str
    tenant: str
    since: str
    until: str
    entries: int


def moment(text: str, now: datetime) -> str:
    """A time as ISO 8601 with its zone, from that or from an age such as `7d` or `36h`.

    Raises:
        UnusableInput: it is neither.
    """
    try:
        if ago := _AGO.fullmatch(text):
            return (now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})).astimezone(UTC).isoformat()
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:  # before the calendar begins
        raise UnusableInput(
            f"{text!r} is no time",
            hint="such as 2026-01-31, 2026-01-31T12:00:00Z, 7d, 36h, 10m or 30s",
        ) from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).isoformat()


def export_tenant(
    client: AuditClient,
    key: LogKeys,
    write: Callable[[bytes], object],
    *,
    tenant: str,
    since: str,
    until: str,
    wanted: Demand | None = None,
) -> Exported:
    """Write a tenant's entries of a time, with proofs at one checkpoint; each is verified first.

    Args:
        write: Takes the file's bytes, piece by piece; without the last one it is no export.
        wanted: Take the newest checkpoint that these witnesses cosigned; entries after it are left out.

    Raises:
        Finding: what the service gives does not verify, or witnesses are wanted and have not cosigned.
        UnusableInput: the export would be larger than can be read; or as the client.
        CouldNotTell, NotAllowed: as the client.
    """
    at = _cosigned_at(client, key, wanted)
    note, found = client.of_tenant(tenant, since, until, at)
    checkpoint = _checkpoint(note, key)
    region = region_of(checkpoint)
    writer = ExportWriter(
        write, region=region, checkpoint=note, tenant=tenant, since=since, until=until
    )
    count, before = 0, -1
    for entry, proof in found:
        leaf = ProvenLeaf(entry.index, entry.leaf, proof)
        with _verifying():
            if leaf.index <= before:
                raise ExportError(f"entry {leaf.index} stands after entry {before}")
            verify_leaf(leaf, checkpoint, region=region, tenant=tenant)
        writer.add(leaf)
        count, before = count + 1, leaf.index
        if writer.bytes_written > MAX_EXPORT_BYTES - _REST_BYTES:
            raise UnusableInput(
                f"the export would be larger than {MAX_EXPORT_BYTES} bytes, which is the most that "
                f"can be read again: {count} entries fit",
                hint="export a shorter time: --since, --until",
            )
    writer.end()
    return Exported(checkpoint, region, tenant, since, until, count)


def _cosigned_at(
    client: AuditClient, key: LogKeys, wanted: Demand | None
) -> tuple[int, str] | None:
    if wanted is None:
        return None
    found = require_witnessed(client, key, wanted)
    return found.checkpoint.size, found.note


def prove(
    client: AuditClient, key: LogKeys, which: str, wanted: Demand | None = None
) -> tuple[bytes, VerifiedExport]:
    """One entry's proof, by its index or its event's id; arguments and errors as `export_tenant`.

    Raises:
        UnusableInput: there is no such entry, or it has been archived.
    """
    asked: dict[str, str | int] = (
        {"index": int(which)} if INDEX.fullmatch(which) else {"event_id": which}
    )
    at = _cosigned_at(client, key, wanted)
    if at is not None:
        asked["size"] = at[0]
    index, note, proof = client.inclusion(asked)
    if at is not None:
        note = at[1]
    entry = next(client.entries(index), None)
    if entry is None or entry.index != index:
        for archive in client.archives():
            if archive.first_index <= index <= archive.last_index:
                raise UnusableInput(
                    f"entry {index} has been archived, in {archive.file}",
                    hint="mcctl audit verify --archive DIR reads the archives",
                )
        raise Finding(f"entry {index} is in the log, but its row is missing")
    region = region_of(_checkpoint(note, key))
    raw = write_export(
        region=region, checkpoint=note, leaves=[ProvenLeaf(index, entry.leaf, proof)]
    )
    with _verifying():
        return raw, verify_export(raw, key)


def _checkpoint(note: str, key: LogKeys) -> Checkpoint:
    try:
        return verify_log_checkpoint(note, key)
    except CheckpointError as error:
        raise Finding(f"the service's checkpoint does not verify: {error.message}") from error


@contextmanager
def _verifying() -> Iterator[None]:
    try:
        yield
    except ExportError as error:
        raise Finding(
            f"what the service gives does not verify: {error.message}",
            hint="mcctl audit verify names what was changed",
        ) from error
