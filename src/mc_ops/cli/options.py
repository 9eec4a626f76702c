"""Options that many verbs have."""

from __future__ import annotations

from typing import Annotated

import typer

EnvOption = Annotated[
    str, typer.Option("--env", help="Environment of the platform; only `local` exists today.")
]
