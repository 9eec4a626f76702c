"""`mcctl incident hpa-oscillation`: does the autoscaler oscillate, and which window stops it.

Exit 0: it does not (any more), or it was patched; 1: it does; 3: the record is too short or has
lost too much, or nobody could be asked; 4: the cluster refuses; 5: the patch was declined.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mc_contract.numbers import counted
from mc_ops import exit_codes
from mc_ops.cli.operator_access import confirm
from mc_ops.cli.options import Number, Whole
from mc_ops.cli.output import Format, OutputOption, emit_json, note, stdout
from mc_ops.errors import UnusableInput
from mc_ops.files import read_limited

if TYPE_CHECKING:
    from mc_ops.autoscaler.record import Recorded
    from mc_ops.autoscaler.replay import Rules
    from mc_ops.environments.kubernetes import Autoscaler, Autoscalers
    from mc_ops.incidents.hpa_oscillation.playbook import HpaDiagnosis

_NAME = "agent-workbench"
_REPLICAS_QUERY = (
    "max by (namespace) (kube_horizontalpodautoscaler_status_current_replicas"
    '{{horizontalpodautoscaler="{name}"{where}}})'
)
_LARGEST_BYTES = 64 * 1024 * 1024
_STEP_S = 15.0


# Over 60 lines because its options are: they are the interface, and stand where typer reads them
def hpa_oscillation(
    events: Annotated[
        str | None,
        typer.Option(
            help="Output of `kubectl get events -o json`, as a file or - for stdin; other forms are read too."
        ),
    ] = None,
    series: Annotated[
        str | None,
        typer.Option(
            help="CSV file (- is stdin) with columns time,replicas or time,replicas,load."
        ),
    ] = None,
    prometheus: Annotated[
        str | None, typer.Option(help="URL of a Prometheus server to query.")
    ] = None,
    hours: Annotated[
        Number,
        typer.Option(min=0.1, max=168, help="With --prometheus: length of the window in hours."),
    ] = 6.0,
    replicas_query: Annotated[
        str | None,
        typer.Option(
            help="With --prometheus: query for the replicas; default: of kube-state-metrics."
        ),
    ] = None,
    load_query: Annotated[
        str | None,
        typer.Option(help="With --prometheus: query for the load, summed over all replicas."),
    ] = None,
    target: Annotated[
        Number | None,
        typer.Option(help="Load that one replica should carry, in the unit of the load."),
    ] = None,
    window: Annotated[
        Whole | None,
        typer.Option(
            min=0, max=3600, help="Current scale-down window in seconds; default: the HPA's."
        ),
    ] = None,
    hpa: Annotated[str, typer.Option(help="Name of the HorizontalPodAutoscaler (HPA).")] = _NAME,
    namespace: Annotated[
        str | None,
        typer.Option(
            envvar="MC_NAMESPACE",
            show_envvar=False,
            help="Namespace of the HPA; default: MC_NAMESPACE, else the kubeconfig's.",
        ),
    ] = None,
    context: Annotated[str | None, typer.Option(help="Context of the kubeconfig.")] = None,
    env: Annotated[
        str,
        typer.Option(
            "--env",
            help="Environment of the HPA: `kubernetes`; `local` has none, and takes a record alone.",
        ),
    ] = "kubernetes",
    picture: Annotated[
        Path | None,
        typer.Option(help="Write a chart of the record and the replay to this PNG file."),
    ] = None,
    patch: Annotated[
        bool,
        typer.Option("--patch", help="Set the computed window on the HPA, after confirmation."),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask for confirmation of --patch.")
    ] = False,
    output: OutputOption = Format.table,
) -> None:
    """Detect an oscillating autoscaler and compute the scale-down window that stops it.

    Reads the cluster's events unless --events, --series or --prometheus is given.
    """
    if sum(source is not None for source in (events, series, prometheus)) > 1:
        raise UnusableInput("give one of --events, --series and --prometheus")
    from mc_ops.environments import checked_kind
    from mc_ops.environments.kubernetes import Autoscalers, checked_name

    checked_name("HPA", hpa)
    here = checked_kind(env) == "local"
    cluster, autoscaler = None, None
    if patch or not (events or series or prometheus):
        if here:
            raise UnusableInput(
                "no autoscaler runs on this machine",
                hint="add --env kubernetes, or give a record of one: --events, --series, --prometheus",
            )
        cluster = Autoscalers(namespace=namespace, context=context)
        autoscaler = cluster.read(hpa)
    if events:
        recorded = _of_events(events, hpa, namespace)
    elif series:
        recorded = _of_series(series)
    elif prometheus:
        query = replicas_query or _replicas_query(hpa, namespace)
        recorded = _of_prometheus(prometheus, query, load_query, hours)
    else:
        assert cluster is not None
        assert autoscaler is not None
        recorded = recorded_of(cluster, autoscaler)
    if recorded.load is not None and target is None:
        raise UnusableInput(
            "a load needs --target: what one replica should carry, in the same unit",
            hint="for 70 % of a request of 500m CPU and a load in cores: --target 0.35",
        )
    diagnosis = _diagnosed(recorded, autoscaler, target=target, window=window)
    if picture:
        from mc_ops.incidents.hpa_oscillation.picture import write_picture

        write_picture(diagnosis, picture)
    if output is Format.table:
        _print(diagnosis, hpa, namespace)
    done = None
    if patch and diagnosis.proposed_s is not None:
        assert cluster is not None
        assert autoscaler is not None
        done = _patched(cluster, autoscaler, diagnosis.proposed_s, yes=yes)
    _end(diagnosis, done, hpa, namespace, output)


# -- sources --------------------------------------------------------------------------------------


def _of_events(where: str, hpa: str, namespace: str | None) -> Recorded:
    from mc_ops.incidents.hpa_oscillation.events import read_events

    return read_events(_read(where), hpa=hpa, now_s=time.time(), namespace=namespace)


def _of_series(where: str) -> Recorded:
    from mc_ops.autoscaler.record import read_csv

    return read_csv(_read(where))


def _read(where: str) -> str:
    from mc_contract.configuration import FileProblems, text_of

    try:
        if where == "-":
            return text_of(sys.stdin.buffer.read(_LARGEST_BYTES + 1), most_bytes=_LARGEST_BYTES)
        return text_of(read_limited(Path(where), _LARGEST_BYTES), most_bytes=_LARGEST_BYTES)
    except FileProblems as error:
        raise UnusableInput(f"{where}: {error}") from error


def _replicas_query(hpa: str, namespace: str | None) -> str:
    """One series for the one HPA of that name; several where several namespaces have one."""
    from mc_ops.environments.kubernetes import checked_name

    where = "" if namespace is None else f',namespace="{checked_name("namespace", namespace)}"'
    return _REPLICAS_QUERY.format(name=hpa, where=where)


def _of_prometheus(url: str, replicas: str, load: str | None, hours: float) -> Recorded:
    from mc_ops.autoscaler.record import recorded_of_ranges
    from mc_ops.cli.slo_access import prometheus_client

    end = datetime.now(UTC)
    start = end - timedelta(hours=hours)
    # Longer ranges than Prometheus has points for are asked for more coarsely.
    step_s = max(_STEP_S, _STEP_S * round(hours * 3600 / _STEP_S / 10_000 + 0.5))
    with prometheus_client(url) as client:
        counts = client.query_range(replicas, start=start, end=end, step_s=step_s)
        loads = client.query_range(load, start=start, end=end, step_s=step_s) if load else None
    recorded = recorded_of_ranges(counts, loads)
    if step_s > _STEP_S:
        coarse = f"asked at every {step_s:.0f} s: what turns faster is not seen"
        recorded = replace(recorded, notes=(*recorded.notes, coarse))
    return recorded


def recorded_of(cluster: Autoscalers, autoscaler: Autoscaler) -> Recorded:
    """The replicas of an HPA, by the events that its cluster still has."""
    from mc_ops.incidents.hpa_oscillation.events import recorded_of_cluster

    return recorded_of_cluster(
        cluster.events(autoscaler.name),
        hpa=autoscaler.name,
        until_s=time.time(),
        created_at=autoscaler.created_at,
        status=autoscaler.status,
        uid=autoscaler.uid,
        changed_at=autoscaler.changed_at,
    )


def _diagnosed(
    recorded: Recorded,
    autoscaler: Autoscaler | None,
    *,
    target: float | None,
    window: int | None,
) -> HpaDiagnosis:
    from mc_ops.autoscaler.record import rules_of
    from mc_ops.incidents.hpa_oscillation.playbook import diagnose

    rules: Rules | None = None
    if autoscaler is not None:
        rules = rules_of(autoscaler.spec)
        if window is None:
            window = rules.down.window_s
            if autoscaler.window_s is None:
                told = f"the HPA sets no window; {window} s is Kubernetes' default"
                recorded = replace(recorded, notes=(*recorded.notes, told))
    return diagnose(recorded, rules, target=target, window_s=window)


# -- the one change -------------------------------------------------------------------------------


def _patched(
    cluster: Autoscalers, autoscaler: Autoscaler, seconds: int, *, yes: bool
) -> dict[str, Any]:
    """Ask, patch, read back; what was before, and the command that undoes it."""
    from mc_ops.autoscaler.record import rules_of
    from mc_ops.incidents.hpa_oscillation.playbook import window_change, window_command

    before = autoscaler.window_s
    if seconds <= (has_s := rules_of(autoscaler.spec).down.window_s):
        raise UnusableInput(
            f"the HPA's window is {has_s} s by now, {seconds} s would not be longer",
            hint="the record is of a time before that was set: look at a newer one",
        )
    now = "not set" if before is None else f"{before} s"
    confirm(
        f"Set the scale-down window of hpa/{autoscaler.name} in {autoscaler.namespace} at "
        f"{cluster.server} to {seconds} s (now {now})?",
        yes=yes,
    )
    after = cluster.set_window(autoscaler.name, seconds, seen=before)
    undo = window_change(before, had_behavior=autoscaler.has_behavior)
    return {
        "window_before_s": before,
        "window_after_s": after.window_s,
        "undo": window_command(autoscaler.name, autoscaler.namespace, undo),
    }


# -- the result -----------------------------------------------------------------------------------


def _print(diagnosis: HpaDiagnosis, hpa: str, namespace: str | None) -> None:
    from mc_ops.incidents.hpa_oscillation.picture import sparklines
    from mc_ops.incidents.hpa_oscillation.playbook import (
        HpaVerdict,
        window_change,
        window_command,
    )

    icon, colour = {
        HpaVerdict.calm: ("✔", "green"),
        HpaVerdict.stopped: ("✔", "green"),
        HpaVerdict.oscillating: ("✘", "red"),
        HpaVerdict.could_not_tell: ("?", "yellow"),
    }[diagnosis.verdict]
    stdout.print(f"{icon} {diagnosis.verdict.value}", style=colour, markup=False)
    rows = [("source", diagnosis.recorded.source)]
    if diagnosis.before:
        rows.append(("before", f"by the rules before: {diagnosis.before.why}"))
    rows += [
        ("since then" if diagnosis.before else "recorded", diagnosis.found.why),
        ("window now", f"{diagnosis.rules.down.window_s} s"),
    ]
    window = diagnosis.window
    if window:
        rows += [
            ("replayed", f"from the {diagnosis.method}"),
            ("  now", f"{counted(window.before, 'reversal')} in the busiest hour"),
            ("  then", window.why),
        ]
    now, then = diagnosis.mean_replicas
    if diagnosis.proposed_s is not None and then is not None:
        rows += [
            ("price", f"{now:.1f} replicas on average were recorded, {then:.1f} would be"),
            ("window", f"{diagnosis.proposed_s} s is the smallest that stops it in the replay"),
            ("patch", window_command(hpa, namespace, window_change(diagnosis.proposed_s))),
        ]
    for name, text in rows:
        stdout.print(f"{name:<11} {text}", markup=False)
    for line in sparklines(diagnosis):
        stdout.print(line, markup=False)
    for told in diagnosis.notes:
        stdout.print(f"note: {told}", markup=False)


def _end(
    diagnosis: HpaDiagnosis,
    done: dict[str, Any] | None,
    hpa: str,
    namespace: str | None,
    output: Format,
) -> None:
    from mc_ops.incidents.hpa_oscillation.playbook import (
        HpaVerdict,
        window_change,
        window_command,
    )

    verdict = diagnosis.verdict
    if output is Format.json:
        proposed = diagnosis.proposed_s
        command = proposed is not None and window_command(hpa, namespace, window_change(proposed))
        emit_json(
            {
                "incident": "hpa-oscillation",
                "hpa": hpa,
                **diagnosis.as_dict(),
                "patch": command or None,
                "patched": done,
            }
        )
    elif done:
        stdout.print(f"patched     {done['window_after_s']} s, read back", markup=False)
        stdout.print(f"undo        {done['undo']}", markup=False)
    elif diagnosis.proposed_s is not None:
        note("nothing was changed; --patch sets the window after asking")
    if verdict is HpaVerdict.could_not_tell:
        note("a longer record can tell: --prometheus URL --hours 6, or --series FILE")
    if done or verdict in (HpaVerdict.calm, HpaVerdict.stopped):
        raise typer.Exit(exit_codes.OK)
    failed = verdict is HpaVerdict.oscillating
    raise typer.Exit(exit_codes.FINDING if failed else exit_codes.COULD_NOT_TELL)
