"""`mcctl credential`: create, rotate, revoke and list credentials, as an administrator.

A token is shown once: on stdout, or in a new file that only its owner may read. Where it replaces or
ends one of the local platform's own (`secrets/credentials.json`), that file is kept in step.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from mc_ops.cli.operator_access import Changing, Reading
from mc_ops.cli.options import Verbs
from mc_ops.cli.output import columns, note, ok, warn
from mc_ops.environments import Workspace
from mc_ops.environments import credentials as local
from mc_ops.errors import UnusableInput

app = Verbs()

_ADMINISTRATOR = "ADMINISTRATOR"
_DURATION = re.compile(r"([1-9][0-9]{0,8})(s|m|h|d)")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
KeyArgument = Annotated[str, typer.Argument(metavar="KEY_ID", help="Key id of the credential.")]
ExpiresOption = Annotated[
    str | None,
    typer.Option("--expires", metavar="TIME", help="Validity, such as 90d or 12h."),
]
OutOption = Annotated[
    Path | None,
    typer.Option("--out", help="New file for the token (mode 0600), instead of stdout."),
]


@app.command()
def create(
    tenant: Annotated[
        str,
        typer.Option("--tenant", help="Tenant of the holder; PLATFORM for every role but agent."),
    ],
    call: Changing,
    role: Annotated[
        str, typer.Option("--role", help="Role of the holder: agent, operator, auditor, ...")
    ] = ("agent"),
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope", help="Scope of the credential; repeatable; default for an agent: a2a."
        ),
    ] = None,
    principal: Annotated[
        str | None, typer.Option("--principal", help="Name of the holder in the ledger.")
    ] = None,
    expires: ExpiresOption = None,
    out: OutOption = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            metavar="NAME",
            help="Also store the token in secrets/credentials.json under NAME.",
        ),
    ] = None,
) -> None:
    """Create a credential; its token is shown once."""
    life_s = _seconds("--expires", expires)
    if keep is not None and call.url is not None:
        raise UnusableInput("--keep is for the local platform", hint="leave --url out")
    if keep is not None:  # before a token is made that would have no place
        local.require_place(Workspace.from_env(), keep, tenant, role)
    with _place_for(out) as write, call.acting(_ADMINISTRATOR) as client:
        call.confirm(f"Make a credential of {tenant}, role {role}?")
        made = client.create_credential(
            tenant=tenant,
            reason=call.reason,
            role=role,
            scopes=scope or None,
            principal=principal,
            expires_in_s=life_s,
        )
        write(made["token"])
    if keep is not None:
        entry = local.Entry(
            token=made["token"],
            principal=made["principal"],
            tenant=made["tenant"],
            role=made["role"],
            scopes=None if made["scopes"] is None else frozenset(made["scopes"]),
        )
        local.keep(Workspace.from_env(), keep, entry)
    _show(made, out, call)


@app.command()
def prepare(
    catalogue: Annotated[
        Path, typer.Option("--catalogue", help="Catalogue whose tenants get a credential each.")
    ],
) -> None:
    """Make the first credentials of a platform elsewhere in $MC_HOME; print their hashes for `migrate`.

    What the file has already is kept. The hashes open nothing.
    """
    if not os.environ.get("MC_HOME"):
        raise UnusableInput(
            "MC_HOME is not set", hint="set it to the folder of that platform's operator"
        )
    workspace = Workspace.from_env()
    tenants = local.catalogue_tenants(catalogue)
    workspace.prepare()
    local.prepare(workspace, tenants)
    note(f"the tokens are in {escape(str(workspace.secret(local.FILE)))}, for you alone")
    typer.echo(local.hashes(workspace))


@app.command()
def rotate(
    key_id: KeyArgument,
    call: Changing,
    overlap: Annotated[
        str | None,
        typer.Option(
            "--overlap",
            metavar="TIME",
            help="Time for which the old credential stays valid, such as 1h.",
        ),
    ] = None,
    expires: ExpiresOption = None,
    out: OutOption = None,
) -> None:
    """Replace a credential with a new one of the same rights. Exit 1 if it has ended."""
    overlap_s, life_s = _seconds("--overlap", overlap) or 0, _seconds("--expires", expires)
    with _place_for(out) as write, call.acting(_ADMINISTRATOR) as client:
        call.confirm(f"Rotate the credential {key_id}?")
        made = client.rotate_credential(
            key_id, reason=call.reason, overlap_s=overlap_s, expires_in_s=life_s
        )
        write(made["token"])
    _in_step(call.url, key_id, made["token"])
    _show(made, out, call)


@app.command()
def revoke(
    key_id: KeyArgument,
    call: Changing,
) -> None:
    """Revoke a credential now. Exit 1 if it has ended."""
    with call.acting(_ADMINISTRATOR) as client:
        call.confirm(f"Revoke the credential {key_id}?")
        ended = client.revoke_credential(key_id, reason=call.reason)
    _in_step(call.url, key_id, None)
    call.show(ended, ())
    ok(escape(f"{key_id} of {ended['tenant']} is revoked; every replica refuses it within seconds"))


@app.command("list")
def list_credentials(
    call: Reading,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Only this tenant.")] = None,
) -> None:
    """List credentials without their secrets."""
    with call.client(_ADMINISTRATOR) as client:
        answer = client.credentials(tenant)
    result = {"credentials": answer["credentials"], "more": answer["more"]}
    call.show(result, columns(map(_cells, answer["credentials"])))
    if answer["more"]:
        warn("there are more: name a tenant with --tenant")


def _show(made: Mapping[str, Any], out: Path | None, call: Changing) -> None:
    told = {key: made[key] for key in made if out is None or key != "token"}
    call.show(told, [made["token"]] if out is None else [])
    where = "the token above" if out is None else f"the token in {out}"
    ok(escape(f"{made['key_id']} of {made['tenant']}: {where} is shown once"))


def _cells(credential: Mapping[str, Any]) -> tuple[str, ...]:
    scopes = credential["scopes"]
    named = "all of its role" if scopes is None else ", ".join(scopes)
    until = f" until {credential['expires_at']}" if credential["state"] == "ending" else ""
    return (
        credential["key_id"],
        f"{credential['state']}{until}",
        credential["tenant"],
        credential["principal"],
        f"{credential['role']} ({named})",
    )


@contextmanager
def _place_for(out: Path | None) -> Iterator[Any]:
    """Writes a token; the file is made first, so that no token is made that has no place."""
    if out is None:
        yield lambda _token: None
        return
    try:
        handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UnusableInput(
            f"{out} cannot be made: {error.strerror}", hint="name a file that is not there"
        ) from error
    written = False
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:

            def write(token: str) -> None:
                nonlocal written
                file.write(f"{token}\n")
                written = True

            yield write
    finally:
        if not written:
            out.unlink(missing_ok=True)


def _in_step(url: str | None, key_id: str, token: str | None) -> None:
    if url is not None:
        return
    names = local.exchange(Workspace.from_env(), key_id, token)
    if names:
        done = "has no token any more" if token is None else "has the new token"
        note(escape(f"{', '.join(names)} in secrets/{local.FILE} {done}"))


def _seconds(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    match = _DURATION.fullmatch(text)
    if match is None:
        raise UnusableInput(f"{name} is {text[:40]!r}", hint="for example 90d, 12h, 30m, 45s")
    return int(match[1]) * _UNIT_S[match[2]]
