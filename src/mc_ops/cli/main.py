"""`mcctl`: composes the rooms' verbs, and turns errors into text and an exit code."""

from __future__ import annotations

import importlib
import sys
import traceback
from typing import Annotated, Protocol, runtime_checkable

import typer
from rich.markup import escape
from typer.exceptions import TyperException

from mc_ops import exit_codes
from mc_ops.cli.output import fail, flush
from mc_ops.errors import OpsError

# verb (or group) -> module under mc_ops.cli that has `app` (a group) or `register(app)` (verbs)
GROUPS = {
    "canary": "mc_ops.cli.canary",
    "evidence": "mc_ops.cli.evidence",
    "runbook": "mc_ops.cli.runbook",
    "preflight": "mc_ops.cli.preflight",
    "incident": "mc_ops.cli.incident",
    "audit": "mc_ops.cli.audit",
    "operations": "mc_ops.cli.operations",
    "autonomy": "mc_ops.cli.autonomy",
    "policy": "mc_ops.cli.policy",
    "privacy": "mc_ops.cli.privacy",
    "break-glass": "mc_ops.cli.break_glass",
    "credential": "mc_ops.cli.credential",
    "tenant": "mc_ops.cli.tenant",
    "redteam": "mc_ops.cli.redteam",
    "prometheus": "mc_ops.cli.prometheus",
    "slo": "mc_ops.cli.slo",
    "health": "mc_ops.cli.health",
}
VERB_MODULES = ("mc_ops.cli.environment", "mc_ops.cli.cost", "mc_ops.cli.delta")
VERBS = frozenset(
    {"up", "down", "status", "logs", "scale", "wait", "cutover", "instances", "cost", "delta"}
)

_INTERRUPTED = 130  # what typer returns for a Ctrl-C that it caught itself

app = typer.Typer(
    name="mcctl",
    help="Operate MC Platform: start it, judge a candidate, cut over, prove what happened.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(version("mc-platform"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Operate MC Platform."""


@runtime_checkable
class _Showing(Protocol):
    """A usage error, which prints itself with its command's usage line."""

    def show(self) -> None: ...


def _compose(first: str) -> None:
    """Add the verbs; only the wanted group when the first word names one, to start fast."""
    for name in VERB_MODULES:
        importlib.import_module(name).register(app)
    wanted = (first,) if first in GROUPS else () if first in VERBS else tuple(GROUPS)
    for group in wanted:
        app.add_typer(importlib.import_module(GROUPS[group]).app, name=group)


def main() -> None:
    """Run `mcctl`; the only place of the tool-chain that exits."""
    try:
        _compose(sys.argv[1] if len(sys.argv) > 1 else "")
        code = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        fail("interrupted")
        sys.exit(exit_codes.DECLINED)
    except TyperException as error:
        error.show() if isinstance(error, _Showing) else fail(escape(error.message))
        sys.exit(exit_codes.USAGE)
    except OpsError as error:
        fail(escape(error.message), error.hint)
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a folder that may not be entered: no finding
        fail(escape(f"{error.filename or 'the system'}: {error.strerror or type(error).__name__}"))
        flush()
        sys.exit(exit_codes.COULD_NOT_TELL)
    except Exception:  # noqa: BLE001 - a fault of ours must not pass for a finding (exit 1)
        traceback.print_exc()
        fail("mcctl itself failed: nothing was found out", "report it with the lines above")
        flush()
        sys.exit(exit_codes.COULD_NOT_TELL)
    if code == _INTERRUPTED:
        sys.exit(exit_codes.DECLINED)
    sys.exit(code if isinstance(code, int) else exit_codes.OK)
