"""The local platform's own copy of a policy set: refreshed, applied, undone, rolled back."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mc_ops.environments import policy_set
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


def digest(word: str) -> str:
    """What stands for the digest of the set that is told apart by a word."""
    return hashlib.sha256(word.encode()).hexdigest()


def word_in(folder: Path) -> str:
    return (folder / "a.cedar").read_text()


def words(layout: Layout) -> tuple[str, str]:
    """What stands in the set in place, and in the one to go back to (empty: none)."""
    try:
        before = word_in(policy_set.find(layout, None)[1])
    except UnusableInput:
        before = ""
    return word_in(layout.policies), before


def install(layout: Layout, source: Path) -> policy_set.Undo:
    return policy_set.install(layout, source, digest(word_in(layout.policies)))


def go_back(layout: Layout, to: str | None = None) -> policy_set.Undo:
    found, _ = policy_set.find(layout, to)
    return policy_set.restore(layout, found, digest(word_in(layout.policies)))


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
    install(layout, a_set(tmp_path / "other", "other"))
    policy_set.refresh(layout, source)
    assert words(layout) == ("other", "one")
    go_back(layout)
    assert words(layout) == ("one", "")
    policy_set.refresh(layout, a_set(source, "two"))
    assert words(layout) == ("two", "")


def test_going_back_twice_goes_two_sets_back(layout: Layout, tmp_path: Path) -> None:
    """And never to what was gone back from, unless it is named by its digest."""
    policy_set.refresh(layout, a_set(tmp_path / "source", "one"))
    for word in ("two", "bad"):
        install(layout, a_set(tmp_path / "other", word))
    go_back(layout)
    assert words(layout) == ("two", "one")
    go_back(layout)
    assert words(layout) == ("one", "")
    go_back(layout, digest("bad")[:8])
    assert words(layout) == ("bad", "")
    policy_set.refresh(layout, tmp_path / "source")
    assert words(layout) == ("bad", ""), "named by a person, it is an applied set"


def test_going_back_past_several_forgets_them(layout: Layout, tmp_path: Path) -> None:
    """A set that was applied after the one gone back to is no set to go back to."""
    policy_set.refresh(layout, a_set(tmp_path / "source", "one"))
    for word in ("two", "three", "four"):
        install(layout, a_set(tmp_path / "other", word))
    go_back(layout, digest("two"))
    assert words(layout) == ("two", "one")


def test_an_undone_set_leaves_no_trace(layout: Layout, tmp_path: Path) -> None:
    """The set to go back to is then the one that it was before."""
    policy_set.refresh(layout, a_set(tmp_path / "source", "one"))
    install(layout, a_set(tmp_path / "other", "two"))
    undoing = install(layout, a_set(tmp_path / "other", "bad"))
    assert words(layout) == ("bad", "two")
    policy_set.undo(layout, undoing)
    assert words(layout) == ("two", "one")


def test_going_back_can_be_undone_too(layout: Layout, tmp_path: Path) -> None:
    """The set in place is again the applied one, and the sets to go back to are those there were."""
    source = a_set(tmp_path / "source", "one")
    policy_set.refresh(layout, source)
    for word in ("two", "three"):
        install(layout, a_set(tmp_path / "other", word))
    undoing = go_back(layout, digest("one"))
    assert words(layout) == ("one", "")
    policy_set.undo(layout, undoing)
    assert words(layout) == ("three", "two")
    policy_set.refresh(layout, source)
    assert words(layout) == ("three", "two"), "the checkout's set does not come back by itself"
    go_back(layout)
    assert words(layout) == ("two", "one")


def test_there_may_be_nothing_to_go_back_to(layout: Layout, tmp_path: Path) -> None:
    """It says so, and changes nothing."""
    policy_set.refresh(layout, a_set(tmp_path / "source", "one"))
    with pytest.raises(UnusableInput, match="no policy set to go back to"):
        policy_set.find(layout, None)
    assert words(layout) == ("one", "")


def test_purge_knows_every_folder(layout: Layout, tmp_path: Path) -> None:
    """`down --purge` leaves nothing of a set behind."""
    policy_set.refresh(layout, a_set(tmp_path / "source", "one"))
    for word in ("two", "three"):
        install(layout, a_set(tmp_path / "other", word))
    assert set(layout.home.iterdir()) <= set(layout.own_entries)
