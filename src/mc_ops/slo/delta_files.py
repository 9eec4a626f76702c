"""Deltas as files: read with suspicion, written whole or not at all, and none of them lost."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.files import read_limited, write_atomically, writing

KIND = "operations-delta"
_MOST_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Previous:
    """An earlier delta: its file, its digest and what it told."""

    path: Path
    sha256: str
    at: datetime
    told: Mapping[str, Any]

    def unit(self, name: str) -> str | None:
        """In which unit it told a figure; None if it does not say."""
        figures = self.told.get("figures")
        figure = figures.get(name) if isinstance(figures, dict) else None
        unit = figure.get("unit") if isinstance(figure, dict) else None
        return unit if isinstance(unit, str) else None


def read(path: Path) -> Previous:
    """Read an earlier delta.

    Raises:
        UnusableInput: it cannot be read, or is no delta of ours.
    """
    raw = read_limited(path, _MOST_BYTES)
    try:
        told = json.loads(raw)
        at = datetime.fromisoformat(told["timestamp"])
        usable = (
            told["kind"] == KIND
            and isinstance(told["metrics"], dict)
            and isinstance(told["period"], str)
            and at.tzinfo is not None
        )
        at = at.astimezone(UTC)  # a year of 1 or 9999 may have no time there
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError) as error:
        raise UnusableInput(
            f"{path} is no operations delta", hint="one that mcctl delta wrote"
        ) from error
    if not usable:
        raise UnusableInput(f"{path} is no operations delta", hint="one that mcctl delta wrote")
    return Previous(path, hashlib.sha256(raw).hexdigest(), at, told)


def newest_before(folder: Path, now: datetime, period: str) -> Previous | None:
    """The newest delta of a folder of that period, not of the future; others are passed over."""
    found = []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        with suppress(UnusableInput):
            found.append(read(path))
    past = [one for one in found if one.at <= now and one.told["period"] == period]
    return max(past, key=lambda one: one.at, default=None)


def check_target(out: Path, *, force: bool) -> None:
    """Refuse early what `write` would refuse.

    Raises:
        UnusableInput: something else than a delta lies there, and `force` is false.
        CouldNotTell: the folder cannot be made.
    """
    if out.suffix != ".json":
        raise UnusableInput(f"{out.name} does not end in .json: the Markdown is put beside it")
    for path in (out, out.with_suffix(".md")):
        if path.exists() and not path.is_file():
            raise UnusableInput(f"{path} is not a regular file")
    if out.exists() and not force:
        try:
            read(out)
        except UnusableInput as error:
            raise UnusableInput(error.message, hint="another --out, or --force") from error
    elif out.with_suffix(".md").exists() and not force:
        raise UnusableInput(
            f"{out.with_suffix('.md')} is there, and no delta beside it: it is somebody else's",
            hint="another --out, or --force",
        )
    with writing(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)


def write(out: Path, raw: bytes, text: str) -> None:
    """Write the JSON, and the Markdown beside it, each whole or not at all.

    Raises:
        CouldNotTell: the folder cannot be written.
    """
    with writing(out.parent):
        write_atomically(
            out.with_suffix(".md"), text.encode(errors="replace"), 0o644
        )  # a label may be no text
        write_atomically(out, raw, 0o644)


def keep(out: Path) -> Path | None:
    """Copy a delta that lies at `out`, and its Markdown, to a name with its own time.

    Whoever runs this every week to one path loses none.

    Returns:
        Where the copy is; None if no delta lies there.

    Raises:
        CouldNotTell: the folder cannot be written.
    """
    with writing(out.parent):
        return _kept(out)


def _kept(out: Path) -> Path | None:
    try:
        earlier = read(out)
    except UnusableInput:  # nothing there, or what --force gives up
        return None
    stem = f"{out.stem}.{earlier.at:%Y%m%dT%H%M%SZ}"
    kept = out.with_name(f"{stem}.json")
    number = 1
    while kept.exists() and kept.read_bytes() != out.read_bytes():
        number += 1
        kept = out.with_name(f"{stem}.{number}.json")
    if not kept.exists():
        write_atomically(kept, out.read_bytes(), 0o644)
    markdown = out.with_suffix(".md")
    if markdown.is_file():
        write_atomically(kept.with_suffix(".md"), markdown.read_bytes(), 0o644)
    return kept


def encoded(told: Mapping[str, Any]) -> bytes:
    """The file's bytes, whose sha256 is told in Slack.

    Raises:
        CouldNotTell: a figure is beyond all numbers.
    """
    try:
        return (json.dumps(told, indent=2, ensure_ascii=True, allow_nan=False) + "\n").encode()
    except ValueError as error:
        raise CouldNotTell("a figure of the source is beyond all numbers") from error
