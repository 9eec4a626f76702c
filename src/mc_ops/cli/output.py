"""What `mcctl` prints: results on stdout, everything else on stderr.

Icon, word and colour always go together; rich honours `NO_COLOR` and drops colour off a TTY.
"""

from __future__ import annotations

import io
import json
import os
import sys
import textwrap
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from enum import StrEnum
from typing import IO, Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from mc_ops.errors import CouldNotTell

SCHEMA_VERSION = 1
_LEAST_WIDTH = 20

_CONTROLS = dict.fromkeys(
    (
        *range(9),
        *range(11, 32),
        *range(127, 160),
        *(0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A)),  # turn text round
        *range(0xD800, 0xE000),  # no text: a stream of UTF-8 breaks at it
    ),
    "\ufffd",
)


class _Plain(Console):
    """A console to which no text can send commands: labels and messages come from elsewhere."""

    def print(self, *objects: Any, **how: Any) -> None:
        """As rich's; control characters but tab and newline are shown as a replacement."""
        plain = (_plain(one) if isinstance(one, str) else one for one in objects)
        try:
            super().print(*plain, **how)
        except OSError as error:
            self.give_up()
            if not self.stderr:  # what goes there is no result
                raise _unwritable(error) from error

    def on_broken_pipe(self) -> None:
        """Whoever read has seen enough (`| head -1`): the work goes on, and so its exit code."""
        self.give_up()

    def give_up(self) -> None:
        """Let what is printed from now on go nowhere."""
        self.quiet = True
        _discard(self.file)


def _discard(file: IO[str]) -> None:
    """Write to nowhere from now on: what is buffered would fail again when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, file.fileno())
    os.close(nowhere)


def _unwritable(error: OSError) -> CouldNotTell:
    return CouldNotTell(f"the output cannot be written: {error.strerror}")


def ready_streams() -> None:
    """Make stdout and stderr take whatever is printed: no verdict is lost to what the caller has closed.

    A closed one leads nowhere, and what an encoding lacks is escaped. Processes that are started
    write UTF-8, as their output is read.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest free number: this one
            os.set_inheritable(number, True)  # for what is started, too
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    os.environ["PYTHONIOENCODING"] = "utf-8"


stdout = _Plain(soft_wrap=True, highlight=False)
stderr = _Plain(stderr=True, soft_wrap=True, highlight=False)


class Format(StrEnum):
    """How a result is printed."""

    table = "table"
    json = "json"


OutputOption = Annotated[
    Format, typer.Option("--output", "-o", help="Print the result as a table or as JSON.")
]


def emit_line(text: str) -> None:
    """Print a line of a log or a record: on a terminal without commands to it, else as it is.

    Raises:
        Exit: whoever read has seen enough, so that what follows a log ends.
        CouldNotTell: the output cannot be written.
    """
    try:
        sys.stdout.write(f"{_plain(text) if sys.stdout.isatty() else text}\n")
        sys.stdout.flush()
    except OSError as error:
        stdout.give_up()
        if isinstance(error, BrokenPipeError):
            raise typer.Exit from error
        raise _unwritable(error) from error


def emit_json(result: dict[str, Any]) -> None:
    """Print one JSON object with `schema_version` first, keys otherwise as given.

    Raises:
        CouldNotTell: a number is none in JSON, or the output cannot be written.
    """
    text = json_text(result)
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        stdout.give_up()
        if not isinstance(error, BrokenPipeError):  # whoever read has seen enough
            raise _unwritable(error) from error


def json_text(result: dict[str, Any]) -> str:
    """What `emit_json` prints.

    Raises:
        CouldNotTell: a number is none in JSON.
    """
    try:
        text = json.dumps({"schema_version": SCHEMA_VERSION, **result}, indent=2, allow_nan=False)
    except ValueError as error:
        raise CouldNotTell(
            "a figure is infinite or undefined, which JSON cannot express",
            hint="show it with --output table",
        ) from error
    return text + "\n"


