"""Two whole regions in one home: the second is a platform of its own in `region-2`.

Each has its own PostgreSQL, replicas, edge and ledger key. They share what belongs to no region:
keyring and credentials (links to the first's files), the sample agents, the SIEM receiver, and the
arbiter, a PostgreSQL process of its own that outlives either region. What a region knows of its
peer stands in its `secrets/region.json`.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from mc_ops import exit_codes
from mc_ops.environments.administered import report_of, said_by
from mc_ops.environments.interface import Say, UpRequest
from mc_ops.environments.local import applied, keyring, postgres
from mc_ops.environments.local.layout import ARBITER, LINK, PORTS, Layout, is_replica
from mc_ops.environments.local.membership import Membership
from mc_ops.environments.local.records import Records
from mc_ops.environments.local.specs import Specs
from mc_ops.environments.local.start import Start
from mc_ops.environments.local.witnesses import name_witness
from mc_ops.environments.workspace import HIGHEST_PORT, HOST, SECOND
from mc_ops.errors import CouldNotTell, UnusableInput
from mc_ops.files import write_atomically

Administer = Callable[..., subprocess.CompletedProcess[str]]

_SHARED = ("keyring.json", "credentials.json", "siem.key", "scrape.token")
_ADMINISTRATION_TIMEOUT_S = 120.0


@contextmanager
def arbitrated(
    records: Records, request: UpRequest, external: str | None, say: Say
) -> Iterator[None]:
    """Have the arbiter run and both regions know of it, before the first one is brought up.

    A block that fails leaves things as they were: an arbiter that was started here is stopped, and a
    home that had one region has one.

    Raises:
        UnusableInput: the ports do not suffice; the database is not ours; replicas run that know
            of no arbiter, and are not to be restarted.
        CouldNotTell: the arbiter does not start.
    """
    layout = records.layout
    records.require_same_port()
    fresh = layout.membership() is None
    _require_possible(records, request, external, fresh=fresh)
    keyring.prepare_secrets(layout, applied.tenants())
    specs = Specs.of(layout, records.service, None)
    with Start(layout, records.table, say) as start:
        if not records.table.alive(LINK):
            start.processes([specs.link()])
            start.wait_ready()
        if not records.table.alive(ARBITER):
            server = postgres.arbiter_of(postgres.locate(layout))
            postgres.initialise(server, keyring.password(layout, "arbiter_superuser_password"))
            postgres.clear_stale_pid(server)
            start.processes([postgres.specification(layout, server, ARBITER)])
            start.wait_ready()
        if any(one.spec.name == ARBITER for one in start.begun) or fresh:
            _migrate_arbiter(layout, specs, say)
        _introduce(layout, specs)
        try:
            yield
        except BaseException:
            if fresh:
                for each in (layout, layout.beside()):
                    each.secret("region.json").unlink(missing_ok=True)
            raise


def _require_possible(
    records: Records, request: UpRequest, external: str | None, *, fresh: bool
) -> None:
    layout = records.layout
    if external:
        raise UnusableInput(
            "two regions need a database each, and MC_DATABASE_URL names one",
            hint="unset it: each region gets an embedded PostgreSQL; or set regions of your own up "
            "(docs/how-to/regions.md)",
        )
    if layout.home.name == SECOND:
        raise UnusableInput(
            f"{layout.home} is a second region", hint=f"start both: MC_HOME={layout.home.parent}"
        )
    if layout.edge_port + PORTS > HIGHEST_PORT:
        raise UnusableInput(
            f"MC_EDGE_PORT is {layout.edge_port}: the second region's ports are {PORTS} above it",
            hint=f"two regions need one of at most {HIGHEST_PORT - PORTS}",
        )
    running = [record.name for record in records.living() if is_replica(record.name)]
    if fresh and running and not request.restart:
        raise UnusableInput(
            f"{', '.join(running)} would enact without asking the arbiter beside a second region",
            hint="restart with it (requests are refused meanwhile): mcctl up --regions 2 --restart",
        )


@dataclass(frozen=True, slots=True)
class _Role:
    name: str
    password: str
    port: int
    database: str

    @property
    def url(self) -> str:
        return f"postgresql://{self.name}:{self.password}@{HOST}:{self.port}/{self.database}"


def _arbiter_url(layout: Layout) -> str:
    password = keyring.password(layout, "arbiter_password")
    return _Role("mc_arbiter", password, layout.port_of(ARBITER), "mc_arbiter").url


def _migrate_arbiter(layout: Layout, specs: Specs, say: Say) -> None:
    say("bringing the arbiter's schema up to date")
    password = keyring.password(layout, "arbiter_superuser_password")
    argv, env = specs.administration("migrate-arbiter")
    env["MC_ARBITER_ADMIN_URL"] = _Role(
        "postgres", password, layout.port_of(ARBITER), "postgres"
    ).url
    env["MC_ARBITER_URL"] = _arbiter_url(layout)
    try:
        done = subprocess.run(
            argv, env=env, capture_output=True, encoding="utf-8", errors="replace", check=False,
            timeout=_ADMINISTRATION_TIMEOUT_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CouldNotTell(f"the arbiter could not be set up: {type(error).__name__}") from error
    _require_done(done, "the arbiter's schema could not be brought up to date")


def _introduce(first: Layout, specs: Specs) -> None:
    """Write down for each region who it is, and where its peer and the arbiter are."""
    second = first.beside()
    second.prepare()
    for name in _SHARED:
        link = second.home / "secrets" / name
        if not link.is_symlink():
            link.symlink_to(Path("..", "..", "secrets", name))
    kept = first.membership()
    own = kept.region if kept else specs.service_env()["MC_REGION"]
    names = {first: own, second: "local-1" if own == "local-2" else "local-2"}
    keyring.prepare_secrets(second, applied.tenants())
    password = keyring.password(first, "replication_password")
    ways = first.ways()
    for layout, peer in ((first, second), (second, first)):
        database, edge = (ways[peer.home.name, name][0] for name in ("postgres", "edge"))
        peers = {"peers": [{"region": names[peer], "url": f"http://{HOST}:{edge}"}]}
        write_atomically(layout.peers_file, json.dumps(peers, indent=2) + "\n")
        known = Membership(
            region=names[layout],
            peer=names[peer],
            arbiter_url=_arbiter_url(first),
            replication_url=_Role("mc_replicator", password, database, "mc").url,
            replication_password=password,
            neighbours_port=first.edge_port,
        )
        write_atomically(layout.secret("region.json"), json.dumps(asdict(known), indent=2) + "\n")
        name_witness(layout, peer, names[peer], f"http://{HOST}:{edge}")


def replicate(layout: Layout, first: Administer, second: Administer, say: Say) -> None:
    """Have two regions that run replicate to each other, and witness each other's newest logs; harmless where they do.

    Args:
        layout: Of the first region.
        first: Runs a command of the service in it, as `second` in the other one.

    Raises:
        CouldNotTell: it cannot be set up.
    """
    say("having the regions replicate to each other")
    left: dict[str, str] = {}
    logs: dict[str, list[str]] = {}
    # Who comes first cannot subscribe yet, as the other does not let it in
    for administer in (second, first, second):
        done = administer("replication", "setup")
        _require_done(done, "replication could not be set up")
        report = report_of(done)
        logs[report["region"]] = report["logs"]
        left.update({report["region"]: report["peer"]} if report["left"] else {})
    for own, other in ((layout, layout.beside()), (layout.beside(), layout)):
        if known := own.membership():
            [url] = [one["url"] for one in json.loads(own.peers_file.read_text("utf-8"))["peers"]]
            name_witness(own, other, known.peer, url, logs[known.peer])
    for region, peer in left.items():
        say(
            f"a region was restored: nothing goes from {peer} to {region}, and nothing is confirmed, until "
            "`mcctl replication repair` has run"
        )
    if not report["subscribed"] and not left:
        raise CouldNotTell(
            f"{report['region']} does not replicate from {report['peer']}: {report['why']}",
            hint="mcctl replication status says what is missing; mcctl up tries again",
        )


def _require_done(done: subprocess.CompletedProcess[str], what: str) -> None:
    if done.returncode != exit_codes.OK:
        raise CouldNotTell(f"{what}: {said_by(done)[-1]}")
