"""The pictures of docs/ are those of the text beside them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [
    path
    for path in sorted((ROOT / "docs" / "pictures").iterdir())
    if path.suffix in {".toml", ".ansi"}
]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_picture_is_current(source):
    """`python tools/docs_pictures.py` would change nothing."""
    code = "import sys, pathlib, docs_pictures; print(docs_pictures.picture_of(pathlib.Path(sys.argv[1])), end='')"
    made = subprocess.run(
        [sys.executable, "-c", code, source],
        cwd=ROOT / "tools",
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert source.with_suffix(".svg").read_bytes() == made.stdout
