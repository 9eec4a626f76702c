"""The tutorial, run as it stands: its commands in order, in one shell, and what it shows."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial" / "govern-your-own-agent.md"
BLOCK = re.compile(
    r"^```\w+ (?:(?P<run>run)(?: exit=(?P<exit>\d+))?|file=(?P<file>\S+)|(?P<shows>shows))[^\n]*\n"
    r"(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)

pytestmark = pytest.mark.skipif(
    not (shutil.which("jq") and shutil.which("curl")), reason="jq and curl are not installed"
)


def _pattern(shown: str) -> re.Pattern[str]:
    """What a block shows, with `...` for anything."""
    parts = re.split(r"\.\.\.\n?", shown.strip() + "\n")
    return re.compile(".*?".join(map(re.escape, parts)) + r"\Z", re.DOTALL)


def _script(page: str, folder: Path) -> tuple[str, list[tuple[str, str, str]]]:
    """One script that runs every block of the page in order.

    Returns it with, for each block that runs: its text, the exit code and the output that it shows.
    """
    lines: list[str] = []
    blocks: list[tuple[str, str, str]] = []
    for block in BLOCK.finditer(page):
        if block["shows"]:
            text, code, _ = blocks[-1]
            blocks[-1] = (text, code, block["text"])
            continue
        source = folder / f"block-{len(lines):02}"
        source.write_text(block["text"], encoding="utf-8")
        if block["file"]:
            lines.append(f"cp '{source}' '{block['file']}'")
            continue
        at = folder / f"{len(blocks):02}"
        lines.append(f". '{source}' > '{at}.out' 2>&1; echo $? > '{at}.code'")
        blocks.append((block["text"], block["exit"] or "0", "...\n"))
    return "\n".join(lines), blocks


def test_the_tutorial_does_what_it_shows(free_ports):
    """Every command of the page works in a fresh home, and shows what the page shows."""
    home = Path(tempfile.mkdtemp(prefix="mc-tutorial-"))
    home.chmod(0o711)

    kept = {name: value for name, value in os.environ.items() if not name.startswith("MC_")}
    env = {
        **kept,
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}",
        "CHECKOUT": str(ROOT),
        "MC_EDGE_PORT": str(free_ports),
        "ROOMS_PORT": str(free_ports + 19),  # between the platform's own
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    try:
        script, blocks = _script(PAGE.read_text(encoding="utf-8"), home)
        subprocess.run(
            ["bash", "-u", "-c", script],
            check=True,
            cwd=home,
            env=env,
            stdin=subprocess.DEVNULL,
            timeout=280,
        )
        for number, (text, code, shown) in enumerate(blocks):
            out = (home / f"{number:02}.out").read_text(encoding="utf-8")
            assert (home / f"{number:02}.code").read_text().strip() == code, text + out
            assert _pattern(shown).match(out), f"{text}\nshows\n\n{shown}\nand printed\n\n{out}"
    finally:
        work = home / "my-agent"
        if (work / "agent.pid").exists():
            subprocess.run(
                ["kill", (work / "agent.pid").read_text().strip()],
                stderr=subprocess.DEVNULL,
                check=False,
            )
        if (work / ".mc").exists():
            down = ["mcctl", "down", "--purge", "--yes"]
            subprocess.run(
                down, cwd=work, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
        shutil.rmtree(home, ignore_errors=True)
