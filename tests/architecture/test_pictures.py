"""The pictures of docs/ are those of the text beside them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"


@pytest.mark.parametrize("source", sorted(PICTURES.glob("*.toml")), ids=lambda path: path.stem)
def test_every_picture_is_current(source):
    """`python tools/docs_pictures.py` would change nothing."""
    code = "import sys, tomllib, docs_pictures; print(docs_pictures.svg(tomllib.load(sys.stdin.buffer)), end='')"
    made = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "tools",
        stdin=source.open("rb"),
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert source.with_suffix(".svg").read_bytes() == made.stdout
