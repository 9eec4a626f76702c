"""Files of an auditor: the ledger's public key, saved checkpoints, archives, exports."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path

from mc_contract.ledger.archive import ArchiveError, read_entries, read_header
from mc_contract.ledger.checkpoint import (
    MAX_NOTE_BYTES,
    Checkpoint,
    CheckpointError,
    LogKeys,
    read_public_keys,
)
from mc_contract.ledger.entry import MAX_LINE_BYTES, Entry
from mc_contract.ledger.export import verify_log_checkpoint
from mc_ops.audit.client import ArchiveRow
from mc_ops.audit.log_pass import Findings
from mc_ops.errors import UnusableInput

_LONGEST_KEY = 64 * 1024  # bytes; an ed25519 key has 113 as PEM


def load_public_key(path: Path) -> LogKeys:
    """The ledger's public key, PEM; after a rotation several of them.

    Raises:
        UnusableInput: the file is not there, or holds no ed25519 public key.
    """
    try:
        with path.open("rb") as file:  # a device may have no end
            return read_public_keys(file.read(_LONGEST_KEY))
    except OSError as error:
        raise UnusableInput(
            f"the ledger's public key {path} can't be read: {error.strerror}",
            hint="--key FILE; on this machine it is MC_HOME/trust/ledger.pub",
        ) from error
    except CheckpointError as error:
        raise UnusableInput(f"{path} holds no public key of a ledger: {error.message}") from error


def load_checkpoint(path: Path, key: LogKeys) -> Checkpoint:
    """A checkpoint that was saved earlier.

    Raises:
        UnusableInput: it is not there, or `key` did not sign it.
    """
    try:
        with path.open("rb") as file:
            note = file.read(MAX_NOTE_BYTES + 1).decode()
        return verify_log_checkpoint(note, key)
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableInput(f"{path} can't be read: {type(error).__name__}") from error
    except CheckpointError as error:
        raise UnusableInput(
            f"{path} is no checkpoint that the ledger's key signed: {error.message}"
        ) from error


def archived_entries(
    folder: Path, archives: list[ArchiveRow], region: str, findings: Findings
) -> Iterator[Entry]:
    """The entries of the files, in the order of the service's index of archives.

    Damage is a finding, and what a damaged file does not give shows as missing entries.
    """
    for archive in archives:
        path = folder / Path(archive.file).name
        if not path.is_file():
            findings.add("archive-missing", f"{path} is missing", archive.first_index)
            continue
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != archive.sha256:
            findings.add(
                "archive-changed",
                f"{path.name} is not the file that was archived: sha256 {digest[:16]}..., the "
                f"index says {archive.sha256[:16]}...",
                archive.first_index,
            )
        try:
            with gzip.open(path) as lines:
                if read_header(lines.readline(MAX_LINE_BYTES)).region != region:
                    raise ArchiveError("the archive is another region's")
                yield from read_entries(_lines(lines))
        except (OSError, EOFError, zlib.error, ArchiveError) as error:
            reason = error.message if isinstance(error, ArchiveError) else type(error).__name__
            findings.add("archive-changed", f"{path.name}: {reason}", archive.first_index)


def _lines(file: gzip.GzipFile) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE_BYTES):
        yield line
