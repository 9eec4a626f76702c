"""`mcctl tenant`: the tenants of the catalogue, and whether each can be reached by its credentials."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import httpx
import typer

from mc_ops.cli import exit_codes
from mc_ops.cli.operator_access import (
    AsOption,
    ReasonOption,
    UrlOption,
    acting_client,
    operator_client,
)
from mc_ops.cli.output import Format, OutputOption, emit_json, fail, ok, stdout
from mc_ops.environments import open_environment
from mc_ops.environments.local import credentials as local
from mc_ops.environments.local.layout import Layout
from mc_ops.errors import CouldNotTell, UnusableInput

app = typer.Typer(help="List and check the catalogue's tenants.", no_args_is_help=True)
_ADMINISTRATOR = "ADMINISTRATOR"
_TIMEOUT_S = 10.0


@app.command("list")
def list_tenants(
    whose: AsOption = None,
    url: UrlOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Show the tenants, and how many credentials each has."""
    with operator_client(url, whose, _ADMINISTRATOR) as client:
        found = client.tenants()["tenants"]
    if output is Format.json:
        emit_json({"tenants": found})
        return
    for tenant in found:
        rest = "not in the catalogue"
        if tenant["declared"]:
            rest = f"{tenant['residency']}  tier {tenant['autonomy_tier']}  "
            rest += f"agents: {', '.join(tenant['agents']) or 'none'}"
        line = f"{tenant['id']}  credentials: {tenant['credentials']}  {rest}"
        stdout.print(line, markup=False)


@app.command()
def check(
    tenant: Annotated[str | None, typer.Argument(metavar="[TENANT]", help="Only this one.")] = None,
    whose: AsOption = None,
    url: UrlOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Report tenants without a credential, and credentials without a tenant. Exit 1 if any.

    For the local platform, also report tokens in its secrets that are refused.
    """
    with operator_client(url, whose, _ADMINISTRATOR) as client:
        found = client.tenants()["tenants"]
    chosen = [one for one in found if tenant in (None, one["id"])]
    if not chosen:
        known = ", ".join(one["id"] for one in found)
        raise UnusableInput(f'unknown tenant "{tenant}"', hint=f"known: {known}")
    findings = [problem for one in chosen if (problem := _problem(one))]
    if url is None:
        findings += _refused_tokens(Layout.from_env(), {one["id"] for one in chosen})
    if output is Format.json:
        emit_json({"checked": [one["id"] for one in chosen], "findings": findings})
    else:
        for problem in findings:
            stdout.print(problem, markup=False)
    if findings:
        fail(f"{len(chosen)} tenants checked: {len(findings)} findings")
        raise typer.Exit(exit_codes.FINDING)
    ok(f"{len(chosen)} tenants checked")


@app.command()
def declare(
    reason: ReasonOption,
    whose: AsOption = None,
    output: OutputOption = Format.table,
) -> None:
    """Declare who changes the local catalogue and why, before replicas start with it.

    The ledger names them if that happens within the hour; else the change is `undeclared`.
    """
    digest = open_environment("local").catalogue_digest()
    with acting_client(None, whose, _ADMINISTRATOR) as client:
        declared = client.declare_rules("catalogue", digest, reason=reason)
    if output is Format.json:
        emit_json({**declared, "digest": digest})
    ok(f"{digest[:12]}: declared for replicas that start within the hour")


def _problem(one: Mapping[str, Any]) -> str:
    if not one["declared"]:
        return (
            f"{one['id']}: has {one['credentials']} credentials, which are refused, and is not in "
            "the catalogue (add it there, or: mcctl credential list, and revoke them)"
        )
    if not one["credentials"]:
        return f"{one['id']}: has no credential (mcctl credential create --tenant {one['id']} ...)"
    return ""


def _refused_tokens(layout: Layout, tenants: set[str]) -> list[str]:
    from mc_ops.service_client.http import HttpClient, bearer

    refused = []
    place = layout.url
    with HttpClient(place, place, headers={}, timeout_s=_TIMEOUT_S, transport=None) as client:
        for name, entry in (local.read(layout) or {}).items():
            if entry.token is None or (entry.tenant or name) not in tenants:
                continue
            body = {"query": "{ __typename }"}
            try:
                answer = client.ask("POST", "/graphql", json=body, headers=bearer(entry.token))
            except httpx.HTTPError as error:
                raise CouldNotTell(
                    f"{place} does not answer ({type(error).__name__})",
                    hint="is it running? mcctl status",
                ) from error
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                refused.append(f"{name}: its token in secrets/{local.FILE} is refused (mcctl up)")
    return refused
