"""`mcctl up`: starts whatever of a platform is missing, in order."""

from __future__ import annotations

from mc_ops.environments import policy_set
from mc_ops.environments.faults import Faults
from mc_ops.environments.interface import Colour, Say, UpRequest
from mc_ops.environments.local import applied, keyring
from mc_ops.environments.local.health import NO_ANSWER, hanging, health_of, require_healthy
from mc_ops.environments.local.layout import MAX_REPLICAS, is_replica, replica_names
from mc_ops.environments.local.outdated import Outdated
from mc_ops.environments.local.processes import ProcessSpec
from mc_ops.environments.local.records import Records
from mc_ops.environments.local.room import require_room
from mc_ops.environments.local.specs import Specs
from mc_ops.environments.local.start import Start
from mc_ops.environments.local.traffic import Traffic
from mc_ops.environments.workspace import Memory, checkout, recall
from mc_ops.errors import CouldNotTell, UnusableInput


def bring_up(
    records: Records, traffic: Traffic, external: str | None, request: UpRequest, say: Say
) -> None:
    """Start what is missing; the caller holds the lock.

    Args:
        records: Of the platform, whose folders are made.
        traffic: Its edge.
        external: Admin URL of a PostgreSQL that is not ours.
        request: What is asked for.
        say: Is told what is done.

    Raises:
        UnusableInput, CouldNotTell: as `Startable.up`, and as `room.require_room`.
    """
    layout, table = records.layout, records.table
    records.require_same_port()
    _require_answers(records, traffic)
    memory = recall(layout.home)
    keyring.prepare_secrets(layout, applied.tenants())
    policy_set.refresh(layout, checkout() / "policies")
    specs = Specs.of(layout, records.service, external)
    serving = request.colour or traffic.active_colour() or Colour.blue
    outdated = Outdated(records)
    colours = [serving]
    if request.green and serving is not Colour.green:
        colours.append(Colour.green)
    wanted = [
        specs.workbench(name, request.faults.get(colour, Faults()))
        for colour in colours
        for name in _wanted_names(records, colour, request.replicas, memory)
    ]
    outdated.require_not_fewer(colours, request.replicas)
    outdated.stop(specs, wanted, say, restart=request.restart)
    with Start(layout, table, say) as start:
        start.foundations(specs, wanted, external)
        if not all(map(start.lives, wanted)):
            running = [record.name for record in records.living() if is_replica(record.name)]
            names = dict.fromkeys([*(spec.name for spec in wanted), *running])
            require_room(layout, [*names], len(wanted))
        start.processes(wanted)
        start.wait_ready()
        _put_behind_edge(traffic, serving, start, specs.edge(), say)
    records.remember(memory, {c: len(found) for c in Colour if (found := records.of(c))})
    records.forget_releases()
    # Only now: one that hangs is no reason to stop again what was missing.
    living = [record.name for record in records.living()]
    require_healthy(table, [*living, *(spec.name for spec in wanted), "edge"])
    for line in applied.stray_credentials(layout):
        say(line)
    for line in applied.other_catalogues(specs, table.all()):
        say(line)
    if not start.begun:
        say("everything was already running")


def _require_answers(records: Records, traffic: Traffic) -> None:
    """See that what the others are started with answers, if it runs: database and edge."""
    database = records.table.alive("postgres")
    if database and not health_of(database).healthy:
        raise hanging({NO_ANSWER: ["postgres"]})
    if records.table.alive("edge"):
        try:
            traffic.require_answer()
        except CouldNotTell as error:
            raise hanging({NO_ANSWER: ["edge"]}) from error


def _wanted_names(
    records: Records, colour: Colour, replicas: int | None, memory: Memory
) -> list[str]:
    """As many replicas as are asked for, or ran before; those that are recorded in any case."""
    if replicas is not None and not 1 <= replicas <= MAX_REPLICAS:
        raise UnusableInput(f"{replicas} replicas asked for, expected 1 to {MAX_REPLICAS}")
    recorded = [record.name for record in records.of(colour)]
    count = replicas or memory.replicas.get(colour, 0) or max(len(recorded), 1)
    return list(dict.fromkeys([*replica_names(colour, count), *recorded]))


def _put_behind_edge(
    traffic: Traffic, serving: Colour, start: Start, edge: ProcessSpec, say: Say
) -> None:
    if not start.lives(edge):
        traffic.begin_with(serving)
        start.processes([edge])
        start.wait_ready()
        return
    active = traffic.active_colour() or serving
    if active != serving:
        say(f"{active} keeps serving; to change that: mcctl cutover --to {serving}")
    traffic.send_to(active)
