"""What is common to the operations side's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mc_ops.errors import UnusableInput
from mc_ops.files import lock, read_limited


def test_a_lock_is_one_holders_until_its_file_is_closed(tmp_path: Path) -> None:
    """Another one waits in vain, and gets it once the first is gone."""
    path = tmp_path / "lock"
    with path.open("w") as second:
        with path.open("w") as first:
            assert lock(first, 0)
            assert not lock(second, 0.05)
        assert lock(second, 0)


@pytest.mark.parametrize("name", ["absent", ".", "pipe"])
def test_what_cannot_be_read_is_refused_with_a_remedy(tmp_path: Path, name: str) -> None:
    """A file that is not there, a folder, and a pipe, which is not waited for."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UnusableInput) as refused:
        read_limited(tmp_path / name)
    assert refused.value.hint == "name a file that is there and that you may read"
