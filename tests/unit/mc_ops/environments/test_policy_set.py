"""The local platform's own copy of a policy set: refreshed, applied, undone, rolled back."""

from __future__ import annotations

from pathlib import Path

import pytest

from mc_ops.environments.local import policy_set
from mc_ops.environments.local.layout import Layout
from mc_ops.errors import UnusableInput


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    home = tmp_path / "home"
    home.mkdir()
    return Layout(home=home)


def a_set(folder: Path, word: str) -> Path:
    """A folder with the files of a set, told apart by a word."""
    (folder / "tests").mkdir(parents=True, exist_ok=True)
    (folder / "schema.cedarschema").write_text(word)
    (folder / "a.cedar").write_text(word)
    (folder / "tests" / "a.toml").write_text(word)
    (folder / "notes.txt").write_text("not part of a set")
    return folder


def words(layout: Layout) -> tuple[str, str]:
    """What stands in the set in place, and in the one before (empty: none)."""
    folders = (layout.policies, layout.policies_before)
    inside = [(folder / "a.cedar") for folder in folders]
    return tuple(file.read_text() if file.exists() else "" for file in inside)  # type: ignore[return-value]


def test_up_copies_the_checkouts_set_and_follows_it(layout: Layout, tmp_path: Path) -> None:
    """Only the files of a set; a change in the checkout comes with the next `up`."""
    source = a_set(tmp_path / "source", "one")
    assert policy_set.read_from(layout, source) == source, "a replica that runs before any copy"
    policy_set.refresh(layout, source)
    assert policy_set.read_from(layout, source) == layout.policies
    assert words(layout) == ("one", "")
    assert not (layout.policies / "notes.txt").exists()
    before = layout.policies.stat().st_ino
    policy_set.refresh(layout, source)
    assert layout.policies.stat().st_ino == before, "the same set is left alone"
    policy_set.refresh(layout, a_set(source, "two"))
    assert words(layout) == ("two", "")


def test_an_applied_set_outlasts_up_and_can_be_rolled_back(layout: Layout, tmp_path: Path) -> None:
    """Until then the checkout's set does not come back by itself."""
    source = a_set(tmp_path / "source", "one")
    policy_set.refresh(layout, source)
    policy_set.install(layout, a_set(tmp_path / "other", "other"))
    policy_set.refresh(layout, source)
    assert words(layout) == ("other", "one")
    policy_set.restore(layout)
    assert words(layout) == ("one", "other")
    policy_set.refresh(layout, a_set(source, "two"))
    assert words(layout) == ("two", "other")


def test_an_undone_set_leaves_no_trace(layout: Layout, tmp_path: Path) -> None:
    """The set to go back to is then the one that it was before."""
    policy_set.refresh(layout, a_set(tmp_path / "source", "one"))
    policy_set.install(layout, a_set(tmp_path / "other", "two"))
    policy_set.install(layout, a_set(tmp_path / "other", "bad"))
    assert words(layout) == ("bad", "two")
    policy_set.undo(layout)
    assert words(layout) == ("two", "one")


def test_there_may_be_nothing_to_go_back_to(layout: Layout, tmp_path: Path) -> None:
    """It says so, and changes nothing."""
    policy_set.refresh(layout, a_set(tmp_path / "source", "one"))
    with pytest.raises(UnusableInput, match="no policy set to go back to"):
        policy_set.restore(layout)
    assert words(layout) == ("one", "")


def test_purge_knows_every_folder(layout: Layout, tmp_path: Path) -> None:
    """`down --purge` leaves nothing of a set behind."""
    policy_set.refresh(layout, a_set(tmp_path / "source", "one"))
    for word in ("two", "three"):
        policy_set.install(layout, a_set(tmp_path / "other", word))
    assert set(layout.home.iterdir()) <= set(layout.own_entries)
