"""Finding a runbook's file, and refusing to run one that is not in order."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

from mc_ops.environments.workspace import checkout
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.runbooks.model import Problem, Runbook, Script
from mc_ops.runbooks.parse import parse

FOLDER = "runbooks"
_BASH_LINE = re.compile(r"line (\d+): (.*)")
_OPEN = re.compile(r"warning: here-document at line (?P<line>\d+) .*\(wanted `(?P<end>.*)'\)")


def find(name: str, start: Path) -> Path:
    """The file that `name` means: a path as it is, else `runbooks/NAME.md` here, above, or of the checkout.

    Raises:
        UnusableInput: There is no such file; the hint lists the runbooks there are.
    """
    if name.endswith(".md") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise UnusableInput(f"no runbook file {name}", hint="mcctl runbook list")
        return path.absolute()
    for folder in _places(start):
        candidate = folder / FOLDER / f"{name}.md"
        if candidate.is_file():
            return candidate.absolute()
    known = ", ".join(path.stem for path in known_files(start)) or (
        "none here or above; name a file, or run it in a checkout"
    )
    raise UnusableInput(f"no runbook {name!r}", hint=f"known runbooks: {known}")


def _places(start: Path) -> list[Path]:
    """Folders that may have runbooks; the last is the checkout that this package runs from."""
    return [start, *start.absolute().parents, checkout()]


def known_files(start: Path) -> list[Path]:
    """Every `runbooks/*.md` of the nearest folder that has any, sorted by name."""
    for folder in _places(start):
        files = sorted((folder / FOLDER).glob("*.md"))
        if files:
            return files
    return []


def root_of(path: Path) -> Path:
    """The directory in which the steps run: the repository's root for `runbooks/NAME.md`."""
    return path.parent.parent if path.parent.name == FOLDER else Path.cwd()


def read(path: Path) -> tuple[Runbook | None, list[Problem]]:
    """Read and lint one file: the format first, then the shell's own syntax check.

    Raises:
        UnusableInput: The file cannot be read.
        CouldNotTell: There is no bash to ask.
    """
    try:
        source = path.read_bytes()
    except OSError as error:
        raise UnusableInput(f"runbook {path} cannot be read: {error.strerror}") from error
    runbook, problems = parse(source, str(path))
    if runbook is not None:
        problems = [problem for script in _scripts(runbook) for problem in _syntax(script)]
    return (None if problems else runbook), problems


def load(path: Path) -> Runbook:
    """A runbook that is in order.

    Raises:
        UnusableInput: It is not; the message carries every line and reason.
    """
    runbook, problems = read(path)
    if runbook is None:
        listed = "; ".join(f"line {problem.line}: {problem.reason}" for problem in problems)
        raise UnusableInput(
            f"runbook {path.name} cannot be run: {listed}", hint=f"mcctl runbook lint {path}"
        )
    return runbook


def _scripts(runbook: Runbook) -> Iterator[Script]:
    for step in (one for one in runbook.steps if one.gate is None):
        yield from filter(None, (step.script, step.check, step.undo and step.undo.script))


def _syntax(script: Script) -> list[Problem]:
    try:
        answer = subprocess.run(
            ["bash", "-n"],
            input=script.text,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
        )
    except OSError as error:
        raise CouldNotTell("bash cannot be started", hint="runbook steps need bash") from error
    if answer.returncode == 0:
        # To bash a warning: all that follows is the document's, and none of it runs
        return [
            Problem(
                script.line + int(open_["line"]), f"shell: the here-document has no {open_['end']}"
            )
            for open_ in _OPEN.finditer(answer.stderr)
        ]
    match = _BASH_LINE.search(answer.stderr)
    offset, reason = (int(match[1]), match[2]) if match else (0, answer.stderr.strip())
    return [Problem(script.line + offset, f"shell: {reason}")]
