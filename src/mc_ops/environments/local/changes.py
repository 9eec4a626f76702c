"""What a process runs with, held against what it would be started with now.

`mcctl up` starts what is missing and leaves what runs alone, so settings of a shell that is not the one
of the last start would seem to be in force, and are not. Compared are the variables that the process
reads, as it was given them; the catalogue's content is `applied`'s. Values are told only where they can
be no secret.
"""

from __future__ import annotations

import re

import psutil

from mc_ops.environments.local.layout import is_replica
from mc_ops.environments.local.processes import ProcessRecord, ProcessSpec

_READ_BY = {
    "edge": re.compile(r"MC_(HEAD|BODY|WRITE)_TIMEOUT_S|MC_CONNECTIONS(_PER_PEER)?"),
    "siem": re.compile(r"MC_SIEM_.*"),
}
_READ_BY_REPLICAS = re.compile(r"(MC|AUDIT|OTEL)_.*")
# Of mcctl itself, or of one process (faults are looked at by name, and a replica of its own)
_NOT_READ = re.compile(
    r"MC_(FAULTS?|BLUE_FAULT|GREEN_FAULT|BASELINE_FAULT)(_.*)?|MC_EDGE_.*|MC_CANARY_.*|MC_PROMETHEUS_.*"
    r"|MC_(HOME|PORT|REPLICA|COLOUR|DATABASE_ADMIN_URL|TOKEN_FILE|CREDENTIALS_FILE|PRICES_FILE)"
    r"|MC_SIEM_(FAIL|KEY_FILE)"
)
_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|URL|WEBHOOK")
_PLAIN = re.compile(r"[\w./,:+-]{1,60}", re.ASCII)


def changes(spec: ProcessSpec, record: ProcessRecord) -> list[str]:
    """Which settings a living process would have now that it has not, in words; sorted.

    Nothing where its environment may not be read.
    """
    process = record.process()
    try:
        runs_with = process.environ() if process else {}
    except psutil.Error:
        return []
    if not runs_with:
        return []
    names = {name for name in {*spec.env, *runs_with} if _is_read(spec.name, name)}
    return [
        _told(name, runs_with.get(name), spec.env.get(name))
        for name in sorted(names)
        if (runs_with.get(name) or "") != (spec.env.get(name) or "")
    ]


def _is_read(process: str, name: str) -> bool:
    if is_replica(process):
        return bool(_READ_BY_REPLICAS.fullmatch(name)) and not _NOT_READ.fullmatch(name)
    pattern = _READ_BY.get(process)
    return bool(pattern and pattern.fullmatch(name))


def _told(name: str, before: str | None, after: str | None) -> str:
    def shown(value: str | None) -> str | None:
        if not value:
            return "unset"
        return value if _PLAIN.fullmatch(value) and not _SECRET.search(name) else None

    old, new = shown(before), shown(after)
    return name if old is None or new is None else f"{name} ({old}, now {new})"
