"""`secrets/credentials.json`: the tokens of this machine's platform, for whoever develops on it.

An entry is a token with whose it is. `mcctl up` makes one for each tenant of the catalogue and for
each role, and imports the hashes of all into the database whenever the file has changed. A token that
`mcctl credential` rotates or revokes is exchanged or taken out here as well.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from mc_contract.configuration import (
    MOST_TENANT_BYTES,
    WORD_PATTERN,
    FileProblems,
    Form,
    SetOf,
    Strict,
    Text,
    Word,
    among,
    check,
    json_of,
    kind_of,
    toml_of,
)
from mc_contract.credential import TOKEN_FORM, new_token
from mc_ops.environments.workspace import Workspace
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.files import write_atomically

PLATFORM = "PLATFORM"
ROLES = {
    "OPERATOR": "operator",
    "OPERATOR_2": "operator",  # break-glass needs two people
    "AUDITOR": "auditor",
    "ALERTMANAGER": "alertmanager",
    "ADMINISTRATOR": "administrator",
}
FILE = "credentials.json"
_IMPORTED = "credentials.imported"
_FORM = 'an object of entries by name: {"TENANT_001": {"token": ..., "principal": ...}, ...}'


class Entry(Strict):
    """One token, with whose it is; without a token it was revoked."""

    token: (
        Annotated[str, StringConstraints(pattern=f"^{TOKEN_FORM}$"), Form("a token: mc_...")] | None
    ) = None
    principal: Text
    tenant: Word | None = None
    role: Annotated[str, among({"agent", *ROLES.values()})] = "agent"
    scopes: SetOf[Word] | None = None

    @property
    def key_id(self) -> str | None:
        """The public part of the token."""
        return None if self.token is None else self.token.split("_", 2)[1]


class _File(Strict):
    credentials: dict[Word, Entry] = Field(default_factory=dict)


def read(workspace: Workspace) -> dict[str, Entry] | None:
    """The entries by name; None if there is no file yet.

    Raises:
        UnusableInput: it is not what it must be; the message tells all problems, and no token.
        CouldNotTell: it cannot be read.
    """
    path = workspace.secret(FILE)
    hint = "mend it; if it is removed, `mcctl up` makes every tenant a new token"
    try:
        with path.open("rb") as file:
            document = json_of(file.read(MOST_TENANT_BYTES + 1), most_bytes=MOST_TENANT_BYTES)
        if not isinstance(document, dict):
            raise FileProblems([f"it is {kind_of(document)}, must be {_FORM}"])
        return check(_File, {"credentials": document}).credentials
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CouldNotTell(f"{path} cannot be read: {error.strerror}", hint=hint) from error
    except FileProblems as error:
        said = "; ".join(problem.removeprefix("credentials.") for problem in error.problems)
        raise UnusableInput(f"{path}: {said}", hint=hint) from error


def prepare(workspace: Workspace, tenants: Iterable[str]) -> None:
    """Make a token for each tenant and role that has no entry.

    Raises:
        UnusableInput, CouldNotTell: the file cannot be used.
    """
    known = read(workspace) or {}
    made = {
        tenant: Entry(principal=f"agent@{tenant.lower().replace('_', '-')}", token=new_token())
        for tenant in tenants
        if tenant not in known and tenant != PLATFORM
    }
    for name, role in ROLES.items():
        if name not in known:
            principal = f"{name.lower().replace('_', '-')}@platform"
            made[name] = Entry(tenant=PLATFORM, role=role, principal=principal, token=new_token())
    if made:
        _write(workspace, {**known, **made})


def tenant_token(workspace: Workspace, tenant: str) -> str:
    """The bearer token of a tenant of this platform, or of a role (`OPERATOR`, ...).

    Raises:
        CouldNotTell: the platform has not been started here.
        UnusableInput: no such tenant, or its token was revoked.
    """
    known = read(workspace)
    if known is None:
        raise CouldNotTell(f"no credentials under {workspace.home}", hint="start it: mcctl up")
    if tenant not in known:
        raise UnusableInput(f'unknown tenant "{tenant}"', hint=f"known: {', '.join(known)}")
    token = known[tenant].token
    if token is None:
        raise UnusableInput(
            f"the token of {tenant} was revoked",
            hint=f"take its entry out of {workspace.secret(FILE)}, and `mcctl up` makes another; or an "
            f"administrator does: mcctl credential create --keep {tenant} ...",
        )
    return token


def principal_of(workspace: Workspace, name: str) -> str:
    """Who acts with the token of that name; the name itself where that is not written down."""
    entry = (read(workspace) or {}).get(name)
    return name if entry is None else entry.principal


def hashes(workspace: Workspace) -> str:
    """What the service imports, as JSON: of each token its tenant, role, key id and hash."""
    hashed = {}
    for name, entry in (read(workspace) or {}).items():
        if entry.token is None:
            continue
        told: dict[str, Any] = {
            "tenant": entry.tenant or name,
            "role": entry.role,
            "principal": entry.principal,
            "key_id": entry.key_id,
            "secret_sha256": hashlib.sha256(entry.token.split("_", 2)[2].encode()).hexdigest(),
        }
        if entry.scopes is not None:
            told["scopes"] = sorted(entry.scopes)
        hashed[name] = told
    return json.dumps(hashed)


def strays(workspace: Workspace, tenants: Iterable[str]) -> dict[str, str]:
    """Entries that no replica takes, for their tenant is not in the catalogue: name -> tenant."""
    declared = {*tenants, PLATFORM}
    return {
        name: tenant
        for name, entry in (read(workspace) or {}).items()
        if entry.token is not None and (tenant := entry.tenant or name) not in declared
    }


def is_imported(workspace: Workspace) -> bool:
    """Whether the file is as it was when it was imported last."""
    marker = workspace.home / "run" / _IMPORTED
    return marker.exists() and marker.read_text(encoding="ascii") == _digest(hashes(workspace))


def mark_imported(workspace: Workspace, imported: str) -> None:
    """Those `hashes` have been imported; the file may have been changed since they were read."""
    write_atomically(workspace.home / "run" / _IMPORTED, _digest(imported))


def exchange(workspace: Workspace, key_id: str, token: str | None) -> list[str]:
    """Put another token, or none, in the place of one; returns the names of its entries."""
    known = read(workspace) or {}
    names = [name for name, entry in known.items() if entry.key_id == key_id]
    if names:
        _write(
            workspace,
            known | {name: known[name].model_copy(update={"token": token}) for name in names},
        )
    return names


def keep(workspace: Workspace, name: str, entry: Entry) -> None:
    """Add an entry, or put it in the place of one.

    Raises:
        UnusableInput: as `require_place`.
    """
    require_place(workspace, name, entry.tenant or name, entry.role)
    _write(workspace, {**(read(workspace) or {}), name: entry})


def require_place(workspace: Workspace, name: str, tenant: str, role: str) -> None:
    """Refuse a name that no entry of that tenant and role can be kept under.

    Raises:
        UnusableInput: it is no name, the entry of that name is another tenant's or role's, or
            stands for another tenant; or the file is not what it must be.
    """
    if re.fullmatch(WORD_PATTERN, name) is None:
        raise UnusableInput(
            f"{name[:100]!r} is no name of an entry",
            hint="letters, digits, . _ : or -, at most 128",
        )
    old = (read(workspace) or {}).get(name)
    if old is not None and (old.tenant or name, old.role) != (tenant, role):
        raise UnusableInput(
            f"{name} is the entry of {old.tenant or name}, role {old.role}",
            hint="keep it under another name",
        )


def catalogue_tenants(path: Path) -> list[str]:
    """The tenants that a catalogue declares.

    Raises:
        UnusableInput: it cannot be read, or is no TOML; whatever else is wrong, the service tells.
    """
    try:
        with path.open("rb") as file:
            tenants = toml_of(file.read(MOST_TENANT_BYTES + 1), most_bytes=MOST_TENANT_BYTES).get(
                "tenants"
            )
    except OSError as error:
        raise UnusableInput(
            f"catalogue {path} cannot be read: {error.strerror}", hint="MC_CATALOGUE names it"
        ) from error
    except FileProblems as error:
        raise UnusableInput(f"catalogue {path}: {error}") from error
    return list(tenants) if isinstance(tenants, dict) else []


def _write(workspace: Workspace, entries: dict[str, Entry]) -> None:
    told = {
        name: entry.model_dump(mode="json", exclude_none=True, exclude_defaults=True)
        for name, entry in entries.items()
    }
    write_atomically(workspace.secret(FILE), json.dumps(told, indent=2) + "\n")


def _digest(imported: str) -> str:
    return hashlib.sha256(imported.encode()).hexdigest()
