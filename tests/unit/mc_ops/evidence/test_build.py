"""Putting a pack together: its release, its file, and taking it apart."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mc_ops.errors import UnusableInput
from mc_ops.evidence import commit_of, release_name, write_pack


def _git(folder: Path, *args: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *args], cwd=folder, check=True, capture_output=True)


def test_commit_is_told_with_uncommitted_changes(tmp_path: Path) -> None:
    """The commit is the full hash, marked when the tree differs, and None without one."""
    _git(tmp_path, "init", "-q")
    assert commit_of(tmp_path) is None
    (tmp_path / "a").write_text("1")
    _git(tmp_path, "add", "a")
    _git(tmp_path, "commit", "-qm", "one")
    _git(tmp_path, "tag", "-am", "a tag is no commit", "v1")
    clean = commit_of(tmp_path)
    assert clean is not None
    assert len(clean) == 40
    (tmp_path / "a").write_text("2")
    assert commit_of(tmp_path) == f"{clean}-dirty"
    assert commit_of(tmp_path / "absent") is None


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
