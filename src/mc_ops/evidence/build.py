"""Put a pack together and write it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mc_contract.evidence import PackError, PrivateKey, Release, Statement, build_pack
from mc_contract.evidence.strict import PACK_LIMITS
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.evidence.parts import Part


@dataclass(frozen=True, slots=True)
class Built:
    """A pack's bytes, and what it says."""

    raw: bytes
    statement: Statement
    artifacts: dict[str, bytes]


def build(
    parts: Iterable[Part],
    *,
    release: Release,
    created_at: datetime,
    environment: str,
    run_id: str,
    key: PrivateKey,
) -> Built:
    """The signed pack of all parts.

    Raises:
        CouldNotTell: no source gave anything.
        UnusableInput: the parts don't make a pack that would verify.
    """
    whole = Part()
    for part in parts:
        whole.merge(part)
    if not whole.artifacts:
        reasons = "; ".join(control.reason for control in whole.controls)
        raise CouldNotTell(
            f"there is nothing to pack: {reasons}",
            hint="run a canary first, or name one: --canary DIR",
        )
    statement = Statement(
        {}, release, created_at, environment, run_id, tuple(whole.claims), tuple(whole.controls)
    )
    try:
        raw = build_pack(statement, whole.artifacts, key)
    except PackError as cause:
        raise UnusableInput(f"the pack can't be built: {cause.message}") from cause
    return Built(raw, statement, whole.artifacts)


def check_target(path: Path, *, replace: bool) -> None:
    """Refuse a file that must not be written, before anything is gathered or signed.

    Args:
        path: Where the pack is to go.
        replace: Whether a pack that is there already may be replaced.

    Raises:
        UnusableInput: there is something already, or no folder to make the last folder in.
    """
    if path.is_dir():
        raise UnusableInput(f"{path} is a folder", hint="name the file: dist/evidence-RELEASE.json")
    if path.exists() and not replace:
        raise UnusableInput(
            f"{path} is there already, and evidence is not overwritten",
            hint="give another --out, or replace it by --force",
        )
    if path.parent.exists() and not path.parent.is_dir():
        raise UnusableInput(f"{path.parent} is no folder")
    if not path.parent.exists() and not path.parent.parent.is_dir():
        raise UnusableInput(
            f"there is no folder {path.parent.parent}, only the last folder is made",
            hint=f"is the path right? mkdir -p {path.parent}",
        )


def write_pack(path: Path, raw: bytes, *, replace: bool = False) -> None:
    """Write the file whole or not at all; the folder it is in is made, none above that.

    Raises:
        UnusableInput: as for `check_target`.
        CouldNotTell: it can't be written.
    """
    check_target(path, replace=replace)
    try:
        path.parent.mkdir(exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())
            Path(temporary).chmod(0o644)  # evidence is for reading; it holds no secrets
            if replace:
                Path(temporary).replace(path)
            else:
                os.link(temporary, path)  # unlike a rename, this never replaces what came first
                Path(temporary).unlink()
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except FileExistsError as cause:
        raise UnusableInput(f"{path} was written meanwhile, and is not overwritten") from cause
    except OSError as cause:
        raise CouldNotTell(f"{path} can't be written: {cause.strerror}") from cause


def read_file(path: Path) -> bytes:
    """The file's bytes, one more than a pack may have at most.

    Raises:
        UnusableInput: it can't be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(PACK_LIMITS.max_bytes + 1)
    except OSError as cause:
        raise UnusableInput(f"{path} can't be read: {cause.strerror}") from cause


def release_name(out: Path) -> str:
    """`evidence-v1.2.json` is about `v1.2`; any other file is about its own name."""
    return out.name.removesuffix(".json").removeprefix("evidence-") or out.name
