"""The code that replicas run: kept as it was, for as long as somebody runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mc_ops.environments.local import releases
from mc_ops.environments.local.layout import Layout
from mc_ops.errors import CouldNotTell


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A checkout's source folder, with the two packages that a replica is made of."""
    folder = tmp_path / "src"
    for package in ("mc_contract", "mc_platform"):
        (folder / package / "__pycache__").mkdir(parents=True)
        (folder / package / "__init__.py").write_text("WORD = 'first'\n")
        (folder / package / "__pycache__" / "__init__.pyc").write_bytes(b"compiled")
    return folder


def test_the_same_code_is_kept_once_and_other_code_beside_it(layout: Layout, source: Path) -> None:
    """A copy stays what it was when the checkout goes on; what is compiled is no difference."""
    first = releases.keep(layout, source)
    (source / "mc_platform" / "__pycache__" / "more.pyc").write_bytes(b"more")
    assert releases.keep(layout, source) == first
    (source / "mc_platform" / "__init__.py").write_text("WORD = 'second'\n")
    second = releases.keep(layout, source)
    assert second != first
    assert (first / "mc_platform" / "__init__.py").read_text() == "WORD = 'first'\n"
    assert sorted(layout.releases.iterdir()) == sorted([first, second])


def test_a_file_that_moved_is_other_code(layout: Layout, source: Path) -> None:
    """The same bytes under another name are not the same code."""
    first = releases.keep(layout, source)
    (source / "mc_platform" / "__init__.py").rename(source / "mc_platform" / "other.py")
    assert releases.keep(layout, source) != first


def test_a_process_runs_the_copy_wherever_it_is_started(layout: Layout, source: Path) -> None:
    """Neither the working folder nor what is installed comes before the copy."""
    folder = releases.keep(layout, source)
    (source / "mc_platform" / "__init__.py").write_text("WORD = 'second'\n")
    told = subprocess.run(
        [sys.executable, "-c", "import mc_platform; print(mc_platform.WORD)"],
        env={**os.environ, **releases.settings(folder, os.environ)},
        cwd=source,
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout == "first\n"


def test_what_the_user_put_on_the_path_stays_behind_it() -> None:
    """A PYTHONPATH of the user's own goes on working."""
    settings = releases.settings(Path("/code"), {"PYTHONPATH": "/mine"})
    assert settings["PYTHONPATH"] == os.pathsep.join(["/code", "/mine"])


def test_only_a_copy_that_is_there_can_be_run_once_more(layout: Layout, source: Path) -> None:
    """A process of an earlier mcctl, or of another platform, or whose copy is gone, cannot."""
    kept = releases.settings(releases.keep(layout, source), {"PYTHONPATH": "/mine"})
    assert releases.runs_kept_code(layout, kept)
    assert not releases.runs_kept_code(layout, {})
    assert not releases.runs_kept_code(layout, {"PYTHONPATH": str(source)})
    releases.forget_unused(layout, [])
    assert not releases.runs_kept_code(layout, kept)


def test_copies_that_nobody_runs_are_removed(layout: Layout, source: Path) -> None:
    """What a replica runs stays, whatever else is on its path."""
    first = releases.keep(layout, source)
    (source / "mc_contract" / "__init__.py").write_text("WORD = 'second'\n")
    second = releases.keep(layout, source)
    releases.forget_unused(layout, [releases.settings(second, {"PYTHONPATH": "/mine"}), {}])
    assert list(layout.releases.iterdir()) == [second]
    assert not first.exists()


def test_code_that_cannot_be_read_is_told_and_leaves_nothing(
    layout: Layout, tmp_path: Path
) -> None:
    """A source that is not there is no release."""
    with pytest.raises(CouldNotTell, match="cannot be copied"):
        releases.keep(layout, tmp_path / "nowhere")
    assert not layout.releases.exists() or list(layout.releases.iterdir()) == []


def _git(folder: Path, *args: str) -> None:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *args], cwd=folder, check=True, capture_output=True)


def test_a_copy_says_which_commit_it_is_of(
    layout: Layout, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Marked where the packages differ from it, and only there; told anew once it is committed."""
    folder = releases.keep(layout, source)
    assert not (folder / "COMMIT").exists()  # no repository, no commit
    _git(source.parent, "init", "-q")
    (source.parent / ".gitignore").write_text("__pycache__\n")
    _git(source.parent, "add", ".")
    _git(source.parent, "commit", "-qm", "one")
    monkeypatch.setenv("GIT_DIR", str(source))  # as a hook's caller may have it
    clean, digest = (releases.keep(layout, source) / "COMMIT").read_text().split()
    assert len(clean) == 40
    assert digest == releases.digest_of(source)
    assert folder.name == digest[:16]
    (source.parent / "notes").write_text("not part of a release")
    assert (releases.keep(layout, source) / "COMMIT").read_text() == f"{clean} {digest}\n"
    (source / "mc_platform" / "new.py").write_text("")
    dirty = releases.keep(layout, source)
    assert (dirty / "COMMIT").read_text().startswith(f"{clean}-dirty ")
    monkeypatch.delenv("GIT_DIR")
    _git(source.parent, "add", ".")
    _git(source.parent, "commit", "-qm", "two")
    assert releases.keep(layout, source) == dirty
    assert "-dirty" not in (dirty / "COMMIT").read_text()


def test_two_starts_at_once_share_the_copy(
    layout: Layout, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever copies second finds the first one's copy; what another start copies now is left."""
    copytree, others = shutil.copytree, list[Any]()

    def meanwhile(*given: Any, **options: Any) -> Any:
        if not others:
            others.append(None)
            monkeypatch.setattr(shutil, "copytree", copytree)
            others[0] = releases.keep(layout, source)
            releases.forget_unused(layout, [releases.settings(others[0], {})])
        return copytree(*given, **options)

    monkeypatch.setattr(shutil, "copytree", meanwhile)
    assert releases.keep(layout, source) == others[0]
    assert [folder.name for folder in layout.releases.iterdir()] == [others[0].name]
