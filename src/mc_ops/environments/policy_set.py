"""The local platform's own copy of a policy set, which its replicas look at while they run.

`MC_HOME/policies` holds it. `mcctl up` copies the checkout's set there, unless a set was applied
(`mcctl policy apply`): that one stays, with a mark, until a rollback. Sets that were in place are kept
in `MC_HOME/policy-sets`, each by its digest, and `history.json` there has those to go back to, the last
one last. Sets are exchanged by renaming folders: a reader finds one whole set, or, for a moment, none,
which no replica takes for a set.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import StringConstraints

from mc_contract.configuration import FileProblems, Several, Strict, check, json_of
from mc_ops.environments.workspace import Workspace
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.files import write_atomically

SETTING = "MC_POLICY_DIR"
_MARK = ".applied"
_ASIDE = ".policies-aside"
_HISTORY = "history.json"
_LEAST_DIGITS = 8
_PATTERNS = ("*.cedar", "*.cedarschema", "tests/*.toml")


def read_from(workspace: Workspace, source: Path) -> Path:
    """Where a replica looks: at the copy; at the checkout's set where no `up` has made one yet."""
    return workspace.policies if workspace.policies.is_dir() else source


def refresh(workspace: Workspace, source: Path) -> None:
    """Copy the checkout's set, unless one was applied, or the same is there already.

    Raises:
        CouldNotTell: it cannot be copied.
    """
    if (workspace.policies / _MARK).exists() or not source.is_dir():
        return
    if workspace.policies.is_dir() and _contents(workspace.policies) == _contents(source):
        return
    _exchange(workspace, source, applied=False)


def install(workspace: Workspace, source: Path, current: str) -> Undo:
    """Put a copy of an applied set in place; the set there before is kept by its digest.

    Args:
        workspace: The platform's files.
        source: The set.
        current: The digest of the set that is in place.

    Raises:
        CouldNotTell: it cannot be copied.
    """
    undoing = Undo(_keep(workspace, current), _history(workspace))
    _exchange(workspace, source, applied=True)
    _write_history(workspace, [*undoing.history, undoing.before])
    return undoing


def undo(workspace: Workspace, undoing: Undo) -> None:
    """Take the set that `install` or `restore` put in place away again, as if it had never been there.

    Raises:
        CouldNotTell: it cannot be copied.
    """
    before = undoing.before
    _exchange(workspace, workspace.policy_sets / before.digest, applied=before.applied)
    _write_history(workspace, undoing.history)


def find(workspace: Workspace, digest: str | None) -> tuple[str, Path]:
    """A set to go back to: its digest, and the folder that it is kept in.

    Args:
        workspace: The platform's files.
        digest: At least eight digits of its digest; None is the set before the last `install`.

    Raises:
        UnusableInput: there is none, or several.
    """
    history = _history(workspace)
    known = sorted(
        folder.name for folder in workspace.policy_sets.glob("[0-9a-f]*") if folder.is_dir()
    )
    hint = f"kept: {', '.join(name[:12] for name in known) or 'none'}"
    if digest is None:
        if not history:
            raise UnusableInput(
                "there is no policy set to go back to",
                hint=f"`mcctl policy apply` keeps the one before; or name one: --to DIGEST ({hint})",
            )
        return history[-1].digest, workspace.policy_sets / history[-1].digest
    found = [name for name in known if name.startswith(digest)]
    if len(digest) < _LEAST_DIGITS or len(found) != 1:
        raise UnusableInput(f"{len(found)} policy sets have the digest {digest[:64]!r}", hint=hint)
    return found[0], workspace.policy_sets / found[0]


def restore(workspace: Workspace, digest: str, current: str) -> Undo:
    """Put a kept set in place. What was applied after it is no set to go back to any more.

    Raises:
        CouldNotTell: it cannot be copied.
    """
    history = _history(workspace)
    place = max((n for n, one in enumerate(history) if one.digest == digest), default=None)
    undoing = Undo(_keep(workspace, current), history)  # `find` has it still, by its digest
    applied = True if place is None else history[place].applied
    _exchange(workspace, workspace.policy_sets / digest, applied=applied)
    if place is not None:
        _write_history(workspace, history[:place])
    return undoing


class _Before(Strict):
    """A set that was in place, and whether it had been applied or came from the checkout."""

    digest: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    applied: bool


@dataclass(frozen=True, slots=True)
class Undo:
    """What was in place before a change, and the sets to go back to then."""

    before: _Before
    history: tuple[_Before, ...]


class _History(Strict):
    before: Several[_Before] = ()


def _history(workspace: Workspace) -> tuple[_Before, ...]:
    path = workspace.policy_sets / _HISTORY
    try:
        return check(_History, json_of(path.read_bytes())).before
    except FileNotFoundError:
        return ()
    except (OSError, FileProblems) as error:
        raise CouldNotTell(
            f"{path} cannot be read: {error}", hint="remove it: then --to DIGEST goes back"
        ) from error


def _write_history(workspace: Workspace, before: Iterable[_Before]) -> None:
    told = {"before": [one.model_dump() for one in before]}
    write_atomically(workspace.policy_sets / _HISTORY, json.dumps(told, indent=2) + "\n")


def _keep(workspace: Workspace, digest: str) -> _Before:
    kept = workspace.policy_sets / digest
    try:
        if not kept.exists():
            kept.parent.mkdir(mode=0o700, exist_ok=True)
            made = Path(tempfile.mkdtemp(dir=kept.parent, prefix=".new-"))
            _copy(workspace.policies, made)
            made.rename(kept)
    except OSError as error:
        raise CouldNotTell(f"the policy set in place cannot be kept: {error.strerror}") from error
    return _Before(digest=digest, applied=(workspace.policies / _MARK).exists())


def _exchange(workspace: Workspace, source: Path, *, applied: bool) -> None:
    made = None
    try:
        made = Path(tempfile.mkdtemp(dir=workspace.home, prefix=".policies-new-"))
        _copy(source, made)
        if applied:
            (made / _MARK).touch()
        if workspace.policies.exists():
            workspace.policies.rename(_fresh(workspace.home / _ASIDE))
        made.rename(workspace.policies)
        _fresh(workspace.home / _ASIDE)
    except OSError as error:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
        raise CouldNotTell(f"the policy set {source} cannot be copied: {error.strerror}") from error


def _fresh(folder: Path) -> Path:
    """A folder's path, with nothing there."""
    if folder.exists():
        shutil.rmtree(folder)
    return folder


def _copy(source: Path, made: Path) -> None:
    for file in _files(source):
        copy = made / file.relative_to(source)
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, copy)


def _files(folder: Path) -> list[Path]:
    return sorted(file for pattern in _PATTERNS for file in folder.glob(pattern))


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in _files(folder)}
