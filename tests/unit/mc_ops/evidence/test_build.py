"""Putting a pack together: its release, its file, and taking it apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from mc_ops.errors import UnusableInput
from mc_ops.evidence import release_name, write_pack


@pytest.mark.parametrize(
    ("out", "release"),
    [
        ("dist/evidence-v1.2.json", "v1.2"),
        ("evidence-2026.01.json", "2026.01"),
        ("pack.json", "pack"),
        ("evidence-.json", "evidence-.json"),
    ],
)
def test_release_is_named_by_the_file(out: str, release: str) -> None:
    """evidence-NAME.json is about NAME."""
    assert release_name(Path(out)) == release


def test_file_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    """The file is replaced whole; a failure is told and leaves nothing behind."""
    out = tmp_path / "deep" / "evidence-x.json"
    write_pack(out, b"one")
    with pytest.raises(UnusableInput, match="not overwritten"):
        write_pack(out, b"other")
    assert out.read_bytes() == b"one"
    write_pack(out, b"two", replace=True)
    assert out.read_bytes() == b"two"
    with pytest.raises(UnusableInput, match="is no folder"):
        write_pack(out / "below", b"three")
    assert out.read_bytes() == b"two"
    assert [path.name for path in out.parent.iterdir()] == ["evidence-x.json"]


def test_file_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    """The last folder is made, none above it: a mistyped path makes no tree."""
    with pytest.raises(UnusableInput, match="there is no folder"):
        write_pack(tmp_path / "a" / "b" / "evidence-x.json", b"one")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UnusableInput, match="is a folder"):
        write_pack(tmp_path, b"one", replace=True)
