"""`mcctl keys`: make, list and rotate the platform's keys; no secret is ever shown."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from mc_contract import keyring
from mc_contract.numbers import counted
from mc_ops import keys as room
from mc_ops import service_client
from mc_ops.cli.operator_access import Access, AsOption, Reading, ReasonOption, YesOption, confirm
from mc_ops.cli.options import EnvOption, Number, Verbs
from mc_ops.cli.output import Format, OutputOption, columns, note, ok, show, warn
from mc_ops.environments import Environment, open_environment
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.files import read_limited, write_atomically

app = Verbs()
_ADMINISTRATOR = "ADMINISTRATOR"
_SIGNING = "signing"
# As in mc_contract.keyring, which is slow to load, and of the ledger
_PURPOSES = (
    "identity", "digest", "sealing", "fingerprint", "pseudonym", "aggregate", _SIGNING,
)  # fmt: skip


@dataclass(slots=True)
class _Platform:
    """A running platform as a `keys.Fleet`."""

    environment: Environment
    whose: str | None
    reason: str
    log: str = ""
    retention_days: int = 0
    _told: bool = field(default=False)

    def look(self) -> None:
        """Ask the service what is to be known before a rotation."""
        with Access(whose=self.whose).client(_ADMINISTRATOR) as client:
            found = client.keys()
        self.log, self.retention_days = str(found["log"]), int(found["retention_days"])
        if found["refused"]:
            raise CouldNotTell(
                f"a replica refuses the keys in its files: {found['refused']}",
                hint="mend the file first; docs/how-to/keys.md",
            )

    def declare(self, digest: str) -> None:
        access = Access(whose=self.whose)
        # As whom is said once
        with (access.client if self._told else access.acting)(_ADMINISTRATOR) as client:
            client.declare_rules("keyring", digest, reason=self.reason)
        self._told = True

    def in_use(self) -> dict[str, str]:
        found = {}
        for instance in self.environment.instances():
            with service_client.ServiceClient(instance.url) as service:
                found[instance.name] = service.health().keys
        return found


@app.command("list")
def list_keys(call: Reading) -> None:
    """List the keys in use: purpose, id, state, and until when a former one is needed."""
    with call.client(_ADMINISTRATOR) as client:
        found = client.keys()
    call.show(found, columns(map(_cells, found["keys"])))
    if found["refused"]:
        warn(escape(f"the keys in the files are refused: {found['refused']}"))


def _cells(key: Mapping[str, Any]) -> tuple[str, ...]:
    until = ""
    if key["state"] == "former" and key["purpose"] != _SIGNING:
        end = key["needed_until"]
        until = "needed for good" if end is None else f"needed until {end[:10]}"
    return (key["purpose"], key["id"], key["state"], key.get("created_at", "")[:10], until)


@app.command("rotate")
def rotate_key(
    purpose: Annotated[str, typer.Argument(help=f"One of: {', '.join(_PURPOSES)}.")],
    reason: ReasonOption,
    env: EnvOption = "local",
    keyring: Annotated[
        Path | None,
        typer.Option("--keyring", help="Keyring file; default: the local platform's."),
    ] = None,
    ledger_key: Annotated[
        Path | None,
        typer.Option("--ledger-key", help="Signing key file; default: the local platform's."),
    ] = None,
    timeout_s: Annotated[
        Number,
        typer.Option("--timeout", min=1.0, help="Maximum time per step and replica, in seconds."),
    ] = 30.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the steps; change nothing.")
    ] = False,
    whose: AsOption = None,
    yes: YesOption = False,
    output: OutputOption = Format.table,
) -> None:
    """Replace a key: every replica learns the new one, then uses it; the old one is read on.

    Nothing restarts. If a replica does not take a step in time the command ends with exit code 3,
    and the same command continues.
    """
    if purpose not in _PURPOSES:
        raise UnusableInput(f'unknown purpose "{purpose}"', hint=f"known: {', '.join(_PURPOSES)}")
    environment = open_environment(env)
    workspace = environment.workspace
    files = room.KeyFiles(
        keyring or workspace.secret("keyring.json"),
        ledger_key or workspace.secret("ledger.key"),
        workspace.ledger_key,
    )
    fleet = _Platform(environment, whose, reason)
    fleet.look()

    def done(*, plan: bool) -> room.Rotation:
        return room.rotate(files, purpose, fleet, dry_run=plan, timeout_s=timeout_s)

    plan = done(plan=True)
    for number, step in enumerate(plan.steps, 1):
        note(escape(f"{number}. {step}"))
    if dry_run:
        show(output, plan.as_json(), ())
        return
    confirm(f"Rotate the {purpose} key in {env}?", yes=yes)
    with environment.locked() if env == "local" else nullcontext():
        rotated = done(plan=False)
    show(output, rotated.as_json(), ())
    ok(escape(f"{purpose}: rotated; {', '.join(rotated.replicas) or 'nothing runs'}"))


@app.command()
def prepare(
    out: Annotated[Path, typer.Option("--out", help="New file for the keyring (mode 0600).")],
    ledger_key: Annotated[
        Path | None,
        typer.Option(
            "--ledger-key",
            help="Signing key of an installation that runs without a keyring: its keys are kept.",
        ),
    ] = None,
    pseudonym_key: Annotated[
        Path | None, typer.Option("--pseudonym-key", help="Its key for pseudonyms, if it has one.")
    ] = None,
    output: OutputOption = Format.table,
) -> None:
    """Make the keyring of a platform elsewhere: new keys, or those that an installation has already."""
    if pseudonym_key is not None and ledger_key is None:
        raise UnusableInput("--pseudonym-key goes with --ledger-key")
    if ledger_key is None:
        made = keyring.new_keyring(datetime.now(UTC))
    else:
        pseudonym = None if pseudonym_key is None else read_limited(pseudonym_key).strip()
        made = keyring.first_keyring(
            room.KeyFiles(out, ledger_key, out).signing_keys()[-1], pseudonym
        )
    try:
        write_atomically(out, keyring.keyring_text(made), replace=False)
    except OSError as error:
        raise UnusableInput(
            f"{out} cannot be made: {error.strerror}", hint="name a file that is not there"
        ) from error
    ok(
        escape(
            f"{out}: {counted(len(made.view()), 'key')}; keep a copy where the database's backups are not"
        )
    )
    show(output, {"file": str(out), "keys": made.view()}, ())
