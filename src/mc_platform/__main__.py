"""`python -m mc_platform VERB`.

    serve      run one replica until SIGTERM or SIGINT, then drain
    settings   whether a replica could begin with these settings and this catalogue
    migrate    create roles, database and schema; credentials (hashes) as JSON on standard input
    migrate-arbiter  create role, database and schema of MC_ARBITER_URL, as MC_ARBITER_ADMIN_URL
    credentials  as migrate, and nothing else: for a database that is migrated, while replicas run
    repair     --reason TEXT [--dry-run]: mend tasks whose content no reader can show
    erase      --tenant TENANT --reason TEXT [--dry-run]: remove a tenant's content from this region
    replication  setup | status [--digests] | repair: of this region with its peer
    archive    --older-than DAYS --to DIR: move old partitions of the ledger out as files
    begin-epoch  --restore ID ...: begin the next epoch of the log in a restored database
    policy     check | test | diff | simulate | explain-set: a policy set, without a service
    scan       texts on standard input, judged as replies; see mc_platform.scan

They read the environment only (docs/reference/settings.md); nothing secret is ever an argument.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import getpass
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from mc_contract.configuration import MOST_TENANT_BYTES, FileProblems, json_of, kind_of
from mc_contract.numbers import whole_number
from mc_platform.errors import LedgerDamaged, Misconfigured, PlatformError
from mc_platform.observe import logs

if TYPE_CHECKING:
    from granian.server.embed import Server
    from starlette.types import ASGIApp

    from mc_platform.settings import Settings

_BACKLOG = 1024
_MOST_HANDLES = 65_536
_BUFFER_BYTES = 65_536
_LAST_ANSWERS_S = 5.0
_WITH_OPTIONS = ("archive", "repair", "erase", "begin-epoch", "replication")
_Report = dict[str, Any]


def _require_free_port(host: str, port: int) -> None:
    """Refuse a port that somebody has: Granian would share it, and traffic with it.

    Raises:
        Misconfigured: it is taken, or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # not TIME_WAIT's leftovers
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Misconfigured(
                f"cannot listen on {host}:{port}: {error.strerror}", hint="set MC_HOST or MC_PORT"
            ) from error


def _allow_handles() -> None:
    """A connection is a handle, and the usual limit of 1,024 is fewer than we may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_HANDLES if hard == resource.RLIM_INFINITY else min(hard, _MOST_HANDLES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def make_server(app: ASGIApp, settings: Settings) -> Server:
    """The HTTP server of one replica, within the bounds that the settings give."""
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.server.embed import Server

    return Server(
        app,
        address=settings.host,
        port=settings.port,
        interface=Interfaces.ASGINL,
        log_enabled=False,
        websockets=False,
        # HTTP/2 multiplexes, and what bounds a connection here would bound nothing.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            # For the whole head; also for a connection that asks for nothing (more).
            header_read_timeout=int(settings.head_timeout_s * 1000),
            # What it reads ahead, of a body too, before anybody is known.
            max_buffer_size=_BUFFER_BYTES,
        ),
        backlog=_BACKLOG,
        # Granian accepts no more connections than that: `receive.connections` stays below.
        backpressure=settings.connections + _BACKLOG,
    )


def _ended(number: int, _frame: object) -> None:
    os._exit(128 + number)


async def _serve() -> None:
    # A container's first process ignores a signal that it does not handle, so one that came while it
    # starts would wait for its end by force
    signal.signal(signal.SIGTERM, _ended)
    # Nothing that start-up makes is garbage: looking for some was a third of its CPU
    gc.disable()
    from mc_platform.app import Workbench
    from mc_platform.settings import load_settings, unknown_variables

    settings = load_settings()
    _require_free_port(settings.host, settings.port)
    logs.configure(settings.log_level)
    _allow_handles()
    workbench = await Workbench.of(settings)
    app = await workbench.open()
    # What start-up made stays for good: a collection that walks all of it is a pause for nothing.
    gc.collect()
    gc.freeze()
    gc.enable()
    server = make_server(app, settings)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.serve())
    stopping = asyncio.create_task(stop.wait())
    log = logs.get("serve")
    if unknown := unknown_variables(settings):
        log.warning(
            "settings_not_known", variables=unknown, hint="docs/reference/settings.md has all"
        )
    log.info(
        "serving",
        host=settings.host,
        port=settings.port,
        colour=settings.colour,
        replica=settings.replica,
        faults=settings.faulty,
    )
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    await workbench.drain()
    if not serving.done():
        server.stop()  # type: ignore[no-untyped-call]
    with suppress(TimeoutError):  # a client that does not take its answer must not keep us
        await asyncio.wait_for(serving, _LAST_ANSWERS_S)
    await workbench.close()
    log.info("stopped")


async def _check_settings() -> None:
    from mc_platform.settings import load_catalogue, load_settings

    settings = load_settings()
    load_catalogue(settings.catalogue)
    if settings.ner_pipeline:
        from mc_platform.administration import load_recogniser

        load_recogniser(settings.ner_pipeline)


async def _migrate() -> _Report:
    from mc_platform.administration import migrate

    urls = _urls()
    # Standard output is the report's
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    text = b"" if sys.stdin.isatty() else sys.stdin.buffer.read(MOST_TENANT_BYTES + 1)
    credentials = _credentials(text) if text.strip() else None
    return await migrate(**urls, credentials=credentials, by=_whoever())


async def _migrate_arbiter() -> _Report:
    from mc_platform.administration import migrate_arbiter

    urls = _urls("arbiter_admin_url", "arbiter_url")
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    return {
        "applied": await migrate_arbiter(
            admin_url=urls["arbiter_admin_url"], arbiter_url=urls["arbiter_url"]
        )
    }


async def _change_credentials() -> _Report:
    from mc_platform.administration import change_credentials

    urls = _urls()
    credentials = _credentials(sys.stdin.buffer.read(MOST_TENANT_BYTES + 1))
    return await change_credentials(**urls, credentials=credentials, by=_whoever())


def _urls(*names: str) -> dict[str, str]:
    """The databases' URLs, the administrator's and the service's unless others are named."""
    known = {
        "admin_url": "MC_DATABASE_ADMIN_URL",
        "service_url": "MC_DATABASE_URL",
        "arbiter_admin_url": "MC_ARBITER_ADMIN_URL",
        "arbiter_url": "MC_ARBITER_URL",
    }
    wanted = {name: known[name] for name in names or ("admin_url", "service_url")}
    missing = [variable for variable in wanted.values() if not os.environ.get(variable)]
    if missing:
        raise Misconfigured(f"not set: {', '.join(missing)}", hint="see docs/reference/settings.md")
    return {name: os.environ[variable] for name, variable in wanted.items()}


