"""How `audit`, `policy` and `canary override` reach the ledger: its service, its key, its exports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mc_ops import audit
from mc_ops.cli.operator_access import Reading, access_token
from mc_ops.cli.options import Whole
from mc_ops.environments import Workspace
from mc_ops.errors import Finding, UnusableInput
from mc_ops.files import read_limited

if TYPE_CHECKING:
    from mc_contract.ledger.checkpoint import LogKeys
    from mc_contract.ledger.export import VerifiedExport

LedgerKeyOption = Annotated[
    Path | None,
    typer.Option("--key", help="Public key of the ledger; default: $MC_HOME/trust/ledger.pub."),
]

WitnessOption = Annotated[
    list[str] | None,
    typer.Option(
        "--witness",
        help="Verifier key of a witness that is trusted, or a file of them; repeatable.",
    ),
]
RequireOption = Annotated[
    Whole | None,
    typer.Option(
        "--require", min=1, help="How many of these witnesses must have cosigned; default: one."
    ),
]


@dataclass(frozen=True, kw_only=True)
class LedgerReading(Reading):
    """The options of a verb that reads the ledger, and holds it against its public key."""

    key: LedgerKeyOption = None

    @contextmanager
    def ledger(
        self, default: str = "AUDITOR", log: str | None = None
    ) -> Iterator[audit.AuditClient]:
        """A client of the ledger; arguments and errors as for `client`.

        Args:
            log: The log of an earlier epoch; by default the one that is written.
        """
        token = access_token(self.url, self.whose, default)
        with audit.AuditClient(self.url or Workspace.from_env().url, token) as client:
            yield client.of_log(log)

    def trusted(self) -> LogKeys:
        """As `ledger_key`."""
        return ledger_key(self.key)


def ledger_key(given: Path | None) -> LogKeys:
    """The ledger's public key: the one that is given, or the local platform's.

    Raises:
        UnusableInput: it cannot be read.
    """
    return audit.load_public_key(given or Workspace.from_env().ledger_key)


def read_export(path: Path, key: LogKeys) -> VerifiedExport:
    """A ledger export, verified.

    Raises:
        UnusableInput: it is no ledger export.
        Finding: it does not verify.
    """
    from mc_contract.ledger.export import MAX_EXPORT_BYTES, ExportError, NoExport, verify_export

    try:
        return verify_export(read_limited(path, MAX_EXPORT_BYTES), key)
    except NoExport as error:
        raise UnusableInput(
            f"{path} cannot be read as a ledger export: {error.message}",
            hint="name a file that `mcctl audit export` or `mcctl audit prove` has written",
        ) from error
    except ExportError as error:
        raise Finding(f"{path} does not verify: {error.message}") from error
