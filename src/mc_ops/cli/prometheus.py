"""`mcctl prometheus write`: what Prometheus and Alertmanager need to watch this platform."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from mc_ops.cli.options import EnvOption, Verbs
from mc_ops.cli.output import Format, OutputOption, note, ok, show
from mc_ops.environments import open_environment
from mc_ops.errors import UnusableInput

app = Verbs()


@app.command()
def write(
    out: Annotated[
        Path | None, typer.Option("--out", help="Output folder; default: MC_HOME/monitoring.")
    ] = None,
    prometheus: Annotated[
        str, typer.Option("--prometheus", help="Address on which Prometheus listens.")
    ] = "127.0.0.1:9090",
    alertmanager: Annotated[
        str, typer.Option("--alertmanager", help="Address on which Alertmanager listens.")
    ] = "127.0.0.1:9093",
    env: EnvOption = "local",
    output: OutputOption = Format.table,
) -> None:
    """Write both configurations for the running replicas; print the start commands.

    `mcctl scale` rewrites the targets in MC_HOME/monitoring; with --out, repeat this instead.
    """
    from mc_ops.environments import monitoring

    if env == "kubernetes":
        raise UnusableInput(
            "on a cluster Prometheus finds the pods itself",
            hint="kubectl apply -k deploy/kubernetes/monitoring (with its operator), or "
            "deploy/prometheus/prometheus.kubernetes.yml",
        )
    written = monitoring.write(
        open_environment(env), folder=out, prometheus=prometheus, alertmanager=alertmanager
    )
    result = {
        "folder": str(written.folder),
        "targets": written.targets,
        "commands": [list(command) for command in written.commands],
    }
    if output is Format.table:
        ok(f"{escape(str(written.folder))}: {', '.join(written.targets)}")
        note("no alert leaves this machine; `amtool alert` or Alertmanager's page shows them")
    show(output, result, map(shlex.join, written.commands))
