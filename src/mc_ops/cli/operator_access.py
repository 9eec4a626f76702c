"""How the operator's verbs reach the service, and how they ask before they change something.

The token: `MC_TOKEN_FILE` names a file that holds it; else it is the local platform's. It never
stands in an argument, where every user of the machine could read it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from mc_ops.cli import exit_codes
from mc_ops.cli.output import note
from mc_ops.environments.local.keyring import tenant_token
from mc_ops.environments.local.layout import Layout
from mc_ops.errors import CouldNotTell, NotAllowed, UnusableInput

if TYPE_CHECKING:
    from mc_ops.service_client import OperatorClient

TOKEN_FILE = "MC_TOKEN_FILE"  # noqa: S105 - the name of a variable
_OPERATOR = "OPERATOR"

UrlOption = Annotated[
    str | None, typer.Option("--url", help="Where the service is; default: the local edge.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
AsOption = Annotated[
    str, typer.Option("--as", help="Whose token of the local platform: OPERATOR, OPERATOR_2, ...")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]


@contextmanager
def operator_client(url: str | None, whose: str = _OPERATOR) -> Iterator[OperatorClient]:
    """A client with the operator's token.

    Args:
        whose: Another of the local platform's tokens, e.g. `OPERATOR_2`.

    Raises:
        NotAllowed, CouldNotTell, UnusableInput: there is no usable token.
    """
    from mc_ops.service_client import OperatorClient  # late: others need the options alone

    with OperatorClient(url or Layout.from_env().url, token=access_token(url, whose)) as client:
        yield client


def access_token(url: str | None, whose: str) -> str:
    """The token for the service at `url` (None: the local edge).

    Args:
        whose: Which of the local platform's tokens, where `MC_TOKEN_FILE` names none.

    Raises:
        NotAllowed, CouldNotTell: there is no usable token.
    """
    if name := os.environ.get(TOKEN_FILE):
        return _read(Path(name))
    layout = Layout.from_env()
    if url is not None and not is_here(url):
        # The local platform's token is no business of another service
        raise NotAllowed(
            f"no token for {url[:200]}", hint=f"set {TOKEN_FILE} to a file that holds one"
        )
    try:
        return tenant_token(layout, whose)
    except UnusableInput as error:
        raise CouldNotTell(
            f"this platform has no {whose.lower()}'s token yet", hint="`mcctl up` makes it"
        ) from error


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


def _read(path: Path) -> str:
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise NotAllowed(
            f"{TOKEN_FILE} {path} cannot be read ({type(error).__name__})",
            hint="it must hold the token alone",
        ) from error
    if not token or not token.isprintable() or " " in token:
        raise NotAllowed(f"{TOKEN_FILE} {path} does not hold a token alone")
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
        raise UnusableInput("cannot ask here", hint="repeat with --yes")
