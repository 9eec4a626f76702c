"""`mcctl incident`: the playbooks; here the one for a SIEM that takes nothing.

Exit 0: delivery works (again); 1: it still fails, or events are parked; 3: nobody could be asked.
The other two are in `incident_canary` and `incident_hpa`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from subprocess import CompletedProcess
from typing import Annotated

import typer
from rich.markup import escape

from mc_ops import exit_codes
from mc_ops import incidents as room
from mc_ops.cli.incident_canary import canary_hold
from mc_ops.cli.incident_hpa import hpa_oscillation
from mc_ops.cli.options import EnvOption, Number, Verbs
from mc_ops.cli.output import Format, OutputOption, emit_json, note, print_check, stdout
from mc_ops.environments import Colour, Environment, State, open_environment
from mc_ops.errors import CouldNotTell, UnusableInput

app = Verbs()

_READY_S = 60.0
_KUBERNETES = "kubernetes"
_WORKBENCH = "agent-workbench"  # the container of a pod
_CLUSTER_FILE = "/var/log/mc-audit/events.log"  # on the pod's volume for it
_ROLLOUT_S = 300.0
_CODES = {"recovered": exit_codes.OK, "could_not_tell": exit_codes.COULD_NOT_TELL}
_TRUE = ("1", "true", "yes", "on", "t", "y")  # as pydantic reads a bool


app.command("canary-hold")(canary_hold)
app.command("hpa-oscillation")(hpa_oscillation)


@app.command("siem-failure")
def siem_failure(
    timeout: Annotated[
        Number,
        typer.Option(
            "--timeout", min=0, help="Time to watch for recovery, in seconds; 0 checks once."
        ),
    ] = 60.0,
    yes: Annotated[
        bool, typer.Option("--yes", help="Enable the backup file without confirmation.")
    ] = False,
    output: OutputOption = Format.table,
    env: EnvOption = "local",
) -> None:
    """Find out why the SIEM takes no events, enable the backup file, watch recovery."""
    environment = open_environment(env)
    if (token := environment.workspace.scrape_token).is_file():
        os.environ.setdefault("MC_SCRAPE_TOKEN_FILE", str(token))  # replicas elsewhere ask for it
    replicas = _replicas(environment)
    target = _target(environment, replicas)
    table = output is Format.table
    playbook = room.SiemFailure(
        target=target,
        backup=lambda: _backup(environment),
        enable=_enabler(environment, replicas, yes=yes),
        looked=lambda: room.look(_urls(environment)),
        through=_through(environment, replicas),
    )
    verdict = playbook.run(
        timeout_s=timeout,
        tell=_print_finding if table else _silent,
        tell_watch=_print_watch if table else _silent,
    )
    if table:
        stdout.print(f"verdict: {verdict.value}", style="bold", markup=False)
    else:
        told = {"incident": "siem-failure", "environment": env, "verdict": verdict.name}
        emit_json({**told, **playbook.as_dict()})
    raise typer.Exit(_CODES.get(verdict.name, exit_codes.FINDING))


def _silent(_: object) -> None:
    """Tell nothing: the JSON at the end has it all."""


def _print_finding(finding: room.Finding) -> None:
    print_check(finding.status, finding.step, finding.detail, finding.remedy)


def _print_watch(watch: room.Watch) -> None:
    waiting = "?" if watch.backlog is None else _waiting(watch.backlog)
    oldest = "" if not watch.oldest_s else f", the oldest for {watch.oldest_s:.0f} s"
    note(escape(f"delivery: {watch.recovery}; {waiting}{oldest}; shipper: {watch.said}"))


def _waiting(backlog: int) -> str:
    return "1 event waits" if backlog == 1 else f"{backlog} events wait"


# -- what the running platform says of itself -----------------------------------------------------


def _replicas(environment: Environment) -> dict[str, Mapping[str, str]]:
    """The environment variables of each replica that runs and may be read, by its name."""
    found: dict[str, Mapping[str, str]] = {}
    for process in environment.status().processes:
        if process.state is not State.running or process.colour is None:
            continue
        try:
            found[process.name] = environment.settings(process.name)
        except CouldNotTell:
            continue
    return found


def _urls(environment: Environment) -> list[str]:
    return [instance.url for instance in environment.instances()]


def _target(
    environment: Environment, replicas: Mapping[str, Mapping[str, str]]
) -> room.SiemTarget | None:
    """As a running replica has it; else as this shell has it; else this machine's own receiver."""
    for settings in (*replicas.values(), os.environ):
        if settings.get("AUDIT_SIEM_URL"):
            return _read_target(settings)
    key = environment.workspace.siem_key()
    return (
        room.SiemTarget(url=f"{environment.neighbour_url('siem')}/ingest", key=key) if key else None
    )


def _through(
    environment: Environment, replicas: Mapping[str, Mapping[str, str]]
) -> room.FromPod | None:
    """A pod of the platform, on a cluster: names and policies of the cluster hold there alone."""
    if environment.name != _KUBERNETES or not replicas:
        return None
    name = min(replicas)
    pod = ("exec", "--stdin", name, "--container", _WORKBENCH, "--", *room.CURL)
    return room.FromPod(name, lambda text: _kubectl(*pod, text=text))


def _kubectl(*command: str, text: str = "", timeout_s: float = 60.0) -> CompletedProcess[str]:
    from mc_ops.preflight.kubernetes.cluster import Cluster, kubectl

    space = Cluster.of_context(os.environ.get("MC_NAMESPACE") or None).namespace
    answer = kubectl("--namespace", space, *command, text=text, timeout_s=timeout_s)
    return CompletedProcess(command, answer.code, answer.out, answer.error)


