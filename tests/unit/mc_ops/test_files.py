"""What is common to the operations side's files."""

from __future__ import annotations

from pathlib import Path

from mc_ops.files import lock


def test_a_lock_is_one_holders_until_its_file_is_closed(tmp_path: Path) -> None:
    """Another one waits in vain, and gets it once the first is gone."""
    path = tmp_path / "lock"
    with path.open("w") as second:
        with path.open("w") as first:
            assert lock(first, 0)
            assert not lock(second, 0.05)
        assert lock(second, 0)
