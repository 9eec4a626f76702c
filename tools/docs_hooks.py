"""Hooks of mkdocs: what of the repository outside of docs/ belongs to the site.

`PAGES` become pages of the site; any other file that a page links to is copied below `repository/`.
Links are written for the repository, so that they work in every view of it, and are mended here.
A link that leads nowhere, and anything that a page would load from another host, is a warning; the
build is strict.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
PAGES = {
    "ARCHITECTURE.md": "explanation/architecture.md",
    "SECURITY.md": "explanation/security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    **{
        path.relative_to(ROOT).as_posix(): path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "runbooks").rglob("*.md"))
    },
}
_HOME = {uri: path for path, uri in PAGES.items()}
_LINK = re.compile(
    r"(?P<code>```.*?^```|`[^`\n]+`)|\]\((?P<target>[^)#\s]+)", re.MULTILINE | re.DOTALL
)
# What runbooks and the tutorial tell their machines on a fence's first line; readers see its title.
_FENCE = re.compile(
    r"^(?:(?P<whole>````.*?^````$)|(?P<language>```\w+) [^\n]+$)", re.MULTILINE | re.DOTALL
)
_TITLE = re.compile(r' title="[^"]*"')
_LOADED = re.compile(r"<(?:script|img|iframe)[^>]+src=.?https?:|<link[^>]+stylesheet[^>]+https?:")

log = logging.getLogger("mkdocs.hooks.repository")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that stand outside of docs/."""
    for path, uri in PAGES.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, *, page: Any, config: Any, files: Any) -> str:
    """Turn each link to a file of the repository into one within the site."""
    uri = page.file.src_uri
    here = (ROOT / _HOME[uri] if uri in _HOME else ROOT / "docs" / uri).parent

    def mended(link: re.Match[str]) -> str:
        target = link["target"]
        if target is None or "://" in target:
            return link[0]
        there = Path(os.path.normpath(here / target))
        path = there.relative_to(ROOT).as_posix()
        if path in PAGES:
            within = PAGES[path]
        elif there.is_relative_to(ROOT / "docs"):
            within = there.relative_to(ROOT / "docs").as_posix()
        elif there.is_file():
            within = f"repository/{path}"
            if files.get_file_from_path(within) is None:
                files.append(File.generated(config, within, abs_src_path=str(there)))
        else:
            log.warning("%s: no file for the link %r", uri, target)
            return link[0]
        return f"]({os.path.relpath(within, Path(uri).parent)}"

    return _LINK.sub(mended, _FENCE.sub(_shown, markdown))


def _shown(fence: re.Match[str]) -> str:
    if fence["whole"]:
        return fence[0]
    title = _TITLE.search(fence[0])
    return fence["language"] + (title[0] if title else "")


def on_post_page(output: str, *, page: Any, config: Any) -> None:  # noqa: ARG001
    """Warn of what the page would load from another host."""
    for loaded in _LOADED.findall(output):
        log.warning("%s loads from another host: %s", page.file.src_uri, loaded)
