"""`mcctl doctor`: whether this machine and the state folder are fit for a platform."""

from __future__ import annotations

import typer

from mc_ops.cli.options import EnvOption, Verbs
from mc_ops.cli.output import Format, OutputOption, emit_json
from mc_ops.cli.preflight import count, print_results
from mc_ops.environments import open_environment

app = Verbs()


@app.command()
def doctor(env: EnvOption = "local", output: OutputOption = Format.table) -> None:
    """Check this machine and the state folder. Exit 0 fit, 1 a check failed, 3 unknown."""
    from mc_ops import preflight
    from mc_ops.preflight.machine import check_machine

    results = check_machine(open_environment(env))
    code = preflight.exit_of(results)
    if output is Format.json:
        emit_json({"ok": code == 0, "checks": [one.as_dict() for one in results]})
    else:
        print_results(results)
        count(results)
    raise typer.Exit(code)
