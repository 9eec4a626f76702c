"""Every `mcctl` command in a message, a hint or a runbook is one: its verb and its options exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mc_ops.cli.main import load_all

ROOT = Path(__file__).parents[2]
_COMMAND = re.compile(r"(?<![\w.`/-])mcctl((?: [A-Za-z0-9{}$\"'<>|:=./_-]+)+)")
# Behind `mcctl` where a sentence is about it
_PROSE = frozenset(
    [
        "as",
        "did",
        "failed",
        "from",
        "has",
        "is",
        "makes",
        "may",
        "neither",
        "runs",
        "verifies",
        "with",
    ]
)
_WORD = re.compile(r"[a-z][a-z-]*")


def _texts() -> Iterator[tuple[str, str]]:
    """Each text of the sources that is no docstring, and each block and piece of code of a runbook."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.body
            and isinstance(node.body[0], ast.Expr)
        }
        for node in ast.walk(tree):
            where = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.JoinedStr):
                parts = [
                    part.value if isinstance(part, ast.Constant) else "{}" for part in node.values
                ]
                yield where, "".join(map(str, parts))
            elif (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in docs
            ):
                yield where, node.value
    for path in sorted((ROOT / "runbooks").rglob("*.md")):
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for found in re.finditer(r"`(mcctl[^`]*)`|^(?:> )?(mcctl .*)$", text, re.MULTILINE):
            yield path.name, " ".join((found[1] or found[2]).replace("\n> ", " ").split())


def _problem(command: Any, words: list[str]) -> str:
    """What of a command mcctl does not know; empty if it knows all."""
    while hasattr(command, "commands"):
        if not words or words[0] in _PROSE or not _WORD.fullmatch(words[0]):
            return ""  # `mcctl` or a group alone
        if words[0] not in command.commands:
            return f"no verb {words[0]!r}"
        command = command.commands[words.pop(0)]
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    return ", ".join(
        f"no option {word}"
        for word in (one.partition("=")[0] for one in words)
        if re.fullmatch(r"--[a-z][a-z-]+", word) and word not in known
    )


def test_suggested_commands_exist() -> None:
    """Who copies one gets no usage error."""
    mcctl = load_all()
    found = {
        f"{where}: mcctl{told[1]}: {problem}"
        for where, text in _texts()
        for told in _COMMAND.finditer(text)
        if (problem := _problem(mcctl, told[1].split()))
    }
    assert sorted(found) == []
