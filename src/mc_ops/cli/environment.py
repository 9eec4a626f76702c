"""`mcctl up, down, status, logs, scale, wait, cutover, instances`: the platform's processes."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from shlex import quote
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.text import Text

from mc_contract.numbers import counted
from mc_ops import audit, exit_codes
from mc_ops.cli.cutover import backing, remember
from mc_ops.cli.halts import told_halts
from mc_ops.cli.operator_access import UnaskedOption, confirm
from mc_ops.cli.options import EnvOption, Number, Verbs, Whole
from mc_ops.cli.output import (
    Format,
    OutputOption,
    columns,
    emit_line,
    note,
    ok,
    show,
    styled,
    warn,
)
from mc_ops.environments import (
    BASELINE,
    STANDS_STILL,
    UNREACHED,
    Colour,
    Environment,
    EnvironmentStatus,
    Group,
    Instance,
    LogFilter,
    Startable,
    State,
    UpRequest,
    open_environment,
    open_startable,
)
from mc_ops.environments import faults as faults_room
from mc_ops.environments.drill_lock import require_no_drill, running_drill
from mc_ops.environments.signals import ended_like_interrupted, uninterrupted
from mc_ops.environments.workspace import HOST
from mc_ops.errors import CouldNotTell, OpsError, UnusableInput

SERVICE = "agent-workbench"
_INTERRUPTED = "interrupted; what this call had started is stopped"

BaselineOption = Annotated[
    bool, typer.Option("--baseline", help="Use the baseline replicas instead of a colour.")
]
ColourOption = Annotated[
    Colour | None,
    typer.Option(help="Colour (blue or green); default: the one that receives traffic."),
]


app = Verbs()


@app.command()
def up(
    colour: Annotated[
        Colour | None,
        typer.Option(
            help="Colour that receives traffic (blue or green); default: as before, else blue."
        ),
    ] = None,
    replicas: Annotated[
        Whole | None,
        typer.Option(help="Number of replicas per colour; default: as before, else 1."),
    ] = None,
    green: Annotated[
        bool,
        typer.Option("--green", help="Also start green as the candidate, without traffic."),
    ] = False,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            help="Inject a fault into a colour's replicas: green:slow=2, green:errors=0.05."
        ),
    ] = None,
    restart: Annotated[
        bool,
        typer.Option(
            "--restart", help="Restart processes whose settings have changed since they started."
        ),
    ] = False,
    regions: Annotated[
        Whole | None,
        typer.Option(min=1, max=2, help="Number of regions, 1 or 2; default: as before, else 1."),
    ] = None,
    foreground: Annotated[
        bool,
        typer.Option(
            "--foreground",
            help="Stay in the foreground and print the logs; Ctrl-C stops the platform.",
        ),
    ] = False,
    output: OutputOption = Format.table,
    env: EnvOption = "local",
) -> None:
    """Start the platform on this machine; what runs already is left alone."""
    if foreground and output is Format.json:
        raise UnusableInput(
            "--foreground prints logs until it is stopped, and -o json one result", hint="give one"
        )
    environment = open_startable(env)
    require_no_drill(environment.workspace.home)
    faults = faults_room.read_faults(fault or (), os.environ)
    request = UpRequest(
        colour=colour,
        replicas=replicas,
        green=green,
        faults=faults,
        restart=restart,
        regions=regions,
    )
    with ended_like_interrupted(_INTERRUPTED):
        if foreground:
            _run_in_foreground(environment, request)
        else:
            _show_ready(environment, environment.up(request, _tell), output)


@app.command()
def down(
    purge: Annotated[
        bool,
        typer.Option("--purge", help="Also delete its data, keys and logs permanently."),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask for confirmation of --purge.")
    ] = False,
    output: OutputOption = Format.table,
    env: EnvOption = "local",
) -> None:
    """Stop the platform; its data is kept."""
    environment = open_startable(env)
    require_no_drill(environment.workspace.home)
    if purge and not yes:
        _confirm_purge(environment)
    stopped = environment.down(note)
    if stopped:
        ok("the platform is stopped")
    else:
        note("nothing was running")
    if purge:
        environment.purge()
        ok(f"its data under {escape(str(environment.workspace.home))} is removed")
    show(output, {"stopped": stopped, "purged": purge}, ())


@app.command()
def status(output: OutputOption = Format.table, env: EnvOption = "local") -> None:
    """Show each process, its health, and what halts autonomy; exit 1 if a process is dead or cannot serve."""
    environment = open_environment(env)
    found = environment.status()
    if output is Format.table:
        note(f"platform of {escape(str(environment.workspace.home))}")
    show(output, _status_result(environment, found), _status_lines(found))
    if found.active_colour is None and all(p.state is State.stopped for p in found.everything):
        note("the platform was never started here; start it: mcctl up")
    if unreached := [p.name for p in found.processes if p.health == UNREACHED and p.colour]:
        note(
            f"health by the readiness probe, as no connection can be made from here: "
            f"{', '.join(unreached)}; verbs that ask replicas must run inside the cluster's network"
        )
    drill = running_drill(environment.workspace.home)
    if drill:
        warn(
            f"a drill is under way: {escape(drill.scenario)}, since {escape(drill.began_at)} "
            f"({escape(drill.run)})"
        )
    if found.dead:
        names = ", ".join(process.name for process in found.dead)
        mend = "" if environment.name == "kubernetes" else ", `mcctl up` restarts"
        warn(f"dead: {names}; `mcctl logs {found.dead[0].name}` shows why{mend}")
    for process in found.failing:
        why = f"`mcctl logs {process.name}` may show why"
        if process.health == STANDS_STILL:  # and writes no log
            mend = "mcctl up" if process.name == "link" else "mcctl down, mcctl up"
            why = "the drill stopped it, and lets it go on" if drill else f"to let it go on: {mend}"
        warn(f"running but {escape(process.health)}: {process.name}; {why}")
    if found.dead or found.failing:
        raise typer.Exit(exit_codes.FINDING)


@app.command()
def logs(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Names of processes; default: all.", metavar="[NAME]..."),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Keep printing new lines as they are written.")
    ] = False,
    lines: Annotated[
        Whole | None,
        typer.Option(
            min=0, help="Number of recent lines per process; default: 50, with --since all."
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option(help="Only lines since this time or age: 30s, 10m, 36h, 7d.")
    ] = None,
    grep: Annotated[
        str | None, typer.Option(help="Only lines in which this regular expression is found.")
    ] = None,
    env: EnvOption = "local",
) -> None:
    """Print the processes' log lines by time, with the process's name if there are several."""
    environment = open_environment(env)
    wanted = LogFilter(
        lines=50 if lines is None and since is None else lines,
        follow=follow,
        since_s=_seconds(since) if since else 0.0,
        pattern=None if grep is None else _pattern(grep),
    )
    with _reader_may_leave():
        for line in environment.logs(names or (), wanted):
            prefix = "" if names and len(names) == 1 else f"{line.name} | "
            emit_line(f"{prefix}{line.text}")
            if follow:
                sys.stdout.flush()


def _seconds(since: str) -> float:
    return datetime.fromisoformat(audit.moment(since, datetime.now(UTC))).timestamp()


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise UnusableInput(f"--grep is no regular expression: {error}") from error


@app.command()
def scale(
    service: Annotated[str, typer.Argument(help=f"What to scale: {SERVICE}.")],
    replicas: Annotated[Whole, typer.Option(help="Number of replicas to run.")],
    colour: ColourOption = None,
    restart: Annotated[
        bool,
        typer.Option("--restart", help="Restart running replicas with the current checkout."),
    ] = False,
    fault: Annotated[
        str | None,
        typer.Option(
            help="Inject a fault into the started replicas: slow=2, errors=0.05, none; default: as before."
        ),
    ] = None,
    baseline: Annotated[
        bool,
        typer.Option(
            "--baseline",
            help="With --restart: also start as many replicas of the release that serves, as a baseline; "
            "with --replicas 0 and no --colour: stop the baseline.",
        ),
    ] = False,
    output: OutputOption = Format.table,
    env: EnvOption = "local",
) -> None:
    """Change the number of replicas; stopped replicas finish their requests first."""
    if service != SERVICE:
        raise UnusableInput(f'"{service}" cannot be scaled', hint=f"known: {SERVICE}")
    environment = open_environment(env)
    require_no_drill(environment.workspace.home)
    if baseline and colour is None:
        _stop_baseline(environment, replicas)
        _refresh_targets(environment)
        show(output, _group_result(BASELINE, ()), ())
        return
    target = _colour(environment, colour)
    with ended_like_interrupted(_INTERRUPTED):
        faults = None if fault is None else faults_room.read_fault(fault)
        environment.scale(
            target, replicas, _tell, restart=restart, faults=faults, baseline=baseline
        )
    _refresh_targets(environment)
    if replicas == 0:
        ok(f"{target} has no replicas")
    else:
        count, them = ("1 replica", "it") if replicas == 1 else (f"{replicas} replicas", "them")
        ok(f"{target} has {count}; what was started for {them} serves")
    if baseline:
        ok("a fresh baseline beside them serves as well")
    show(output, _group_result(target, environment.instances(target)), ())


def _refresh_targets(environment: Environment) -> None:
    """Let the Prometheus of `mcctl prometheus write` know which replicas run now."""
    from mc_ops.environments import monitoring

    try:
        monitoring.refresh(environment)
    except (OpsError, OSError) as error:
        warn(f"Prometheus has the former targets: {escape(str(error))}")


def _stop_baseline(environment: Environment, replicas: int) -> None:
    if replicas:
        raise UnusableInput(
            "a fresh baseline is started beside a candidate",
            hint="name the candidate with --colour, and add --restart",
        )
    if environment.stop_baseline(_tell):
        ok("the fresh baseline is stopped")
    else:
        note("there was no fresh baseline")


@app.command()
def wait(
    what: Annotated[str, typer.Argument(help="State to wait for; only `ready`.")],
    colour: ColourOption = None,
    baseline: BaselineOption = False,
    timeout: Annotated[
        Number, typer.Option(min=0, help="Maximum time to wait, in seconds.")
    ] = 60.0,
    output: OutputOption = Format.table,
    env: EnvOption = "local",
) -> None:
    """Wait until every replica of a colour is ready."""
    if what != "ready":
        raise UnusableInput(f'cannot wait for "{what}"', hint="known: ready")
    environment = open_environment(env)
    group = _group(environment, colour, baseline=baseline)
    found = environment.wait_ready(group, timeout)
    ok(f"{_named(group)} is ready: {', '.join(instance.name for instance in found)}")
    show(output, _group_result(group, found), ())


@app.command()
def instances(
    colour: ColourOption = None,
    baseline: BaselineOption = False,
    output: OutputOption = Format.table,
    env: EnvOption = "local",
) -> None:
    """Print the URL of each running replica of a colour, one per line."""
    environment = open_environment(env)
    group = _group(environment, colour, baseline=baseline)
    found = environment.instances(group)
    if not found:
        raise CouldNotTell(f"no replica of {_named(group)} runs")
    show(output, _group_result(group, found), [instance.url for instance in found])


@app.command()
def cutover(
    to: Annotated[Colour, typer.Option(help="Colour that receives the traffic.")],
    allow_faults: Annotated[
        bool,
        typer.Option(
            "--allow-faults", help="Allow a colour whose replicas have an injected fault."
        ),
    ] = False,
    run: Annotated[
        str | None,
        typer.Option(
            "--run",
            help="Canary run that justifies it; default: the newest since the last cutover.",
        ),
    ] = None,
    without_canary: Annotated[
        bool,
        typer.Option(
            "--without-canary", help="Cut over without a canary; the ledger records this."
        ),
    ] = False,
    yes: UnaskedOption = False,
    output: OutputOption = Format.table,
    env: EnvOption = "local",
) -> None:
    """Switch traffic to a colour without dropping a request; switch back the same way.

    A canary that compared this colour since the last cutover must let it serve, and every replica
    must be the process that was compared: exit 1 if not, 3 if that was not recorded.
    """
    del yes
    environment = open_environment(env)
    require_no_drill(environment.workspace.home)
    hold, told = None, ""
    if environment.active_colour() != to:  # else nothing is moved
        backed = backing(environment, to, run, without=without_canary)
        hold, told = backed.hold, backed.told
        (note if backed.judged else warn)(escape(told))
    switch = environment.switch(to, allow_faults=allow_faults, hold=hold)
    if switch.changed:
        remember(environment.workspace, switch.source, to, told)
        ok(f"cut over: {switch.source} -> {switch.target}")
        note(f"  → the way back: mcctl cutover --to {to.other}")
    else:
        ok(f"{to} serves; nothing was moved")
    show(output, {**asdict(switch), "canary": told}, ())


def _group(environment: Environment, colour: Colour | None, *, baseline: bool) -> Group:
    if not baseline:
        return _colour(environment, colour)
    if colour is not None:
        raise UnusableInput("--baseline and --colour name different replicas", hint="give one")
    return BASELINE


def _named(group: Group) -> str:
    return "the fresh baseline" if group == BASELINE else group


def _colour(environment: Environment, colour: Colour | None) -> Colour:
    found = colour or environment.active_colour()
    if found is None and environment.name == "kubernetes":
        raise CouldNotTell(
            f"service/{SERVICE} is not there, or selects neither side",
            hint="MC_NAMESPACE names the namespace; docs/how-to/kubernetes.md",
        )
    if found is None:
        raise CouldNotTell(
            f"the platform was never started here ({environment.workspace.home})",
            hint="start it: mcctl up",
        )
    return found


def _group_result(group: Group, found: Sequence[Instance]) -> dict[str, Any]:
    return {"group": group, "instances": [asdict(instance) for instance in found]}


def _status_result(environment: Environment, found: EnvironmentStatus) -> dict[str, Any]:
    """What `status` and `up` answer in JSON; whatever the form, each halt is warned of."""
    return {
        "home": str(environment.workspace.home),
        "url": found.url,
        "active_colour": found.active_colour,
        "processes": [asdict(process) for process in found.everything],
        "halts": told_halts(environment, found),
    }


def _show_ready(
    environment: Startable, found: EnvironmentStatus, output: Format = Format.table
) -> None:
    ok(f"the platform is ready; {found.active_colour} serves")
    rows = {
        "gateway": found.url,
        "agent card": f"{found.url}/.well-known/agent-card.json",
        "health": f"{found.url}/health",
        "metrics": f"{found.url}/metrics",
    }
    rows |= {instance.name: instance.url for instance in environment.instances()}
    rows |= {
        f"gateway of {process.name.removesuffix('/edge')}": f"http://{HOST}:{process.port}"
        for process in found.second
        if process.name.endswith("/edge")
    }
    if second := environment.second():
        rows["verbs of region-2"] = f"MC_HOME={quote(str(second.workspace.home))} mcctl status"
        witnesses = quote(f"{environment.workspace.home}/trust/witnesses.txt")
        rows["verify by witness"] = f"mcctl audit verify --witness {witnesses} --require 1"
    rows["tenant tokens"] = str(environment.workspace.secret("credentials.json"))
    show(output, _status_result(environment, found), columns(rows.items()))


def _run_in_foreground(environment: Startable, request: UpRequest) -> None:
    ready = False
    try:
        found = environment.up(request, _tell)
        ready = True
        _show_ready(environment, found)
        note("following the logs; Ctrl-C stops everything")
        _follow(environment)
    except BaseException as error:
        # A start that failed has undone itself, and what had run before goes on running.
        if ready or isinstance(error, KeyboardInterrupt):
            with uninterrupted():
                environment.down(_tell)
        raise


def _follow(environment: Environment) -> None:
    watched = {p.name for p in environment.status().everything if p.state is State.running}
    dead = threading.Event()

    def watch() -> None:
        while not dead.wait(1.0):
            gone = watched & {p.name for p in environment.status().dead}
            if gone:
                watched.difference_update(gone)
                warn(f"died: {', '.join(sorted(gone))}; `mcctl up` in another terminal restarts it")

    threading.Thread(target=watch, daemon=True).start()
    try:
        for line in environment.logs((), LogFilter(lines=0, follow=True)):
            emit_line(f"{line.name} | {line.text}")
            sys.stdout.flush()
    finally:
        dead.set()


def _confirm_purge(environment: Environment) -> None:
    home = environment.workspace.home
    note(
        f"This removes {escape(str(home))}: the database with its ledger, every key and token "
        "(evidence packs signed so far verify only with a copy of trust/evidence.pub), all logs."
    )
    confirm("Remove it all?", yes=False)


def _tell(text: str) -> None:
    """Note what is done; a terminal that is gone must not end a clean-up half-way."""
    with suppress(OSError):
        note(text)


@contextmanager
def _reader_may_leave() -> Iterator[None]:
    """End quietly when whoever reads standard output has seen enough (`| head`)."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered would be written, and fail again, when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_MARKS = {
    State.running: "[green]● running[/green]",
    State.dead: "[red]✘ dead[/red]",
    State.stopped: "[dim]○ stopped[/dim]",
}


def _status_lines(found: EnvironmentStatus) -> list[Text]:
    rows: list[tuple[str | Text, ...]] = []
    for process in found.everything:
        active = process.colour is not None and process.colour is found.active_colour
        again = counted(process.restarts, "restart") if process.restarts else ""
        remarks = list(filter(None, ["active" if active else "", process.faults, again]))
        uptime = "-" if process.uptime_s is None else f"{process.uptime_s:.0f} s"
        pid, port = str(process.pid or "-"), str(process.port or "-")
        state = styled(_MARKS[process.state])
        rows.append((process.name, state, pid, port, uptime, process.health, ", ".join(remarks)))
    heading = ("NAME", "STATE", "PID", "PORT", "UPTIME", "HEALTH", "REMARKS")
    return columns(rows, heading=heading)
