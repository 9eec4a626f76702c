"""`mcctl`: composes the rooms' verbs, and turns errors into text and an exit code."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Annotated, Any, cast

import typer
from rich.markup import escape
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException
from typer.main import get_group

from mc_ops import exit_codes
from mc_ops.cli import lazy
from mc_ops.cli.output import fail, flush, ready_streams, stderr
from mc_ops.errors import OpsError

# What `mcctl --help` lists, in its order: a line of help, and the module under mc_ops.cli whose
# `app` is that group, or (VERBS) has a command of that name.
VERBS = {
    "up": ("environment", "Start the platform on this machine."),
    "down": ("environment", "Stop the platform; its data is kept."),
    "status": ("environment", "Show each process of the platform and its health."),
    "logs": ("environment", "Print the log lines of the platform's processes."),
    "scale": ("environment", "Change the number of replicas of a colour."),
    "wait": ("environment", "Wait until every replica of a colour is ready."),
    "cutover": ("environment", "Switch traffic to the other colour (blue or green)."),
    "instances": ("environment", "Print the URL of each running replica of a colour."),
    "cost": ("cost", "Show the cost of requests for each tenant."),
    "doctor": ("doctor", "Check this machine and the platform's state folder."),
    "version": ("version", "Print the version, and that of Python."),
    "delta": ("delta", "Write a period's figures and their change as a report."),
}
GROUPS = {
    "canary": ("canary", "Compare a candidate with the baseline: PROMOTE or HOLD."),
    "evidence": ("evidence", "Pack and verify the signed evidence of a release."),
    "runbook": ("runbook", "Read and run executable runbooks."),
    "preflight": ("preflight", "Check the conditions for a cutover."),
    "incident": ("incident", "Run the playbook of an incident."),
    "backup": ("backup", "Make, verify and restore backups of the platform."),
    "audit": ("audit", "Read, verify, export and archive the audit ledger."),
    "operations": ("operations", "List, follow, cancel and resolve operations."),
    "home": ("home", "Show and move tenants' homes, where effects happen."),
    "replication": ("replication", "Show how two regions replicate to each other."),
    "autonomy": ("autonomy", "Halt and resume what agents may do by themselves."),
    "policy": ("policy", "Check, test, compare, explain and apply policy sets."),
    "privacy": ("privacy", "Screen texts for personal data; resolve pseudonyms."),
    "break-glass": ("break_glass", "Grant an operator temporary access to a tenant's data."),
    "credential": ("credential", "Create, rotate, revoke and list credentials."),
    "keys": ("keys", "List and rotate the platform's keys by purpose."),
    "tenant": ("tenant", "List and check the tenants of the catalogue."),
    "redteam": ("redteam", "Attack a running platform and measure its defence."),
    "drill": ("drill", "Break a running platform and measure RTO and RPO."),
    "prometheus": ("prometheus", "Write Prometheus and Alertmanager configuration."),
    "slo": ("slo", "Show SLO status."),
    "health": ("health", "Run the daily health check of the whole platform."),
}

# The headings of `mcctl --help`; each command stands under one
HEADINGS = {
    "Platform": (
        *("up", "down", "status", "logs", "scale", "wait", "instances", "tenant", "prometheus"),
        *("doctor", "version"),
    ),
    "Release": ("preflight", "canary", "cutover", "runbook", "evidence"),
    "Govern": ("policy", "autonomy", "operations", "privacy", "break-glass", "credential", "keys"),
    "Record": ("audit", "cost", "delta", "slo", "health"),
    "Survive": ("incident", "backup", "home", "replication", "redteam", "drill"),
}

_LEAST_LIKENESS = 0.7
# Verbs that change something and ask nothing; those that ask have --yes or --reason
_CHANGE = frozenset({"up", "scale", "create", "run", "write", "pack", "prepare", "extract"})
_INTERRUPTED = 130  # what typer returns for a Ctrl-C that it caught itself


class _Group(TyperGroup):
    """A group of which `--help` and completion need no pydantic."""

    def get_params(self, ctx: Any) -> list[Any]:
        """As click's; typer would load pydantic to check the None that is a flag's default."""
        params = super().get_params(ctx)
        for flag in params:
            flag.default = flag.default or False
        return params

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """As click's; a name that is unknown is told with those like it that change nothing."""
        self.suggest_commands = False  # typer's may be any, and little like it
        try:
            return cast(tuple[str | None, Any, list[str]], super().resolve_command(ctx, args))
        except TyperException as error:
            like = get_close_matches(args[0], self.commands, cutoff=_LEAST_LIKENESS)
            if harmless := [name for name in like if self._is_harmless(name)]:
                names = ", ".join(map(repr, harmless))
                error.message = f"{error.message.rstrip('.')}; did you mean {names}?"
            raise

    def _is_harmless(self, name: str) -> bool:
        command = self._whole(name)
        asks = {one.name for one in command.params} & {"yes", "reason"}
        return isinstance(command, TyperGroup) or not (asks or name in _CHANGE)

    def _whole(self, name: str) -> Any:
        return self.commands[name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - click gives it
        """As click's, with each command's whole line of help: it is broken and not cut."""
        for heading, names in self._sections():
            shown = [self.commands[name] for name in names]
            rows = [(one.name, _line_of(one)) for one in shown if not one.hidden]
            with formatter.section(heading):
                formatter.write_dl(rows)

    def _sections(self) -> Iterable[tuple[str, Iterable[str]]]:
        return [("Commands", self.commands)]


def _line_of(command: Any) -> str:
    return " ".join((command.help or "").split("\n\n")[0].split())


class _Commands(_Group):
    """All commands, with a line of help each; a command's module is loaded when it is called."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (_, summary) in {**VERBS, **GROUPS}.items():
            self.add_command(TyperCommand(name=name, help=summary))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """As click's, of the command itself instead of its line of help."""
        if args[0] in self.commands:
            self.add_command(load(args[0]))
        return super().resolve_command(ctx, args)

    def _whole(self, name: str) -> Any:
        return load(name)

    def _sections(self) -> Iterable[tuple[str, Iterable[str]]]:
        return HEADINGS.items()


def load(name: str) -> Any:
    """The verb or the group of that name, for which its module is imported."""
    module, summary = VERBS.get(name) or GROUPS[name]
    whole = typer.Typer(rich_markup_mode=None)
    whole.add_typer(
        importlib.import_module(f"mc_ops.cli.{module}").app, name=name, cls=_Group, help=summary
    )
    group = cast(TyperGroup, get_group(whole).commands[name])
    return group.commands[name] if name in VERBS else group


def load_all() -> TyperGroup:
    """`mcctl` with every command's module imported, for who reads all of its help."""
    whole = get_group(app)
    for name in (*VERBS, *GROUPS):
        whole.add_command(load(name))
    return whole


app = typer.Typer(
    name="mcctl",
    cls=_Commands,
    help="Operate MC Platform: run it, release to it, audit it, handle its incidents.",
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
    pass


def _tell_usage(error: TyperException) -> None:
    """Tell a usage error as any other: what is wrong, then which help says what is right."""
    if "\n" in error.message:  # a group's help, where no command of it was named
        stderr.print(error.message, markup=False)
        return
    context = getattr(error, "ctx", None)
    option = getattr(error, "option_name", None)
    if option and context and hasattr(error, "possibilities"):  # typer's are little like it
        known = [name for one in context.command.get_params(context) for name in one.opts]
        message = f"no such option: {option}"
        if like := get_close_matches(option, known, cutoff=_LEAST_LIKENESS):
            message += f"; did you mean {' or '.join(like)}?"
    else:
        message = " ".join(
            error.format_message().split()
        )  # known values stand on lines of their own
        message = f"{message[:1].lower()}{message[1:].rstrip('.')}"
    fail(escape(message), f"{context.command_path} --help" if context else "")


def main() -> None:
    """Run `mcctl`; the only place of the tool-chain that exits."""
    lazy.install()
    ready_streams()
    try:
        code = app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        fail("interrupted")
        sys.exit(exit_codes.DECLINED)
    except TyperException as error:
        _tell_usage(error)
        sys.exit(exit_codes.USAGE)
    except OpsError as error:
        fail(escape(error.message), error.hint)
        sys.exit(error.exit_code)
    except OSError as error:  # a full disk, a folder that may not be entered: no finding
        gone = error.filename is None and isinstance(error, FileNotFoundError)  # as `getcwd` has it
        what = error.filename or ("the current folder" if gone else "the system")
        fail(
            escape(f"{what}: {error.strerror or type(error).__name__}"),
            "go to a folder that is there" if gone else "",
        )
        flush()
        sys.exit(exit_codes.COULD_NOT_TELL)
    except Exception:  # noqa: BLE001 - a fault of ours must not pass for a finding (exit 1)
        traceback.print_exc()
        fail(
            "mcctl failed because of a defect of its own; there is no result",
            "report it with the lines above",
        )
        flush()
        sys.exit(exit_codes.COULD_NOT_TELL)
    if code == _INTERRUPTED:
        sys.exit(exit_codes.DECLINED)
    sys.exit(code if isinstance(code, int) else exit_codes.OK)
