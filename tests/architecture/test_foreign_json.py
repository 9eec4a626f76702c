"""Whoever reads JSON that somebody else wrote expects it to be nested beyond reading.

The decoder's `RecursionError` is no `ValueError`: where only that is caught, a few kilobytes of
brackets end a verb with a traceback, and its exit code tells nothing.
"""

from __future__ import annotations

import ast
from pathlib import Path

SRC = Path(__file__).parents[2] / "src"


def _reads_json(tried: ast.Try) -> bool:
    calls = (node for each in tried.body for node in ast.walk(each) if isinstance(node, ast.Call))
    return any(
        isinstance(call.func, ast.Attribute)
        and call.func.attr == "json"
        and not call.args
        and not call.keywords
        for call in calls
    )


def _caught(tried: ast.Try) -> set[str]:
    types = [handler.type for handler in tried.handlers if handler.type is not None]
    return {
        ast.unparse(one).rpartition(".")[2]
        for each in types
        for one in (each.elts if isinstance(each, ast.Tuple) else [each])
    }


def test_who_catches_what_is_no_json_catches_what_is_too_deep() -> None:
    """In every handler that stands around an answer's `.json()`."""
    wrong = [
        f"{path.relative_to(SRC)}:{node.lineno}"
        for path in sorted(SRC.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Try) and _reads_json(node)
        if "ValueError" in _caught(node) and "RecursionError" not in _caught(node)
    ]
    assert wrong == []