def _credentials(text: bytes) -> dict[str, Any]:
    try:
        credentials = json_of(text, most_bytes=MOST_TENANT_BYTES)
    except FileProblems as error:
        raise Misconfigured(f"the credentials on standard input: {error}") from error
    if not isinstance(credentials, dict):
        raise Misconfigured(
            f"standard input is {kind_of(credentials)}, must be a JSON object of credentials by name",
            hint="docs/reference/operator.md has an example",
        )
    return credentials


def _whoever() -> str:
    """Who runs this, as the machine knows them; it proves nothing, and is better than nobody."""
    with suppress(KeyError, OSError):
        return f"os-user:{getpass.getuser()}"
    return "os-user:unknown"


async def _repair() -> _Report:
    from mc_platform.administration import repair
    from mc_platform.query.parameters import reason_line

    parser = argparse.ArgumentParser(prog="python -m mc_platform repair")
    parser.add_argument("--reason", required=True, metavar="TEXT")
    parser.add_argument("--dry-run", action="store_true")
    given = parser.parse_args(sys.argv[2:])
    return await repair(
        **_urls("service_url"),
        region=_region(),
        by=_whoever(),
        reason=reason_line(given.reason),
        dry_run=given.dry_run,
    )


async def _erase() -> _Report:
    from mc_platform.administration import erase
    from mc_platform.query.parameters import reason_line

    parser = argparse.ArgumentParser(prog="python -m mc_platform erase")
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--reason", required=True, metavar="TEXT")
    parser.add_argument("--dry-run", action="store_true")
    given = parser.parse_args(sys.argv[2:])
    return await erase(
        **_urls(),
        region=_region(),
        tenant=given.tenant,
        by=_whoever(),
        reason=reason_line(given.reason),
        dry_run=given.dry_run,
    )


async def _archive() -> _Report:
    from mc_platform.administration import archive

    parser = argparse.ArgumentParser(prog="python -m mc_platform archive")
    parser.add_argument("--older-than", type=whole_number, required=True, metavar="DAYS")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR")
    given = parser.parse_args(sys.argv[2:])
    if given.older_than < 1:
        raise Misconfigured(f"--older-than must be at least 1 day, got {given.older_than}")
    return await archive(
        **_urls(),
        older_than_days=given.older_than,
        folder=given.to,
        delivery_configured=bool(os.environ.get("AUDIT_SIEM_URL") or _is_set("AUDIT_FILE_ENABLED")),
    )


