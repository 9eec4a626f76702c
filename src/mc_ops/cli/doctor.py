"""`mcctl doctor`: whether this machine and the state folder are fit for a platform."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from mc_ops.cli.halts import halt_text, halts_of
from mc_ops.cli.options import EnvOption, Verbs
from mc_ops.cli.output import Format, OutputOption, emit_json
from mc_ops.cli.preflight import count, print_results
from mc_ops.environments import Environment, open_environment
from mc_ops.errors import OpsError

if TYPE_CHECKING:
    from mc_ops.preflight import CheckResult

app = Verbs()


@app.command()
def doctor(env: EnvOption = "local", output: OutputOption = Format.table) -> None:
    """Check this machine and the state folder. Exit 0 fit, 1 a check failed, 3 unknown."""
    from mc_ops import preflight
    from mc_ops.preflight.machine import check_machine

    environment = open_environment(env)
    results = [*check_machine(environment), _autonomy(environment)]
    code = preflight.exit_of(results)
    if output is Format.json:
        emit_json({"ok": code == 0, "checks": [one.as_dict() for one in results]})
    else:
        print_results(results)
        count(results)
    raise typer.Exit(code)


def _autonomy(environment: Environment) -> CheckResult:
    """A halt stays until a person ends it: it is easily forgotten, behind a restore above all."""
    from mc_ops.preflight.result import found, not_applicable, unknown

    try:
        halts = halts_of(environment, environment.status())
    except OpsError as error:
        return unknown("autonomy", error.message, error.hint)
    if halts is None:
        return not_applicable("autonomy", "no region serves here that could tell")
    return found("autonomy", map(halt_text, halts), "nothing is halted", "mcctl autonomy status")
