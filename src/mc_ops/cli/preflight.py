"""`mcctl preflight`: what must hold before a cutover; exit 1 for a failure, 3 for an unknown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from mc_ops import preflight as room
from mc_ops.cli.cutover import token_shown_to
from mc_ops.cli.options import EnvOption, OptionGroup, Verbs, Whole
from mc_ops.cli.output import Format, OutputOption, emit_json, json_text, note, print_check, stdout
from mc_ops.environments import Colour, Environment, Holder, open_environment
from mc_ops.errors import CouldNotTell, UnusableInput

if TYPE_CHECKING:
    from mc_contract.canonical import Json
    from mc_contract.running import Groups

app = Verbs()

OutOption = Annotated[
    Path | None, typer.Option("--out", help="Also write the result as JSON to this file.")
]
ManifestsOption = Annotated[
    Path | None,
    typer.Option(
        "--manifests", help="Check this folder (manifests, or a kustomization) without a cluster."
    ),
]
TableOption = Annotated[
    Path | None,
    typer.Option(
        "--table",
        envvar="MC_EGRESS_TABLE",
        help="Who may reach whom (TOML); default: egress.toml of the folder, on a cluster the region's.",
    ),
]
NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", "-n", help="Namespace on a cluster; default: the context's own."),
]
MinimumOption = Annotated[
    Whole, typer.Option("--min-replicas", min=1, help="Minimum number of replicas that must serve.")
]

_BAD = ("fail", "unknown")
_HEADINGS = {
    "pod-security": "what a pod, or a process, may do and who may reach it",
    "egress": "who may reach whom, or where the replicas are connected to",
    "hpa": "whether enough replicas serve, and may",
    "platform": "whether strangers are refused, replicas healthy, the ledger append-only, connections enough",
    "edge": "which colour serves behind the public URL",
    "rights": "what you may do in the platform's namespace, and what each right is for",
}


@dataclass(frozen=True, kw_only=True)
class CheckOptions(OptionGroup):
    """The options of every check."""

    env: EnvOption = "local"
    out: OutOption = None
    output: OutputOption = Format.table


@dataclass(frozen=True, kw_only=True)
class KubernetesOptions(CheckOptions):
    """The options of a check that is made on manifests and on a cluster, too."""

    manifests: ManifestsOption = None
    namespace: NamespaceOption = None


@app.command("pod-security")
def pod_security(call: KubernetesOptions) -> None:
    """Check what Pod Security's profile `restricted` asks; locally, who may read, connect, be root."""
    from mc_ops.preflight import kubernetes

    _elsewhere(
        "pod-security",
        call,
        kubernetes.pod_security_of_manifests,
        lambda: kubernetes.pod_security_of_cluster(call.namespace),
    )
    _check("pod-security", call)


@app.command()
def egress(call: KubernetesOptions, table: TableOption = None) -> None:
    """Check that NetworkPolicies let what a table allows alone; locally, where replicas connect to."""
    from mc_ops.preflight import kubernetes

    _elsewhere(
        "egress",
        call,
        lambda folder: kubernetes.egress_of_manifests(folder, table),
        lambda: kubernetes.egress_of_cluster(call.namespace, table),
    )
    _check("egress", call)


@app.command()
def hpa(
    call: KubernetesOptions,
    min_replicas: Annotated[
        Whole | None,
        typer.Option(
            "--min-replicas", min=1, help="Minimum of replicas; default: 1, on Kubernetes 3."
        ),
    ] = None,
    load: Annotated[
        Path | None,
        typer.Option(
            "--load", help="Replay the autoscaler over this load: CSV of time,replicas,load."
        ),
    ] = None,
    max_connections: Annotated[
        Whole,
        typer.Option("--max-connections", min=1, help="What the database has (Kubernetes)."),
    ] = 200,
) -> None:
    """Check that each autoscaler can do its work within the budgets; locally, that enough replicas serve."""
    from mc_ops.preflight import kubernetes

    limits = kubernetes.Limits(
        minimum=min_replicas or 3, max_connections=max_connections, load=load
    )
    _elsewhere(
        "hpa",
        call,
        lambda folder: kubernetes.hpa_of_manifests(folder, limits),
        lambda: kubernetes.hpa_of_cluster(call.namespace, limits),
    )
    _check("hpa", call, min_replicas or 1)


@app.command()
def platform(call: CheckOptions) -> None:
    """Check authentication, replica health, metrics and the append-only ledger."""
    _check("platform", call)


@app.command()
def edge(
    colour: Annotated[Colour, typer.Option("--colour", help="Colour that must serve.")],
    call: CheckOptions,
    allow_faults: Annotated[
        bool,
        typer.Option("--allow-faults", help="Allow replicas that have an injected fault."),
    ] = False,
) -> None:
    """Check after a cutover that requests reach this colour and are recorded."""
    environment = open_environment(call.env)
    _tell(
        "edge",
        environment.name,
        {"edge": room.check_edge_of(environment, colour, allow_faults=allow_faults)},
        call,
    )


