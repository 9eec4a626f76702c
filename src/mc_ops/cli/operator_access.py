"""How the operator's verbs reach the service, and how they ask before they change something.

The token: `MC_TOKEN_FILE` names a file that holds it, or `--as` one of the local platform's; who
gives neither acts as its OPERATOR. No verb has a person of its own: what needs two people is asked
of two. A verb that acts says as whom, before it asks. A token never stands in an argument, where
every user of the machine could read it.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.markup import escape

from mc_ops import exit_codes
from mc_ops.cli.options import OptionGroup
from mc_ops.cli.output import Format, OutputOption, note, show
from mc_ops.environments import Workspace, credentials
from mc_ops.errors import NotAllowed, UnusableInput

if TYPE_CHECKING:
    from rich.text import Text

    from mc_ops.service_client import OperatorClient

TOKEN_FILE = "MC_TOKEN_FILE"  # noqa: S105 - the name of a variable
_OPERATOR = "OPERATOR"
_KEY_ID = re.compile(r"mc_([0-9a-f]{12})_")

UrlOption = Annotated[
    str | None, typer.Option("--url", help="URL of the service; default: the local platform.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]
UnaskedOption = Annotated[
    bool,
    typer.Option("--yes", help="Accepted for scripts; this command asks no question."),
]
AsOption = Annotated[
    str | None,
    typer.Option(
        "--as", help="Use the token of a local user: OPERATOR, ADMINISTRATOR, AUDITOR, ..."
    ),
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Reason; recorded in the ledger.")]


@dataclass(frozen=True, kw_only=True)
class Access(OptionGroup):
    """Which service is called, and as whom."""

    whose: AsOption = None
    url: UrlOption = None

    @contextmanager
    def client(self, default: str = _OPERATOR) -> Iterator[OperatorClient]:
        """A client of the service with the caller's token.

        Args:
            default: Whose token of the local platform it is where nobody is named.

        Raises:
            NotAllowed, CouldNotTell, UnusableInput: there is no usable token.
        """
        from mc_ops.service_client import OperatorClient  # late: others need the options alone

        token = access_token(self.url, self.whose, default)
        with OperatorClient(self.url or Workspace.from_env().url, token=token) as client:
            yield client

    @contextmanager
    def acting(self, default: str = _OPERATOR) -> Iterator[OperatorClient]:
        """A client of who acts; says as whom first. Arguments and errors as for `client`."""
        with self.client(default) as client:
            note(f"acting as {escape(_acting_as(self.whose, default))}")
            yield client


@dataclass(frozen=True, kw_only=True)
class Reading(Access):
    """The options of a verb that shows something."""

    output: OutputOption = Format.table

    def show(self, result: dict[str, Any], lines: Iterable[str | Text]) -> None:
        """As `output.show`."""
        show(self.output, result, lines)


@dataclass(frozen=True, kw_only=True)
class Changing(Reading):
    """The options of a verb that changes something, which is recorded with its reason."""

    reason: ReasonOption
    yes: YesOption = False

    def confirm(self, question: str) -> None:
        """As `confirm`."""
        confirm(question, yes=self.yes)


def _acting_as(whose: str | None, default: str) -> str:
    """Who acts, in words: a principal of the local platform, or who holds the token that was given."""
    if os.environ.get(TOKEN_FILE):
        found = _KEY_ID.match(access_token(None, whose))
        key = f", key id {found[1]}" if found else ""
        return f"the holder of the token in {TOKEN_FILE}{key}"
    name = whose or default
    return f"{credentials.principal_of(Workspace.from_env(), name)} ({name} of the local platform)"


def require_said(whose: str | None, act: str) -> None:
    """Refuse an act of a second person whom nobody named.

    Raises:
        UnusableInput: neither `--as` nor a token was given.
    """
    if whose is None and not os.environ.get(TOKEN_FILE):
        raise UnusableInput(
            f"{act} needs a second person, and none is named",
            hint=f"name them with --as, or set {TOKEN_FILE} to a file with their token",
        )


def access_token(url: str | None, whose: str | None, default: str = _OPERATOR) -> str:
    """The token for the service at `url` (None: the local edge).

    Args:
        whose: Which of the local platform's tokens; None: that of `MC_TOKEN_FILE`, or else of
            `default`.

    Raises:
        NotAllowed, CouldNotTell: there is no usable token.
        UnusableInput: two people are named at once, nobody of that name is known here, their token
            was revoked, or the file of tokens is not what it must be.
    """
    if name := os.environ.get(TOKEN_FILE):
        if whose is not None:
            raise UnusableInput(
                f"--as {whose} and {TOKEN_FILE} both name who acts", hint="give one of them"
            )
        return read_token_file(TOKEN_FILE, Path(name))
    whose = whose or default
    workspace = Workspace.from_env()
    if url is not None and not is_here(url):
        # The local platform's token is no business of another service
        raise NotAllowed(
            f"no token for {url[:200]}", hint=f"set {TOKEN_FILE} to a file that holds one"
        )
    return credentials.tenant_token(workspace, whose)


def is_here(url: str) -> bool:
    """Whether a request to `url` stays on this machine, as the client that sends it reads it."""
    import httpx

    try:
        parts = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UnusableInput(
            f'not a URL: "{url[:200]}"', hint="for example http://127.0.0.1:8080"
        ) from error
    return not parts.userinfo and parts.host in ("127.0.0.1", "localhost", "::1")


def read_token_file(variable: str, path: Path) -> str:
    """The token in the file that the environment variable names.

    Raises:
        NotAllowed: it cannot be read, or does not hold a token alone.
    """
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotAllowed(
            f"{variable} {path} cannot be read ({type(error).__name__})",
            hint="the file must contain the token and nothing else",
        ) from error
    if not token or not token.isprintable() or " " in token:
        raise NotAllowed(
            f"{variable} {path} does not contain exactly one token",
            hint="the file must contain the token and nothing else",
        )
    return token


def confirm(question: str, *, yes: bool) -> None:
    """Ask, unless `yes`.

    Raises:
        UnusableInput: nobody is at the terminal.
        typer.Exit: the answer is no, which is no error: it is noted, and the exit code is 5.
    """
    if yes:
        return
    _require_terminal()
    if not typer.confirm(question, err=True):
        _decline()


def confirm_by_word(question: str, word: str, *, yes: bool) -> None:
    """Ask for a word to be typed, unless `yes`: for what must not happen by a habit of the hand.

    Raises:
        UnusableInput: nobody is at the terminal.
        typer.Exit: another word was typed; as in `confirm`.
    """
    if yes:
        return
    _require_terminal()
    # With a default, else an empty answer is asked for again without an end
    text = f'{question} Type "{word}" to go on'
    typed = typer.prompt(text, default="", show_default=False, err=True)
    if typed.strip() != word:
        _decline()


def _decline() -> NoReturn:
    note("declined; nothing was changed")
    raise typer.Exit(exit_codes.DECLINED)


def _require_terminal() -> None:
    if not sys.stdin.isatty():
        raise UnusableInput(
            "confirmation is needed, and standard input is not a terminal", hint="repeat with --yes"
        )
