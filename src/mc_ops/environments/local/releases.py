"""The code that replicas run: a copy of the checkout's, which lasts as long as one of them runs it.

A checkout changes while production runs, and a fresh baseline must be what production is, not what
the checkout has become: compared with its own code every candidate is fine. So each replica runs
from `MC_HOME/releases/<digest>/`. Copied is what a replica is made of (`mc_platform` and
`mc_contract`); the libraries are those of the virtual environment, for all alike. Beside them stands
`COMMIT`: the checkout's commit, `-dirty` if what was copied is not what that commit has, and the
digest of what was copied. A replica tells it in its `/health`, and finds out if its copy was changed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from mc_contract.running import code_digest
from mc_ops.environments.local.layout import Layout
from mc_ops.errors import CouldNotTell
from mc_ops.files import write_atomically

_PACKAGES = ("mc_contract", "mc_platform")
_COMPILED = "__pycache__"
_SETTING = "PYTHONPATH"
_COMMIT_FILE = "COMMIT"
_NAME_DIGITS = 16
_GIT_TIMEOUT_S = 10
_NEW = ".new-"
_LONGEST_COPY_S = 600.0


def keep(layout: Layout, source: Path | None = None) -> Path:
    """Today's code, copied once for each content.

    Args:
        layout: Whose copy it is.
        source: The folder that has the packages; default: the one that mcctl runs from.

    Raises:
        CouldNotTell: it cannot be read or copied.
    """
    source = source or Path(__file__).resolve().parents[3]
    try:
        digest = digest_of(source)
        folder = layout.releases / digest[:_NAME_DIGITS]
        if not folder.is_dir():
            _copy(source, folder)
        if commit := commit_of(source):  # again: what was not committed may be by now
            write_atomically(folder / _COMMIT_FILE, f"{commit} {digest}\n", mode=0o644)
    except (OSError, shutil.Error) as error:
        raise CouldNotTell(
            f"the code of {source} cannot be copied to {layout.releases}: {error}"
        ) from error
    return folder


def settings(folder: Path, inherited: Mapping[str, str]) -> dict[str, str]:
    """What makes a Python process run the code in `folder`, before whatever else it would."""
    before = inherited.get(_SETTING)
    return {
        _SETTING: os.pathsep.join([str(folder), *([before] if before else [])]),
        "PYTHONSAFEPATH": "1",  # or `python -m` would look into the working folder first
    }


def runs_kept_code(layout: Layout, env: Mapping[str, str]) -> bool:
    """Whether a process with that environment runs a copy, and the copy is still there."""
    folder = Path(_first(env))
    return folder.parent == layout.releases and folder.is_dir()


def is_code_of(env: Mapping[str, str], digest: str) -> bool:
    """Whether the copy that an environment names has this digest."""
    return digest.startswith(Path(_first(env)).name)


def forget_unused(layout: Layout, environments: Collection[Mapping[str, str]]) -> None:
    """Remove the copies that no process runs.

    Args:
        layout: Whose copies they are.
        environments: The environment of each replica that runs.
    """
    used = {_first(env) for env in environments}
    for folder in layout.releases.iterdir() if layout.releases.is_dir() else ():
        if str(folder) not in used and not _is_being_copied(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_being_copied(folder: Path) -> bool:
    """Whether another start may be at work on it; what a killed one left is older."""
    if not folder.name.startswith(_NEW):
        return False
    try:
        return time.time() - folder.stat().st_mtime < _LONGEST_COPY_S
    except FileNotFoundError:
        return True  # it has just become a copy


def _first(env: Mapping[str, str]) -> str:
    return env.get(_SETTING, "").split(os.pathsep)[0]


def digest_of(source: Path) -> str:
    """SHA-256 of the packages in `source`, as a replica computes its own."""
    paths = (
        path
        for package in _PACKAGES
        for path in sorted((source / package).rglob("*"))
        if path.is_file() and _COMPILED not in path.parts
    )
    files = ((path.relative_to(source).as_posix(), path.read_bytes()) for path in paths)
    return code_digest(files)


def commit_of(source: Path) -> str | None:
    """The commit that the packages in `source` are of; `-dirty` with changes, None without one."""
    told = _git(source, "rev-parse", "--verify", "HEAD^{commit}")
    if not told:
        return None
    changed = _git(source, "status", "--porcelain", "--untracked-files=all", "--", *_PACKAGES)
    return told if changed == "" else f"{told}-dirty"


def _git(folder: Path, *command: str) -> str | None:
    # GIT_DIR and its like, as a hook sets them, name another repository than this folder's
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            ["git", *command],
            cwd=folder,
            env=env,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _copy(source: Path, folder: Path) -> None:
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    # Whole or not at all: a call that is killed half-way must leave nothing that looks complete.
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=_NEW))
    try:
        for package in _PACKAGES:
            shutil.copytree(
                source / package, temporary / package, ignore=shutil.ignore_patterns(_COMPILED)
            )
        try:
            temporary.replace(folder)
        except OSError:
            if not folder.is_dir():  # else another start has copied the same code meanwhile
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
