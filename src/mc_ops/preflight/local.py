"""The pre-flight of the local environment: gathers what runs, and hands it to the checks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import httpx

from mc_contract.numbers import counted
from mc_contract.siem import SiemFormat
from mc_ops.environments import Colour, Environment, Instance, State, Workspace, credentials
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.files import read_json_object
from mc_ops.outgoing.clients import open_client
from mc_ops.preflight.edge import check_edge
from mc_ops.preflight.egress import check_egress
from mc_ops.preflight.platform_database import check_database
from mc_ops.preflight.platform_http import (
    HEALTH_PATIENCE_S,
    UNKNOWN_TOKEN,
    admits,
    health_ok,
    metrics_present,
    refuses,
    siem_refuses,
    wrong_secret,
)
from mc_ops.preflight.pod_security import check_pod_security
from mc_ops.preflight.processes import Running
from mc_ops.preflight.result import CheckResult, found, not_applicable, unknown
from mc_ops.service_client.http import bearer

SUBJECTS = ("pod-security", "egress", "hpa", "platform")
_TIMEOUT_S = 5.0
_CANARY = "CANARY"  # the tenant whose requests have no effect


def check_local(
    subject: str, environment: Environment, *, minimum_replicas: int = 1
) -> list[CheckResult]:
    """Make every check of a subject (`all`: of every subject) on this machine's platform.

    Raises:
        UnusableInput: There is no such subject.
    """
    if subject == "all":
        return [
            result
            for one in SUBJECTS
            for result in check_local(one, environment, minimum_replicas=minimum_replicas)
        ]
    status = [one for one in environment.status().processes if one.state is State.running]
    processes = [Running(one.name, one.pid) for one in status if one.pid]
    replicas = [Running(one.name, one.pid) for one in status if one.pid and one.colour]
    if subject == "pod-security":
        return check_pod_security(environment.workspace.home, processes)
    if subject == "egress":
        return check_egress(replicas)
    if subject == "hpa":
        active = environment.active_colour() if status else None
        running = sum(one.colour is active for one in status if one.colour)
        return [
            replicas_minimum(active, running, minimum_replicas),
            not_applicable("horizontal-pod-autoscaler", "local has no HPA"),
        ]
    if subject == "platform":
        return _platform(environment, [one.name for one in status if one.colour])
    raise UnusableInput(f"unknown subject {subject!r}", hint=f"known: {', '.join(SUBJECTS)}, all")


def replicas_minimum(colour: str | None, running: int, minimum: int) -> CheckResult:
    """The colour that serves has at least the minimum of replicas; with None nothing was ever put in service."""
    name = "replicas-minimum"
    if colour is None:
        return unknown(name, "no colour serves", "mcctl up")
    told = f"{counted(running, 'replica')} of {colour}, at least {minimum} must run"
    return found(
        name,
        [told] if running < minimum else [],
        told,
        f"mcctl scale agent-workbench --replicas {minimum}",
    )


def check_edge_of(
    environment: Environment, colour: Colour, *, allow_faults: bool = False
) -> list[CheckResult]:
    """Check, after a cutover, that the edge of this machine's platform is served by `colour`.

    Args:
        environment: The platform.
        colour: The colour.
        allow_faults: Whether its replicas may be broken on purpose.
    """
    targets = environment.instances()
    try:
        token = _tokens(environment.workspace).get(_CANARY)
    except (CouldNotTell, UnusableInput) as error:
        return [unknown("edge", error.message, error.hint)]
    if token is None or not targets:
        return [unknown("edge", "the platform does not run", "mcctl up")]
    with open_client(timeout_s=_TIMEOUT_S) as client:
        return check_edge(
            client,
            edge_url=environment.url,
            colour=colour,
            replicas=targets,
            token=token,
            tenant=_CANARY,
            scrape=_scrape_token(environment),
            allow_faults=allow_faults,
        )


def _platform(environment: Environment, replicas: list[str]) -> list[CheckResult]:
    targets = environment.instances()
    if not targets:
        return [unknown("platform", "no replica of the workbench runs", "mcctl up")]
    try:
        tokens = _tokens(environment.workspace)
        url = _database_url(environment, targets[0].name)
    except (CouldNotTell, UnusableInput) as error:
        return [unknown("platform", error.message, error.hint)]
    with open_client(timeout_s=_TIMEOUT_S) as client:
        shown = _scrape_credential(environment)
        results = [
            result for target in targets for result in _route_checks(client, target, tokens, shown)
        ]
        elsewhere = environment.name != "local"
        results.append(siem_refuses(client, *_siem(environment, replicas), elsewhere=elsewhere))
    return results + asyncio.run(check_database(url, replicas))


def _route_checks(
    client: httpx.Client, target: Instance, tokens: Mapping[str, str], shown: Mapping[str, str]
) -> list[CheckResult]:
    results = [
        health_ok(target, HEALTH_PATIENCE_S),
        metrics_present(client, target, shown),
        refuses(client, target, "no-token", {}),
        refuses(client, target, "unknown-token", {"Authorization": f"Bearer {UNKNOWN_TOKEN}"}),
    ]
    if token := tokens.get(_CANARY):
        wrong = {"Authorization": f"Bearer {wrong_secret(token)}"}
        results.append(refuses(client, target, "wrong-secret", wrong))
        results.append(admits(client, target, token))
    else:
        results.append(unknown(f"wrong-secret-refused-{target.name}", "no canary credential"))
    return results


def _scrape_token(environment: Environment) -> str | None:
    """The scrape credential, of which replicas of this machine ask nobody; None if there is none."""
    path = environment.workspace.scrape_token
    try:
        shown = environment.name != "local"
        return (path.read_text(encoding="ascii").strip() or None) if shown else None
    except (OSError, ValueError):
        return None


def _tokens(workspace: Workspace) -> dict[str, str]:
    known = credentials.read(workspace) or {}
    return {name: entry.token for name, entry in known.items() if entry.token}


def _scrape_credential(environment: Environment) -> dict[str, str]:
    """The header for /metrics; on this machine replicas show them to everybody."""
    return bearer(_scrape_token(environment))


def _database_url(environment: Environment, replica: str) -> str | None:
    """The URL of the service's role: this machine's platform writes it down, on a cluster a replica has it."""
    if environment.name == "kubernetes":
        try:
            return environment.settings(replica).get("MC_DATABASE_URL")
        except CouldNotTell:
            return None
    kept = read_json_object(environment.workspace.secret("database.json")) or {}
    found = kept.get("service_url")
    return None if found is None else str(found)


def _siem(environment: Environment, replicas: list[str]) -> tuple[str | None, SiemFormat]:
    for replica in replicas:
        try:
            env = environment.settings(replica)
        except CouldNotTell:
            continue
        if url := env.get("AUDIT_SIEM_URL"):
            return url, SiemFormat(env.get("AUDIT_SIEM_FORMAT") or SiemFormat.ocsf)
    return None, SiemFormat.ocsf
