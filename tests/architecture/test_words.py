"""Words that were replaced stay replaced: `words.toml` has them, docs/glossary.md what says it now."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from mc_ops.cli import main

ROOT = Path(__file__).parents[2]
WORDS = tomllib.loads(Path(__file__).with_name("words.toml").read_text(encoding="utf-8"))["word"]
NAME = re.compile(r"^\s*(?:class|(?:async )?def) (\w+)", re.MULTILINE)


def _words(where):
    words = [word for word in WORDS if where in word["in"]]
    return pytest.mark.parametrize("word", words, ids=[word["old"] for word in words])


def _found(word, text):
    kept = re.sub(word["unless"], "", text) if "unless" in word else text
    return re.findall(rf"(?i)(?<![\w-])(?:{word['old']})(?![\w-])", kept)


def _docs():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("runbooks/**/*.md")]
    return [page for page in pages if page.name != "CHANGELOG.md"]


@_words("docs")
def test_docs_use_the_words_of_the_glossary(word):
    """No page uses a word that was replaced."""
    where = [
        f"{page.relative_to(ROOT)}:{number}: {line.strip()}"
        for page in _docs()
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1)
        if _found(word, line)
    ]
    assert where == [], f"write {word['new']}"


def _texts(command, path):
    yield path, command.help or ""
    for parameter in command.params:
        yield path, getattr(parameter, "help", None) or ""
    for name, inner in getattr(command, "commands", {}).items():
        yield from _texts(inner, f"{path} {name}")


@pytest.fixture(scope="module")
def helps():
    """Each help text of each verb, with the verb."""
    return list(_texts(main.load_all(), "mcctl"))


@_words("help")
def test_help_uses_the_words_of_the_glossary(word, helps):
    """No `--help` uses a word that was replaced."""
    where = [f"{path}: {text}" for path, text in helps if _found(word, text)]
    assert where == [], f"write {word['new']}"


@_words("names")
def test_names_use_the_words_of_the_glossary(word):
    """No module, class or function in src/ is called by a word that was replaced."""
    old = re.compile(rf"(?i)(?:^|_)(?:{word['old']})(?:_|$)")
    where = []
    for path in (ROOT / "src").rglob("*.py"):
        names = [path.stem, *NAME.findall(path.read_text(encoding="utf-8"))]
        snake = [re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name) for name in names]
        where += [f"{path.relative_to(ROOT)}: {name}" for name in snake if old.search(name)]
    assert where == [], f"write {word['new']}"