async def _begin_epoch() -> _Report:
    from mc_platform.administration import NewEpoch, begin_next_epoch
    from mc_platform.assembly.keys import signing_keys
    from mc_platform.query.parameters import reason_line
    from mc_platform.settings import load_settings

    parser = argparse.ArgumentParser(prog="python -m mc_platform begin-epoch")
    parser.add_argument("--restore", required=True, metavar="ID")
    parser.add_argument("--restored-to", required=True, metavar="TIME")
    parser.add_argument("--backup", required=True, metavar="ID")
    parser.add_argument("--reason", required=True, metavar="TEXT")
    parser.add_argument("--report", default="", metavar="SHA256")
    parser.add_argument("--last-checkpoint", type=Path, action="append", default=[], metavar="FILE")
    parser.add_argument("--no-hold", action="store_true")
    given = parser.parse_args(sys.argv[2:])
    settings = load_settings()
    new = NewEpoch(
        region=settings.region,
        restore=given.restore,
        restored_to=given.restored_to,
        backup=given.backup,
        report=given.report,
        by=_whoever(),
        reason=reason_line(given.reason),
        hold=not given.no_hold,
    )
    return await begin_next_epoch(
        new,
        **_urls(),
        key=[key.public_key() for key in signing_keys(settings.ledger_key_file)],
        signer_state_dir=settings.signer_state_dir,
        checkpoints=given.last_checkpoint,
    )


def _region() -> str:
    from mc_platform.settings import Settings

    return os.environ.get("MC_REGION") or str(Settings.model_fields["region"].default)


async def _replication() -> _Report:
    from mc_platform.administration import replicate, replication_status

    parser = argparse.ArgumentParser(prog="python -m mc_platform replication")
    parser.add_argument("what", choices=("setup", "status", "repair"))
    parser.add_argument("--digests", action="store_true")
    given = parser.parse_args(sys.argv[2:])
    urls = _urls()
    if given.what == "status":
        return await replication_status(**urls, digests=given.digests)
    variables = {
        "peer": "MC_REPLICATION_PEER",
        "peer_url": "MC_REPLICATION_PEER_URL",
        "password": "MC_REPLICATION_PASSWORD",
    }
    missing = [name for name in variables.values() if not os.environ.get(name)]
    if missing:
        raise Misconfigured(f"not set: {', '.join(missing)}", hint="docs/how-to/regions.md")
    return await replicate(
        **urls,
        **{name: os.environ[variable] for name, variable in variables.items()},
        own=_region(),
        passfile=os.environ.get("MC_REPLICATION_PASSFILE", ""),
        mend=given.what == "repair",
    )


def _is_set(name: str) -> bool:
    """Whether a switch is on; what is not plainly off counts as on."""
    return os.environ.get(name, "").lower() not in {"", "0", "false", "f", "no", "n", "off"}


def main() -> int:
    """Run the verb; 0 ok, 1 the ledger is damaged, 2 usage or settings, 3 a dependency is down."""
    verbs: dict[str, Callable[[], Coroutine[Any, Any, _Report | None]]] = {
        "serve": _serve,
        "settings": _check_settings,
        "migrate": _migrate,
        "migrate-arbiter": _migrate_arbiter,
        "credentials": _change_credentials,
        "repair": _repair,
        "erase": _erase,
        "archive": _archive,
        "begin-epoch": _begin_epoch,
        "replication": _replication,
    }
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb in ("policy", "scan"):
        return _offline(verb)
    if verb not in verbs or (len(sys.argv) > 2 and verb not in _WITH_OPTIONS):
        sys.stderr.write(__doc__ or "")
        return 2
    try:
        import uvloop

        report = uvloop.run(verbs[verb]())
    except PlatformError as error:
        return _told(error)
    if report is not None:
        sys.stdout.write(json.dumps(report) + "\n")
    return 0


def _offline(verb: str) -> int:
    try:
        # One or the other: screening takes seconds to load, and policy commands need none of it
        if verb == "policy":
            from mc_platform.policy_commands import run
        else:
            from mc_platform.scan import run
        code = run(sys.argv[2:])
        sys.stdout.flush()
    except PlatformError as error:
        return _told(error)
    except OSError as error:  # of the output; who only reads what comes first (`| head`) has it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 0
        sys.stderr.write(f"error: {error.filename or 'the output'}: {error.strerror}\n")
        return 3
    return code


def _told(error: PlatformError) -> int:
    sys.stderr.write(f"error: {error.message}\n")
    if error.hint:
        sys.stderr.write(f"  -> {error.hint}\n")
    if isinstance(error, LedgerDamaged):
        return 1
    return 3 if error.retryable else 2


if __name__ == "__main__":
    sys.exit(main())