def _read_target(settings: Mapping[str, str]) -> room.SiemTarget:
    from mc_contract.siem import DEFAULT_INDEX, SiemFormat

    told = settings.get("AUDIT_SIEM_FORMAT") or SiemFormat.ocsf.value
    try:
        siem_format = SiemFormat(told)
    except ValueError:
        known = ", ".join(SiemFormat)
        raise UnusableInput("AUDIT_SIEM_FORMAT is not known", hint=f"known: {known}") from None
    ca_file = settings.get("AUDIT_SIEM_CA_FILE")
    return room.SiemTarget(
        url=settings["AUDIT_SIEM_URL"],
        key=settings.get("AUDIT_SIEM_KEY", ""),
        siem_format=siem_format,
        index=settings.get("AUDIT_SIEM_INDEX") or DEFAULT_INDEX,
        ca_file=Path(ca_file) if ca_file else None,
        insecure=_is_true(settings.get("AUDIT_SIEM_INSECURE")),
        hec_ack_required=settings.get("AUDIT_SIEM_HEC_ACK", "required") != "off",
    )


def _is_true(value: str | None) -> bool:
    return (value or "").lower() in _TRUE


def _backup(environment: Environment) -> room.BackupState | None:
    replicas = _replicas(environment)
    enabled = {name: _is_true(has.get("AUDIT_FILE_ENABLED")) for name, has in replicas.items()}
    paths = {has["AUDIT_FILE_PATH"] for has in replicas.values() if has.get("AUDIT_FILE_PATH")}
    return room.BackupState(enabled, frozenset(paths))


# -- the one change -------------------------------------------------------------------------------


def _enabler(
    environment: Environment, replicas: Mapping[str, Mapping[str, str]], *, yes: bool
) -> Callable[[], None] | None:
    """What enables the file, where that was agreed to; is asked only when there is need."""
    needed = not all(_is_true(has.get("AUDIT_FILE_ENABLED")) for has in replicas.values())
    if needed and (yes or _agrees(environment)):
        on_cluster = environment.name == _KUBERNETES
        return lambda: (_enable_on_cluster if on_cluster else _enable)(environment)
    return None


def _agrees(environment: Environment) -> bool:
    if not sys.stdin.isatty():
        return False  # the finding says to repeat with --yes
    note(_plan(environment))
    return typer.confirm("Enable the backup file?", err=True)


def _plan(environment: Environment) -> str:
    active = environment.active_colour()
    if environment.name == _KUBERNETES:
        return (
            "The backup file is off. To enable it, the Deployments without it get "
            "AUDIT_FILE_ENABLED=true and are rolled out, one pod at a time."
        )
    other = active.other.value if active else "the other colour"
    return (
        f"The backup file is off. To enable it without an interruption, {other} is started with "
        f"it, takes over, and {active or 'the old one'} is stopped."
    )


def _enable_on_cluster(environment: Environment) -> None:
    """Set the runbook's two variables on each Deployment whose pods are without the file; roll it out.

    Raises:
        CouldNotTell: kubectl is refused, or the new pods do not become ready; the old ones serve on.
    """
    from mc_ops.environments.kubernetes import deployment_of

    for colour in Colour:
        names = [instance.name for instance in environment.instances(colour)]
        settings = [environment.settings(name) for name in names]
        if all(_is_true(has.get("AUDIT_FILE_ENABLED")) for has in settings):
            continue
        deployment = f"deployment/{deployment_of(colour)}"
        path = next((has["AUDIT_FILE_PATH"] for has in settings if has.get("AUDIT_FILE_PATH")), "")
        variables = ("AUDIT_FILE_ENABLED=true", f"AUDIT_FILE_PATH={path or _CLUSTER_FILE}")
        with environment.locked():
            for command in (
                ("set", "env", deployment, *variables),
                ("rollout", "status", deployment, f"--timeout={_ROLLOUT_S:g}s"),
            ):
                done = _kubectl(*command, timeout_s=_ROLLOUT_S + 30)
                if done.returncode:
                    said = " ".join(done.stderr.split())
                    raise CouldNotTell(f"kubectl {' '.join(command[:2])}: {said}")
        undo = f"kubectl set env {deployment} AUDIT_FILE_ENABLED- AUDIT_FILE_PATH-"
        note(f"{colour} has the backup file; what takes it back: {undo}")


def _enable(environment: Environment) -> None:
    """Start the other colour with the file, let it take over, and stop the one without.

    Raises:
        UnusableInput: the other colour is in use: somebody's canary or cutover is under way.
        CouldNotTell, Finding: it did not come up; the old colour still serves.
    """
    active = environment.active_colour()
    if active is None:
        raise CouldNotTell("nothing serves", hint="AUDIT_FILE_ENABLED=true mcctl up")
    if environment.instances(active.other):
        raise UnusableInput(
            f"{active.other} runs already, so it cannot be used to take over",
            hint=f"mcctl scale agent-workbench --colour {active.other} --replicas 0, then repeat",
        )
    # Replicas inherit this process's environment; the path has a default.
    os.environ["AUDIT_FILE_ENABLED"] = "true"
    environment.scale(active.other, max(1, len(environment.instances(active))))
    environment.wait_ready(active.other, _READY_S)
    environment.switch(active.other)
    environment.scale(active, 0)
    note(
        f"{active.other} serves with the backup file; take AUDIT_FILE_ENABLED=false out of your "
        "environment, or the next `mcctl up` disables it again"
    )
