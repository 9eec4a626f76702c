"""Put a pack together and write it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from mc_contract.evidence import PackError, PrivateKey, Release, Statement, build_pack
from mc_contract.evidence.binding import check_binding
from mc_contract.evidence.strict import PACK_LIMITS
from mc_ops.errors import CouldNotTell, Finding, UnusableInput
from mc_ops.evidence.parts import Part
from mc_ops.files import write_atomically


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

    Args:
        release: What it is named for; commit and version are replaced by those of what ran, where
            that was recorded.

    Raises:
        CouldNotTell: no source gave anything.
        Finding: the parts are not of one thing, or not of the one that it is named for.
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
    release = _bound(whole, release)
    statement = Statement(
        {}, release, created_at, environment, run_id, tuple(whole.claims), tuple(whole.controls)
    )
    try:
        raw = build_pack(statement, whole.artifacts, key)
    except PackError as cause:
        raise UnusableInput(f"the pack can't be built: {cause.message}") from cause
    return Built(raw, statement, whole.artifacts)


def _bound(whole: Part, release: Release) -> Release:
    """The release as it ran; adds the control that says how that is known."""
    told = [(claim, claim.value) for claim in whole.claims]
    found = check_binding(replace(release, commit=None), told, whole.artifacts)
    if found.reasons:
        raise Finding(
            f"nothing is signed: {'; '.join(found.reasons)}",
            hint="pack what ran under its own name, while it serves; or run it again",
        )
    if found.unbound:
        whole.declared("binding", f"not bound to what ran: {'; '.join(found.unbound)}")
    else:
        names = [claim.id for claim in whole.claims if claim.fn.startswith("running.")]
        whole.measured("binding", "what was measured, what serves and the name agree", *names)
    commits, versions = ({one[name] for one in found.subject} for name in ("commit", "version"))
    [commit] = commits if len(commits) == 1 else [None]
    [version] = versions if len(versions) == 1 else [None]
    return replace(release, commit=commit, version=version or release.version)


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
        write_atomically(path, raw, 0o644, replace=replace)  # for reading; it holds no secrets
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
