"""What `mcctl` prints: results on stdout, everything else on stderr.

Icon, word and colour always go together; rich honours `NO_COLOR` and drops colour off a TTY.
"""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

SCHEMA_VERSION = 1

_CONTROLS = dict.fromkeys(
    (*range(9), *range(11, 32), *range(127, 160), 0x2028, 0x2029, 0x202E), "\ufffd"
)


class _Plain(Console):
    """A console to which no text can send commands: labels and messages come from elsewhere."""

    def print(self, *objects: Any, **how: Any) -> None:
        """As rich's; control characters but tab and newline are shown as a replacement."""
        super().print(
            *(one.translate(_CONTROLS) if isinstance(one, str) else one for one in objects), **how
        )


stdout = _Plain(soft_wrap=True, highlight=False)
stderr = _Plain(stderr=True, soft_wrap=True, highlight=False)


class Format(StrEnum):
    """How a result is printed."""

    table = "table"
    json = "json"


OutputOption = Annotated[
    Format, typer.Option("--output", "-o", help="Print the result as a table or as JSON.")
]


def emit_json(result: dict[str, Any]) -> None:
    """Print one JSON object with `schema_version` first, keys otherwise as given."""
    text = json.dumps({"schema_version": SCHEMA_VERSION, **result}, indent=2, allow_nan=False)
    sys.stdout.write(text + "\n")


def note(text: str) -> None:
    """Tell the reader something that is not the result (stderr)."""
    stderr.print(text)


def ok(text: str) -> None:
    """Tell that a step went well (stderr)."""
    stderr.print(f"[green]✔ ok[/green]    {text}")


def warn(text: str) -> None:
    """Tell something to look at (stderr)."""
    stderr.print(f"[yellow]▲ warn[/yellow]  {text}")


def fail(text: str, hint: str = "") -> None:
    """Tell what failed and what to do (stderr)."""
    stderr.print(f"[red]✘ error[/red] {text}", markup=True)
    if hint:
        stderr.print(f"  → {hint}", markup=False)
