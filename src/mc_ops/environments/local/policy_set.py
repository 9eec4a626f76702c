"""The local platform's own copy of a policy set, which its replicas look at while they run.

`MC_HOME/policies` holds it. `mcctl up` copies the checkout's set there, unless a set was applied
(`mcctl policy apply`): that one stays, with a mark, until a rollback. The set before it is kept in
`MC_HOME/policies-before`. Sets are exchanged by renaming folders: a reader finds one whole set, or,
for a moment, none, which no replica takes for a set.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from mc_ops.environments.local.layout import Layout
from mc_ops.errors import CouldNotTell, UnusableInput

SETTING = "MC_POLICY_DIR"
_MARK = ".applied"
_OLDER, _ASIDE = ".policies-older", ".policies-aside"
_PATTERNS = ("*.cedar", "*.cedarschema", "tests/*.toml")


def read_from(layout: Layout, source: Path) -> Path:
    """Where a replica looks: at the copy; at the checkout's set where no `up` has made one yet."""
    return layout.policies if layout.policies.is_dir() else source


def refresh(layout: Layout, source: Path) -> None:
    """Copy the checkout's set, unless one was applied, or the same is there already.

    Raises:
        CouldNotTell: it cannot be copied.
    """
    if (layout.policies / _MARK).exists() or not source.is_dir():
        return
    if layout.policies.is_dir() and _contents(layout.policies) == _contents(source):
        return
    _exchange(layout, source, applied=False)


def install(layout: Layout, source: Path) -> None:
    """Put a copy of an applied set in place; the set there before is kept.

    Raises:
        CouldNotTell: it cannot be copied.
    """
    _exchange(layout, source, applied=True)


def undo(layout: Layout) -> None:
    """Take the set that `install` put in place away again, as if it had never been there.

    Raises:
        CouldNotTell: a folder cannot be renamed.
    """
    try:
        layout.policies.rename(_fresh(layout.home / _ASIDE))
        layout.policies_before.rename(layout.policies)
        if (layout.home / _OLDER).is_dir():
            (layout.home / _OLDER).rename(layout.policies_before)
        shutil.rmtree(layout.home / _ASIDE)
    except OSError as error:
        raise _not_exchanged(error) from error


def restore(layout: Layout) -> None:
    """Exchange the set with the one before; done twice, it changes nothing.

    Raises:
        UnusableInput: there is none before.
        CouldNotTell: a folder cannot be renamed.
    """
    if not layout.policies_before.is_dir():
        raise UnusableInput(
            "there is no policy set to go back to", hint="`mcctl policy apply` keeps the one before"
        )
    aside = layout.home / _ASIDE
    try:
        layout.policies.rename(_fresh(aside))
        layout.policies_before.rename(layout.policies)
        aside.rename(layout.policies_before)
    except OSError as error:
        raise _not_exchanged(error) from error


def _exchange(layout: Layout, source: Path, *, applied: bool) -> None:
    made = None
    try:
        made = Path(tempfile.mkdtemp(dir=layout.home, prefix=".policies-new-"))
        for file in _files(source):
            copy = made / file.relative_to(source)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, copy)
        if applied:
            (made / _MARK).touch()
            _make_room(layout)
        elif layout.policies.exists():
            layout.policies.rename(_fresh(layout.home / _ASIDE))
        made.rename(layout.policies)
        _fresh(layout.home / _ASIDE)
    except OSError as error:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
        raise CouldNotTell(f"the policy set {source} cannot be copied: {error.strerror}") from error


def _make_room(layout: Layout) -> None:
    """Make the set in place the one before, and that one the older one."""
    if layout.policies_before.is_dir():
        layout.policies_before.rename(_fresh(layout.home / _OLDER))
    if layout.policies.is_dir():
        layout.policies.rename(layout.policies_before)


def _fresh(folder: Path) -> Path:
    """A folder's path, with nothing there."""
    if folder.exists():
        shutil.rmtree(folder)
    return folder


def _not_exchanged(error: OSError) -> CouldNotTell:
    return CouldNotTell(f"the policy sets cannot be exchanged: {error.strerror}")


def _files(folder: Path) -> list[Path]:
    return sorted(file for pattern in _PATTERNS for file in folder.glob(pattern))


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in _files(folder)}
