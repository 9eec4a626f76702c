"""Extracting goes where it was told to go, whatever somebody put there before."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.unit.mc_contract.test_evidence_verify import ARTIFACTS, GOOD

from mc_ops.errors import UnusableInput
from mc_ops.evidence import extract

FILES = ("pae.bin", "signature.der", "statement.json", "artifacts/notes.txt")


def test_files_are_written_and_written_again(tmp_path: Path) -> None:
    """The folders are made; a second time replaces, and leaves nothing beside."""
    for _ in range(2):
        written = extract(GOOD, tmp_path / "a" / "b")
        assert {path.relative_to(tmp_path / "a" / "b").as_posix() for path in written} >= set(FILES)
    assert (tmp_path / "a" / "b" / "artifacts" / "notes.txt").read_bytes() == b"one\ntwo\n"
    found = {path.name for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert found == {*(Path(name).name for name in FILES), *ARTIFACTS}


def test_a_relative_folder_is_below_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with dots in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x").mkdir()
    extract(GOOD, Path("x/../y"))
    assert (tmp_path / "y" / "pae.bin").is_file()


@pytest.mark.parametrize("dangling", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_a_link_in_place_of_a_file_is_refused(tmp_path: Path, name: str, dangling: bool) -> None:
    """What it leads to is neither written nor made."""
    victim = tmp_path / "victim"
    if not dangling:
        victim.write_text("mine")
    place = tmp_path / "out" / name
    place.parent.mkdir(parents=True)
    place.symlink_to(victim)
    with pytest.raises(UnusableInput, match="symbolic link"):
        extract(GOOD, tmp_path / "out")
    assert place.is_symlink()
    assert victim.exists() is not dangling
    assert dangling or victim.read_text() == "mine"


@pytest.mark.parametrize("where", ["artifacts", ".", "..", "below"])
def test_a_link_in_place_of_any_folder_on_the_way_is_refused(tmp_path: Path, where: str) -> None:
    """The folder itself, one above it, and one below it."""
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "out").mkdir(parents=True)
    folder = tmp_path / "top" / "out"
    if where == "artifacts":
        folder.mkdir(parents=True)
        (folder / "artifacts").symlink_to(elsewhere)
    elif where == "..":
        (tmp_path / "top").symlink_to(elsewhere)
    else:
        (tmp_path / "top").mkdir()
        folder.symlink_to(elsewhere)
    target = folder / "deeper" if where == "below" else folder
    with pytest.raises(UnusableInput, match="symbolic link, and none is followed"):
        extract(GOOD, target)
    assert not [path for path in elsewhere.rglob("*") if path.is_file()]


def test_a_hard_link_is_replaced_and_not_written_through(tmp_path: Path) -> None:
    """The other name of that file keeps what it had."""
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "out").mkdir()
    os.link(victim, tmp_path / "out" / "pae.bin")
    extract(GOOD, tmp_path / "out")
    assert victim.read_text() == "mine"
    assert (tmp_path / "out" / "pae.bin").read_bytes().startswith(b"DSSEv1 ")
