"""Reading sample files that strangers name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mc_ops.canary.files import judge_files, read_samples
from mc_ops.errors import UnusableInput
from mc_ops.files import read_limited


def test_samples_of_no_regular_file_are_refused_at_once(tmp_path: Path) -> None:
    """A device has no end and a pipe may have no writer: neither is ever read."""
    pipe = tmp_path / "pipe.lat"
    os.mkfifo(pipe)
    for path in (Path("/dev/zero"), pipe, tmp_path):
        with pytest.raises(UnusableInput, match="not a regular file") as caught:
            read_samples(path)
        assert str(path) in caught.value.message


def test_samples_beyond_the_limit_are_refused_with_size_and_limit(tmp_path: Path) -> None:
    """A file too large is refused unread; the error names it, its size and the limit."""
    large = tmp_path / "large.lat"
    with large.open("wb") as file:
        file.truncate(256 * 1024 * 1024 + 1)  # sparse: takes no room
    good = tmp_path / "good.lat"
    good.write_text("0.1\n" * 10)
    with pytest.raises(UnusableInput) as caught:
        judge_files(good, large, margin=0.05, planned_pairs=None)
    assert str(large) in caught.value.message
    assert "268435457 bytes" in caught.value.message
    assert "268435456" in caught.value.message


def test_samples_that_grow_while_they_are_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit holds for what is read, not only for what the file system says."""
    growing = tmp_path / "growing.lat"
    growing.write_text("0.1\n" * 10)
    real = os.fstat

    def small(descriptor: int) -> os.stat_result:
        found = list(real(descriptor))
        found[6] = 0
        return os.stat_result(found)

    monkeypatch.setattr(os, "fstat", small)
    with pytest.raises(UnusableInput, match="limit is 39 bytes"):
        read_limited(growing, 39)


def test_samples_behind_a_link_are_read(tmp_path: Path) -> None:
    """A link to a regular file is one."""
    (tmp_path / "a.lat").write_text("0.1\n" * 3)
    (tmp_path / "b.lat").symlink_to(tmp_path / "a.lat")
    assert read_samples(tmp_path / "b.lat").n == 3
