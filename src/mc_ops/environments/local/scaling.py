"""`mcctl scale`: replicas of one colour started, stopped, or started anew."""

from __future__ import annotations

import contextlib

from mc_ops.environments.faults import Faults
from mc_ops.environments.interface import Colour, Say
from mc_ops.environments.local.baseline import await_shipper, baseline_specs
from mc_ops.environments.local.health import require_healthy
from mc_ops.environments.local.layout import MAX_REPLICAS, replica_names
from mc_ops.environments.local.outdated import Outdated
from mc_ops.environments.local.records import Records
from mc_ops.environments.local.specs import Specs
from mc_ops.environments.local.start import Start
from mc_ops.environments.local.traffic import Traffic
from mc_ops.environments.workspace import recall
from mc_ops.errors import CouldNotTell, UnusableInput


def require_scalable(
    records: Records,
    colour: Colour,
    replicas: int,
    active: Colour | None,
    *,
    restart: bool,
    baseline: bool,
) -> None:
    """Refuse what cannot be done.

    Raises:
        UnusableInput: whatever runs.
        CouldNotTell: the platform is not running.
    """
    if not 0 <= replicas <= MAX_REPLICAS:
        raise UnusableInput(f"{replicas} replicas asked for, expected 0 to {MAX_REPLICAS}")
    if replicas == 0 and colour == active:
        raise UnusableInput(
            f"{colour} serves; with 0 replicas nobody would",
            hint=f"cut over first: mcctl cutover --to {colour.other}",
        )
    if restart and colour == active:
        raise UnusableInput(
            f"{colour} serves; restarting all of it would drop requests",
            hint=f"cut over first: mcctl cutover --to {colour.other}",
        )
    if baseline and not (restart and replicas):
        raise UnusableInput(
            "a fresh baseline is compared with replicas that are as fresh",
            hint="add --restart, and at least 1 replica",
        )
    if not records.table.alive("edge"):
        raise CouldNotTell("the platform is not running", hint="start it: mcctl up")


def scale(
    records: Records,
    traffic: Traffic,
    specs: Specs,
    colour: Colour,
    replicas: int,
    say: Say,
    *,
    restart: bool,
    faults: Faults | None,
    baseline: bool,
) -> None:
    """Change the number of replicas, as `Environment.scale` says; the caller holds the lock."""
    active = traffic.active_colour()
    # Once more: before the lock was held another mcctl may have cut over.
    require_scalable(records, colour, replicas, active, restart=restart, baseline=baseline)
    memory = recall(records.layout.home)
    fresh = baseline_specs(records, specs, active, replicas) if baseline else []
    names = replica_names(colour, replicas)
    kept = next((record.settings for record in records.of(colour)), {})
    chosen = Faults.from_settings(kept) if faults is None else faults
    wanted = [specs.workbench(name, chosen) for name in names]
    Outdated(records).make_room(colour, wanted, say, restart=restart, baseline=baseline)
    if baseline:
        await_shipper(records, active, say)
    try:
        with Start(records.layout, records.table, say) as start:
            for number, spec in enumerate(wanted):
                start.processes([spec, *fresh[number : number + 1]])
            start.wait_serving(traffic, active)
    except BaseException:
        with contextlib.suppress(CouldNotTell):
            traffic.send_to(active)  # without those that were undone
        raise
    surplus = [record.name for record in records.of(colour) if record.name not in names]
    traffic.send_to(active, without=surplus)
    if surplus:
        traffic.drain([records.layout.url_of(name) for name in surplus])
        say(f"stopping {', '.join(surplus)}")
        records.table.stop(surplus)
    records.remember(memory, {colour: replicas})
    records.forget_releases()
    require_healthy(records.table, names)
