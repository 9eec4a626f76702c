"""`mcctl tenant`: the tenants of the catalogue, and whether each can be reached by its credentials."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from mc_contract.numbers import counted
from mc_ops import exit_codes
from mc_ops.cli.operator_access import (
    Access,
    AsOption,
    Reading,
    ReasonOption,
    UnaskedOption,
    YesOption,
    confirm_by_word,
)
from mc_ops.cli.options import EnvOption, Verbs
from mc_ops.cli.output import Format, OutputOption, columns, fail, note, ok, show, warn
from mc_ops.environments import Environment, Workspace, open_environment, open_regions
from mc_ops.environments import credentials as local
from mc_ops.environments.administered import report_of, said_by
from mc_ops.errors import CouldNotTell, UnusableInput

app = Verbs()
_ADMINISTRATOR = "ADMINISTRATOR"
_TIMEOUT_S = 10.0


@app.command("list")
def list_tenants(call: Reading) -> None:
    """List the tenants with the number of their credentials."""
    with call.client(_ADMINISTRATOR) as client:
        found = client.tenants()["tenants"]
    call.show({"tenants": found}, columns(map(_cells, found)))


def _cells(tenant: Mapping[str, Any]) -> tuple[str, ...]:
    about = ("not in the catalogue", "", "")
    if tenant["declared"]:
        agents = ", ".join(tenant["agents"]) or "none"
        about = (tenant["residency"], f"tier {tenant['autonomy_tier']}", f"agents: {agents}")
    return (tenant["id"], f"credentials: {tenant['credentials']}", *about)


@app.command()
def check(
    call: Reading,
    tenant: Annotated[
        str | None, typer.Argument(metavar="[TENANT]", help="Only this tenant.")
    ] = None,
) -> None:
    """Find tenants without a credential and credentials without a tenant. Exit 1 if any.

    For the local platform, also report entries of secrets/credentials.json that do not match it:
    the tenant or the key is unknown, the credential is revoked or expired, its tenant, principal,
    role or scopes are others, or the token is refused.
    """
    with call.client(_ADMINISTRATOR) as client:
        found = client.tenants()["tenants"]
        held = client.credentials(None)
    chosen = [one for one in found if tenant in (None, one["id"])]
    if not chosen:
        known = ", ".join(one["id"] for one in found)
        raise UnusableInput(f'unknown tenant "{tenant}"', hint=f"known: {known}")
    findings = [problem for one in chosen if (problem := _problem(one))]
    if call.url is None:
        declared = [one["id"] for one in found if one["declared"]]
        findings += _misfits(Workspace.from_env(), tenant, held, declared)
    call.show({"checked": [one["id"] for one in chosen], "findings": findings}, findings)
    if findings:
        fail(f"tenants checked: {len(chosen)}; findings: {len(findings)}")
        raise typer.Exit(exit_codes.FINDING)
    ok(f"tenants checked: {len(chosen)}")


@app.command()
def declare(
    reason: ReasonOption,
    whose: AsOption = None,
    yes: UnaskedOption = False,
    output: OutputOption = Format.table,
    env: EnvOption = "local",
) -> None:
    """Announce a change of the platform's catalogue, with its reason, before replicas load it.

    The ledger names you as the author if a replica loads the catalogue within an hour; otherwise it
    records the change as `undeclared`.
    """
    del yes
    digest = open_environment(env).catalogue_digest()
    with Access(whose=whose).acting(_ADMINISTRATOR) as client:
        declared = client.declare_rules("catalogue", digest, reason=reason)
    show(output, {**declared, "digest": digest}, ())
    ok(f"{digest[:12]}: declared for replicas that start within the hour")


@app.command()
def erase(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="Id of the tenant.")],
    reason: ReasonOption,
    yes: YesOption = False,
    output: OutputOption = Format.table,
    env: EnvOption = "local",
) -> None:
    """Erase a tenant's content on request: replies, sealed operations, fingerprints, in every region.

    What is under way, or stuck and not resolved, stays and is counted. The ledger keeps its entries, which
    hold no content, and records the erasure. Nothing brings back what was erased but a backup.
    """
    regions = open_regions(env)
    planned = [_erased(one, tenant, reason, "--dry-run") for one in regions]
    if not any(count for one in planned for count in one["erased"].values()):
        raise UnusableInput(f'nothing of a tenant "{tenant}" is here', hint="mcctl tenant list")
    for line in _counts(planned):
        note(escape(line.plain))
    confirm_by_word(f"Erase the content of {tenant}, for good?", tenant, yes=yes)
    done = [_erased(one, tenant, reason) for one in regions]
    # The table stands above already, unless something came or went meanwhile
    again = [one["erased"] for one in done] != [one["erased"] for one in planned]
    show(output, {"regions": done}, _counts(done) if again else ())
    ok(f"the content of {tenant} is erased; backups keep it until they are removed")
    if left := sum(one["erased"]["left_open"] for one in done):
        warn(f"tasks that have not ended, and stay: {left}; erase again when they have")


def _erased(environment: Environment, tenant: str, reason: str, *more: str) -> dict[str, Any]:
    done = environment.administer("erase", "--tenant", tenant, "--reason", reason, *more)
    if done.returncode != exit_codes.OK:
        kind = UnusableInput if done.returncode == exit_codes.USAGE else CouldNotTell
        raise kind(
            f"{tenant} is not erased: {said_by(done)[0].removeprefix('error: ')}",
            hint="run it again: a region that is done has no more to erase",
        )
    return report_of(done)


def _counts(reports: Sequence[Mapping[str, Any]]) -> list[Text]:
    names = list(reports[0]["erased"])
    rows = [(one["region"], *(str(one["erased"][name]) for name in names)) for one in reports]
    return columns(rows, heading=("REGION", *(name.upper().replace("_", " ") for name in names)))


def _problem(one: Mapping[str, Any]) -> str:
    if not one["declared"]:
        return (
            f"{one['id']}: has {counted(one['credentials'], 'credential')}, refused here, and is not in "
            "the catalogue (add it there, or: mcctl credential list, and revoke them)"
        )
    if not one["credentials"]:
        return f"{one['id']}: has no credential (mcctl credential create --tenant {one['id']} ...)"
    return ""


def _misfits(
    workspace: Workspace, tenant: str | None, held: Mapping[str, Any], tenants: Collection[str]
) -> list[str]:
    """What is wrong with entries of this machine's file, each with its name and what to do.

    Args:
        tenant: Only this one's entries; None: all.
        held: The credentials that the platform has, and whether there are `more`.
        tenants: The catalogue's.
    """
    known = {one["key_id"]: one for one in held["credentials"]}
    strays = local.strays(workspace, tenants)
    names: dict[str | None, str] = {}
    found = []
    for name, entry in (local.read(workspace) or {}).items():
        if entry.token is None or tenant not in (None, entry.tenant or name):
            continue
        there, first = known.get(entry.key_id), names.setdefault(entry.key_id, name)
        if first != name:
            said = f"its token has the key id of {first}'s"
            found.append(f"{name}: {said} (take one of them out: mcctl up refuses the file)")
        elif name in strays:
            said = f"its tenant {strays[name]} is not in the catalogue"
            found.append(f"{name}: {said} (add it there, or take the entry out)")
        elif there is None and not held["more"]:
            said = f"the platform knows no key id {entry.key_id}"
            found.append(f"{name}: {said} (mcctl up imports the entry)")
        elif there is not None and there["state"] in ("revoked", "expired"):
            done = "mcctl credential create --keep, or take the entry out"
            found.append(f"{name}: its credential {entry.key_id} is {there['state']} ({done})")
        elif there is not None and (other := _differs(name, entry, there)):
            done = "mcctl up applies the file"
            if there["origin"] != "import":
                done = "an administrator made it: mend the entry"
            found.append(f"{name}: {other} ({done})")
        elif not _taken(workspace, entry.token):
            said = f"its token is refused: the platform has another secret for {entry.key_id}"
            found.append(f"{name}: {said} (put the token back, or mcctl credential create --keep)")
    return [f"secrets/{local.FILE}: {one}" for one in found]


def _differs(name: str, entry: local.Entry, there: Mapping[str, Any]) -> str:
    said = {
        "tenant": entry.tenant or name,
        "principal": entry.principal,
        "role": entry.role,
        "scopes": None if entry.scopes is None else sorted(entry.scopes),
    }
    held = {key: there[key] for key in said}
    held["scopes"] = None if held["scopes"] is None else sorted(held["scopes"])
    return "; ".join(
        f"{key} is {_word(said[key])}, and the platform has {_word(held[key])}"
        for key in said
        if said[key] != held[key]
    )


def _word(value: str | list[str] | None) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return "all of its role" if value is None else value


def _taken(workspace: Workspace, token: str) -> bool:
    import httpx

    from mc_ops.service_client.http import HttpClient, bearer

    place = workspace.url
    with HttpClient(place, timeout_s=_TIMEOUT_S) as client:
        body = {"query": "{ __typename }"}
        try:
            answer = client.ask("POST", "/graphql", json=body, headers=bearer(token))
        except httpx.HTTPError as error:
            raise CouldNotTell(
                f"{place} does not answer ({type(error).__name__})",
                hint="is it running? mcctl status",
            ) from error
    return answer.status_code != httpx.codes.UNAUTHORIZED