@app.command()
def rights(
    call: CheckOptions,
    namespace: NamespaceOption = None,
    role: Annotated[
        bool, typer.Option("--role", help="Print a Role that has these rights and no others.")
    ] = False,
    holder: Annotated[
        Holder,
        typer.Option(
            "--for",
            help="Whose: an operator's; a reader's, of verbs that change nothing; an administrator's, who runs "
            "commands of the service; a neighbour namespace's, from which the egress check asks.",
        ),
    ] = Holder.operator,
) -> None:
    """Check that you have the rights that mcctl needs on a cluster (--env kubernetes)."""
    if call.env != "kubernetes":
        raise UnusableInput("on this machine no rights are granted", hint="add --env kubernetes")
    import yaml

    from mc_ops.environments import kubernetes

    client = kubernetes.Client.from_env(namespace)
    if role:
        manifest = kubernetes.role(client.namespace, holder)
        typer.echo(yaml.safe_dump(manifest, sort_keys=False), nl=False)
        return
    results = [
        room.found(
            str(right),
            [f"you may not ({missing}); {right.purpose}"] if missing else [],
            right.purpose,
            "mcctl preflight rights --role --env kubernetes prints a Role to apply",
        )
        for right, missing in kubernetes.allowed(client, holder)
    ]
    _tell("rights", call.env, {"rights": results}, call)


@app.command("all")
def check_all(
    call: CheckOptions, min_replicas: MinimumOption = 1, table: TableOption = None
) -> None:
    """Run all checks but `edge` and `rights`."""
    if call.env == "kubernetes":
        _check_all_of_cluster(call, min_replicas, table)
    if table is not None:
        raise UnusableInput("on this machine no table is held against policies", hint="no --table")
    _check("all", call, min_replicas)


def _check_all_of_cluster(call: CheckOptions, min_replicas: int, table: Path | None) -> NoReturn:
    from mc_ops.preflight import kubernetes

    environment = open_environment(call.env)
    at_start = _looked(environment)
    groups = {
        "pod-security": kubernetes.pod_security_of_cluster(None),
        "egress": kubernetes.egress_of_cluster(None, table),
        "hpa": kubernetes.hpa_of_cluster(None, kubernetes.Limits(minimum=min_replicas)),
        "platform": room.check_local("platform", environment),
    }
    _tell("all", environment.name, groups, call, (environment, at_start))


def _elsewhere(
    subject: str,
    call: KubernetesOptions,
    of_manifests: Callable[[Path], list[room.CheckResult]],
    of_cluster: Callable[[], list[room.CheckResult]],
) -> None:
    """If manifests or a cluster were asked for: tell of them, and exit."""
    if call.manifests is not None:
        _tell(subject, "manifests", {subject: of_manifests(call.manifests)}, call)
    elif call.env == "kubernetes":
        _tell(subject, call.env, {subject: of_cluster()}, call)


def _check(subject: str, call: CheckOptions, minimum_replicas: int = 1) -> None:
    environment = open_environment(call.env)
    at_start = _looked(environment)
    groups = {
        one: room.check_local(one, environment, minimum_replicas=minimum_replicas)
        for one in (room.SUBJECTS if subject == "all" else (subject,))
    }
    _tell(subject, environment.name, groups, call, (environment, at_start))


def _looked(environment: Environment) -> Groups | None:
    """What runs, by colour; None if that cannot be told."""
    from mc_ops.service_client.running import look

    try:
        found = look(
            {str(colour): [one.url for one in environment.instances(colour)] for colour in Colour},
            token_shown_to(environment),
        )
    except CouldNotTell:
        return None
    return {colour: replicas for colour, replicas in found.items() if replicas}


def _running(at_start: Groups | None, at_end: Groups | None) -> dict[str, Json] | None:
    """What was looked at, for the evidence; None where nothing ran or it could not be told."""
    from mc_contract.running import Record

    if not at_start or at_end is None:
        return None
    colours = {**at_start, **at_end}
    looks = [{colour: look.get(colour, ()) for colour in colours} for look in (at_start, at_end)]
    return Record(*looks).as_dict()


def _tell(
    subject: str,
    where: str,
    groups: dict[str, list[room.CheckResult]],
    call: CheckOptions,
    looked: tuple[Environment, Groups | None] | None = None,
) -> NoReturn:
    results = [result for group in groups.values() for result in group]
    report = _report(subject, where, results)
    environment, at_start = looked or (None, None)
    at_end = _looked(environment) if environment and at_start else None
    report["running"] = _running(at_start, at_end)
    if call.out:
        _write(call.out, report)
    if call.output is Format.json:
        emit_json(report)
    else:
        _print(groups)
    raise typer.Exit(room.exit_of(results))


def _report(subject: str, env: str, results: list[room.CheckResult]) -> dict[str, Any]:
    return {
        "subject": subject,
        "environment": env,
        "at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "ok": room.exit_of(results) == 0,
        "checks": [result.as_dict() for result in results],
    }


def _write(path: Path, report: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json_text(report), encoding="utf-8")
    except OSError as error:
        raise UnusableInput(f"{path} cannot be written: {error.strerror}") from error


def _print(groups: dict[str, list[room.CheckResult]]) -> None:
    for subject, results in groups.items():
        stdout.print(f"{subject}: {_HEADINGS[subject]}", style="bold", markup=False)
        print_results(results)
    count([result for group in groups.values() for result in group])


def print_results(results: list[room.CheckResult]) -> None:
    """Print each check, and what to do about one that does not pass."""
    for one in results:
        remedy = one.remedy if one.status in _BAD else ""
        print_check(one.status, one.name, one.detail, remedy, width=14)


def count(results: list[room.CheckResult]) -> None:
    """Tell how many checks were made, and how many do not pass."""
    bad = sum(result.status in _BAD for result in results)
    meaningless = sum(result.status is room.Status.not_applicable for result in results)
    made = len(results) - meaningless
    aside = f" ({meaningless} not applicable here)" if meaningless else ""
    note(f"{made} {'check' if made == 1 else 'checks'}, {bad} to look at{aside}")
