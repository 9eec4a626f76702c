"""What a block's end and its words mean: outcomes, exit codes, and parameters' values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mc_ops.errors import UnusableInput
from mc_ops.exit_codes import COULD_NOT_TELL, DECLINED, FINDING, NOT_ALLOWED, USAGE, WAITING
from mc_ops.runbooks.mask import forms_of
from mc_ops.runbooks.model import ENGINE_VARIABLES, Runbook, Step
from mc_ops.runbooks.process import Finished
from mc_ops.runbooks.state import Outcome

# Exit codes that mean the same in a step as in `mcctl`; any other says only "could not tell".
_KNOWN = (FINDING, USAGE, COULD_NOT_TELL, NOT_ALLOWED, DECLINED, WAITING)


def judge(finished: Finished) -> tuple[Outcome, int]:
    """What the end of a block means for the run: its outcome, and the run's exit code."""
    if finished.interrupted:
        return Outcome.interrupted, DECLINED
    if finished.timed_out:
        return Outcome.failed, COULD_NOT_TELL
    if finished.exit == 0:
        return Outcome.passed, 0
    code = finished.exit if finished.exit in _KNOWN else COULD_NOT_TELL
    special = {WAITING: Outcome.waiting, DECLINED: Outcome.declined}
    return special.get(code, Outcome.failed), code


def read_outputs(
    runbook: Runbook, step: Step, path: Path, secrets: Mapping[str, str]
) -> dict[str, str]:
    """The parameters that a step wrote to `$STEP_OUTPUT`, one `KEY=VALUE` a line; blank ones are none.

    Raises:
        UnusableInput: A line is malformed, or names a parameter that is not this step's to set; or
            there is a secret in it, and then the file is emptied.
    """
    owned = {parameter.name: parameter for parameter in runbook.parameters}
    found: dict[str, str] = {}
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    told = [
        name for name, value in secrets.items() if any(form in text for form in forms_of(value))
    ]
    if told:
        path.write_bytes(b"")
        raise UnusableInput(
            f"step {step.id} wrote the secret {told[0]} to $STEP_OUTPUT, which is recorded"
        )
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if not line.strip():
            continue
        if "=" not in line:
            raise UnusableInput(
                f"step {step.id} wrote an output that is no KEY=VALUE (line {number}: {line[:60]!r})",
                hint="a value is one line: join those that it has, or write a file to $RUN_DIR",
            )
        name, _, value = line.partition("=")
        parameter = owned.get(name)
        if parameter is None or parameter.set_by != step.id:
            raise UnusableInput(
                f"step {step.id} wrote an output that it may not set (line {number}: {name!r})",
                hint=f"declare it in the header as a parameter with set_by: {step.id}",
            )
        check_value(runbook, name, value)
        found[name] = value
    return found


def check_value(runbook: Runbook, name: str, value: str) -> None:
    """Refuse a value that its parameter's pattern does not allow.

    Raises:
        UnusableInput: The parameter is unknown, or the value does not match.
    """
    parameter = next((one for one in runbook.parameters if one.name == name), None)
    if parameter is None:
        known = ", ".join(one.name for one in runbook.parameters) or "none"
        hint = "the engine itself sets it" if name in ENGINE_VARIABLES else f"known: {known}"
        raise UnusableInput(f"runbook {runbook.id} has no parameter {name!r}", hint=hint)
    if not parameter.allows(value):
        raise UnusableInput(
            f"{name}={value!r} does not match {parameter.pattern}", hint=parameter.help
        )
