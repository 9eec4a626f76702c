"""`mcctl privacy`: what screening and policy make of texts, offline."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from mc_ops import exit_codes
from mc_ops.cli.operator_access import Access, ReasonOption
from mc_ops.cli.options import Verbs
from mc_ops.cli.output import Format, OutputOption, emit_json, fail, note, stdout
from mc_ops.environments import checkout

app = Verbs()


@app.command()
def scan(
    file: Annotated[
        Path | None, typer.Argument(metavar="FILE.jsonl", help="JSON lines of texts; - is stdin.")
    ] = None,
    explain: Annotated[
        str, typer.Option("--explain", metavar="TEXT", help="Show why this text gets its labels.")
    ] = "",
    policies: Annotated[
        Path | None,
        typer.Option("--policies", help="Folder of the policy set; default: the platform's own."),
    ] = None,
    purpose: Annotated[
        str, typer.Option("--purpose", help="Purpose for which the text is used.")
    ] = "support",
    tenant: Annotated[
        str,
        typer.Option("--tenant", help="Tenant for which the text is screened; needs --catalogue."),
    ] = "",
    catalogue: Annotated[
        Path | None, typer.Option("--catalogue", help="Catalogue file that declares the tenant.")
    ] = None,
    output: OutputOption = Format.table,
) -> None:
    """Screen each text as a reply would be: `block` or `allow`, with the labels found.

    A row is `{"id", "text"}`; other fields are ignored. Each gets one line of JSON, in order:
    `{"id", "verdict", "labels", "policies"}`. A row that cannot be read is reported on standard error,
    the others are answered, and the exit code is 2.

    With --explain TEXT instead of a file: which rule, decoder and validator acted for each label.
    """
    if (file is None) == (not explain):
        fail("one of FILE.jsonl and --explain TEXT is needed", "see `mcctl privacy scan --help`")
        raise typer.Exit(exit_codes.USAGE)
    where = policies or checkout() / "policies"
    command = [sys.executable, "-m", "mc_platform", "scan", f"--policies={where}"]
    command += [f"--purpose={purpose}"]
    if tenant:
        command.append(f"--tenant={tenant}")
    if catalogue is not None:
        command.append(f"--catalogue={catalogue}")
    if file is None:
        raise typer.Exit(_explain(command, explain, output))
    try:
        if str(file) == "-":
            code = subprocess.run(command, check=False).returncode
        else:
            with file.open("rb") as rows:
                code = subprocess.run(command, check=False, stdin=rows).returncode
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}", "name a file of JSON lines")
        raise typer.Exit(exit_codes.USAGE) from error
    raise typer.Exit(code)


def _explain(command: list[str], text: str, output: Format) -> int:
    """Print what acted for each label of one text; the exit code of the scan."""
    row = json.dumps({"id": 1, "text": text}).encode()
    ran = subprocess.run([*command, "--explain"], check=False, input=row, stdout=subprocess.PIPE)
    if ran.returncode != 0 or not ran.stdout:
        return ran.returncode
    result = json.loads(ran.stdout)
    if output is Format.json:
        emit_json({key: result[key] for key in ("verdict", "labels", "policies", "refused")})
        return 0
    for label in result["labels"]:
        start, end = label["start"], label["end"]
        stdout.print(f"{label['type']}  {text[start:end]!r} ({start}-{end})", markup=False)
        for name, value in (
            ("rule", label["rules"] or [f"code ({label['detector']})"]),
            ("decoder", label["decoders"] or ["none"]),
            ("validator", label["validators"] or ["none"]),
        ):
            stdout.print(f"  {name:10} {', '.join(value)}", markup=False)
    for near in result["refused"]:
        start, end = near["start"], near["end"]
        stdout.print(f"no label  {text[start:end]!r} ({start}-{end})", markup=False)
        stdout.print(f"  {'rule':10} {near['rule']}", markup=False)
        stdout.print(f"  {'refused by':10} {near['because']}", markup=False)
    if not result["labels"] and not result["refused"]:
        stdout.print("no label: the pattern of no rule occurs in the text", markup=False)
    policies = ", ".join(result["policies"])
    stdout.print(f"{result['verdict']}{f' ({policies})' if policies else ''}", markup=False)
    return 0


@app.command()
def reveal(
    call: Access,
    reason: ReasonOption,
    tenant: Annotated[str, typer.Option("--tenant", help="Tenant whose pseudonyms they are.")] = "",
    purpose: Annotated[
        str, typer.Option("--purpose", help="Purpose, which the policy must permit.")
    ] = "identity-verification",
) -> None:
    """Read a text on standard input; print it with its pseudonyms resolved.

    Policy decides which; an operator needs an active break-glass grant. The ledger records the
    call.
    """
    text = sys.stdin.read()
    with call.acting() as client:
        told = client.reveal(text, reason=reason, tenant=tenant, purpose=purpose)
    sys.stdout.write(str(told["text"]))
    opened = ", ".join(f"{count} {kind}" for kind, count in sorted(told["opened"].items()))
    note(f"opened: {opened or 'nothing'} (decision {told['decision_id']})")
