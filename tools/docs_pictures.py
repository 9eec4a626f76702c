r"""Makes docs/pictures/*.svg of the files beside them; a test holds that they are current.

A TOML file is boxes on a grid and arrows between them. `at` is column, row, width and height; an
arrow is a straight line where the two boxes overlap in one direction. An `.ansi` file is a command
and what it printed on a terminal, colours included and without lines that were rewritten:
`script -qec COMMAND /dev/null | sed 's/.*\x1b\[2K//; s/\r*$//'`. The same text gives the same bytes.
"""

from __future__ import annotations

import io
import re
import tomllib
from html import escape
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
_COLUMN, _ROW, _MARGIN = 84, 48, 16  # px
_COLUMNS = 100  # of a terminal; a longer line is continued in the next one
_STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2430; text-anchor: middle; }
  .title { font-weight: 600; }
  .label { font-size: 12px; fill: #4a5163; paint-order: stroke; stroke: #fff; stroke-width: 4px; }
  rect { rx: 6px; stroke-width: 1.5px; }
  .step { fill: #e8ecfb; stroke: #4a5fc1; }
  .group { fill: #f6f7fb; stroke: #9aa3bd; }
  .outside { fill: #fff; stroke: #6b7280; stroke-dasharray: 5 3; }
  .store { fill: #e6f4ec; stroke: #2f7d55; }
  .bad { fill: #fdecea; stroke: #b3382c; }
  line { stroke: #4a5163; stroke-width: 1.5px; marker-end: url(#tip); }
"""


def svg(picture: dict[str, Any]) -> str:
    """The picture as a standalone SVG on a white ground."""
    width = round(picture["columns"] * _COLUMN + 2 * _MARGIN)
    height = round(picture["rows"] * _ROW + 2 * _MARGIN)
    boxes = {box["id"]: _edges(box) for box in picture["box"]}
    shapes = [
        *(_shape(box) for box in picture["box"]),
        *(_arrow(*map(boxes.__getitem__, arrow["between"]), arrow) for arrow in picture["arrow"]),
    ]
    title = escape(picture["title"])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
        'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#4a5163"/></marker></defs>\n'
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n'
        + "\n".join(shapes)
        + "\n</svg>\n"
    )


def _edges(box: dict[str, Any]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom in px."""
    column, row, columns, rows = box["at"]
    return (
        round(_MARGIN + column * _COLUMN),
        round(_MARGIN + row * _ROW),
        round(_MARGIN + (column + columns) * _COLUMN),
        round(_MARGIN + (row + rows) * _ROW),
    )


def _shape(box: dict[str, Any]) -> str:
    left, top, right, bottom = _edges(box)
    kind = box.get("kind", "step")
    middle = (left + right) // 2
    lines = len(box["text"])
    bold = ' class="title"'
    first = top + 20 if kind == "group" else (top + bottom) // 2 + 5 - 9 * (lines - 1)
    texts = "".join(
        f'<text x="{middle}" y="{first + 18 * number}"{bold * (number == 0)}>{escape(line)}</text>'
        for number, line in enumerate(box["text"])
    )
    return (
        f'<rect class="{kind}" x="{left}" y="{top}" width="{right - left}" '
        f'height="{bottom - top}"/>{texts}'
    )


def _arrow(
    start: tuple[int, int, int, int], end: tuple[int, int, int, int], arrow: dict[str, Any]
) -> str:
    """A line in the middle of what the boxes have in common, across or down."""
    left, right = max(start[0], end[0]), min(start[2], end[2])
    top, bottom = max(start[1], end[1]), min(start[3], end[3])
    if left < right:
        x1 = x2 = (left + right) // 2
        y1, y2 = (start[3], end[1]) if start[3] <= end[1] else (start[1], end[3])
    elif top < bottom:
        y1 = y2 = (top + bottom) // 2
        x1, x2 = (start[2], end[0]) if start[2] <= end[0] else (start[0], end[2])
    else:
        raise ValueError(f"no straight line between {' and '.join(arrow['between'])}")
    line = f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>'
    if "text" not in arrow:
        return line
    x, y = (x1 + x2) // 2, (y1 + y2) // 2 + (4 if x1 == x2 else -6)
    return f'{line}<text class="label" x="{x}" y="{y}">{escape(arrow["text"])}</text>'


def terminal(shown: str) -> str:
    """What stands on a terminal, as a standalone SVG that loads no font from elsewhere."""
    command, _, printed = shown.partition("\n")
    console = Console(record=True, width=_COLUMNS, file=io.StringIO(), legacy_windows=False)
    console.print(Text.from_ansi(printed.rstrip()), end="\n\n")
    return re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title=command), flags=re.DOTALL)


def picture_of(source: Path) -> str:
    """The picture that belongs to that file."""
    text = source.read_text(encoding="utf-8")
    return terminal(text) if source.suffix == ".ansi" else svg(tomllib.loads(text))


def sources() -> list[Path]:
    """The files that pictures are made of."""
    return sorted({*PICTURES.glob("*.toml"), *PICTURES.glob("*.ansi")})


def main() -> None:
    """Write every picture."""
    for source in sources():
        source.with_suffix(".svg").write_text(picture_of(source), encoding="utf-8")


if __name__ == "__main__":
    main()