def show(output: Format, result: dict[str, Any], lines: Iterable[str | Text]) -> None:
    """Print a result, as the JSON object or as the lines that a person reads.

    Raises:
        CouldNotTell: as `emit_json`.
    """
    if output is Format.json:
        emit_json(result)
        return
    for line in lines:
        stdout.print(line, markup=False)


def columns(
    rows: Iterable[Sequence[str | Text]],
    *,
    heading: Sequence[str] = (),
    right: Collection[int] = (),
) -> list[Text]:
    """Each row as a line, with every column as wide as its widest cell: nothing is cut.

    Args:
        rows: Of as many cells each.
        heading: Of the columns, as the first line.
        right: The columns that are aligned to the right, counted from 0.
    """
    cells = [[Text(one, style="bold") for one in heading]] if heading else []
    cells += [
        [Text(_plain(one)) if isinstance(one, str) else one.copy() for one in row] for row in rows
    ]
    widths = [max(cell.cell_len for cell in column) for column in zip(*cells, strict=True)]
    lines = []
    for row in cells:
        for number, (cell, width) in enumerate(zip(row, widths, strict=True)):
            cell.align("right" if number in right else "left", width)
        lines.append(Text("  ").join(row))
        lines[-1].rstrip()
    return lines


def indented(text: str, by: int, width: int | None = None) -> list[str]:
    """A text beneath another one, broken between words.

    Args:
        text: One line.
        by: How many spaces are before each line.
        width: Of the lines without these; None: a terminal's, and elsewhere it is one line.
    """
    if width is None:
        width = stdout.width - by if stdout.is_terminal else max(1, len(text))
    return [f"{' ' * by}{line}" for line in textwrap.wrap(text, max(_LEAST_WIDTH, width))]


def styled(markup: str) -> Text:
    """Text with rich's markup in it, for a line or a cell."""
    return Text.from_markup(_plain(markup))


def _plain(text: str) -> str:
    return text.translate(_CONTROLS)


_MARKS = {
    **dict.fromkeys(("ok", "pass"), ("✔", "green")),
    **dict.fromkeys(("failed", "fail"), ("✘", "red")),
    "warning": ("▲", "yellow"),
    "unknown": ("?", "yellow"),
    **dict.fromkeys(("skipped", "not-applicable"), ("-", "dim")),
}


def print_check(status: str, name: str, detail: str, remedy: str = "", *, width: int = 8) -> None:
    """Print a check's answer: icon, word and colour, then what was seen and what to do.

    Args:
        status: A word of the checks' or the playbooks' `Status`.
        width: Of the column of these words.
    """
    icon, colour = _MARKS[status]
    stdout.print(f"{icon} {status:<{width}} {name}", style=colour, markup=False)
    stdout.print(f"    {detail}", markup=False)
    if remedy:
        stdout.print(f"    → {remedy}", markup=False)


def flush() -> None:
    """Write what is still to be written to stdout, if that can be done."""
    try:
        sys.stdout.flush()
    except OSError:
        _discard(sys.stdout)


def note(text: str) -> None:
    """Tell the reader something that is not the result (stderr)."""
    stderr.print(text)


def rewrite(text: str) -> None:
    """Put this line in place of the last one on stderr, which must be a terminal; empty: none."""
    plain = _plain(text.replace("\n", " "))
    short = plain if len(plain) < stderr.width else f"{plain[: stderr.width - 2]}…"
    with suppress(OSError):
        sys.stderr.write(f"\r\x1b[2K{short}")
        sys.stderr.flush()


def ok(text: str) -> None:
    """Tell that a step went well (stderr)."""
    stderr.print(f"[green]✔ ok[/green]    {text}")


def warn(text: str, hint: str = "") -> None:
    """Tell something to look at, and what to do (stderr)."""
    stderr.print(f"[yellow]▲ warn[/yellow]  {text}")
    _tell_hint(hint)


def fail(text: str, hint: str = "") -> None:
    """Tell what failed and what to do (stderr)."""
    stderr.print(f"[red]✘ error[/red] {text}", markup=True)
    _tell_hint(hint)


def _tell_hint(hint: str) -> None:
    if hint:
        stderr.print(f"  → {hint}", markup=False)
