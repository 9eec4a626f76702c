"""`mcctl version`: what runs."""

from __future__ import annotations

import platform
from importlib.metadata import version as version_of

from mc_ops.cli.options import Verbs
from mc_ops.cli.output import Format, OutputOption, columns, show

app = Verbs()


@app.command()
def version(output: OutputOption = Format.table) -> None:
    """Print the versions of mcctl and of Python."""
    told = {"mcctl": version_of("mc-platform"), "python": platform.python_version()}
    show(output, told, columns(list(told.items())))
