"""What there is now of a canary that is looked into: the run that it is part of, and both sides.

Only addresses of this machine are asked, for a run's files may be from anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mc_contract.running import Facts, MalformedRecord, NotRecorded, read_record
from mc_contract.siem import is_loopback
from mc_ops.canary_folder import urls_of
from mc_ops.environments.faults import told_by
from mc_ops.errors import OpsError
from mc_ops.incidents.canary_hold.files import CanaryFiles
from mc_ops.service_client import ServiceClient
from mc_ops.service_client.running import look

_TIMEOUT_S = 2.0
_JOURNAL = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class Now:
    """What commands depend on beside the run's files.

    Attributes:
        runbook, run_id: Of the runbook's run whose canary it is; empty if it is none's.
        candidate: What each replica of the candidate told when the run ended.
        faults: The candidate's replicas that are broken on purpose now, by name: `slow=2`.
        baseline_gone: Whether nothing listens any more at an address of the baseline.
    """

    runbook: str = ""
    run_id: str = ""
    candidate: Sequence[Facts] = ()
    faults: Mapping[str, str] = field(default_factory=dict)
    baseline_gone: bool = False

    @property
    def colour(self) -> str:
        """The candidate's colour; empty if that is not known."""
        colours = {one["colour"] for one in self.candidate}
        return (colours.pop() or "") if len(colours) == 1 else ""

    @property
    def names(self) -> list[str]:
        """The candidate's replicas."""
        return sorted({name for one in self.candidate if (name := one["replica"])})


def look_around(files: CanaryFiles) -> Now:
    """Look at the run's folder, and at the addresses of this machine that it names."""
    told = files.verdict or {}
    candidate: Sequence[Facts] = ()
    with suppress(NotRecorded, MalformedRecord):
        candidate = read_record(dict(told), "the verdict").at_end.get("candidate", ())
    baseline = [url for url in urls_of(told, "baseline") if _is_here(url)]
    there = look({"baseline": baseline}, timeout_s=_TIMEOUT_S, silent_is_gone=True)["baseline"]
    faults: dict[str, str] = {}
    for url in filter(_is_here, urls_of(told, "candidate")):
        with suppress(OpsError), ServiceClient(url, timeout_s=_TIMEOUT_S) as service:
            health = service.health()
            if health.faults:
                faults[health.replica] = told_by(health.faults)
    runbook, run_id = _run_of(files.folder.resolve().parent)
    return Now(runbook, run_id, candidate, faults, len(there) < len(baseline))


def _run_of(folder: Path) -> tuple[str, str]:
    """The runbook and the id of the run whose folder it is; empty if it is none's."""
    try:
        with (folder / _JOURNAL).open(encoding="utf-8") as file:
            first: Any = json.loads(file.readline(1_000_000))
        return str(first["runbook"]), str(first["run_id"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return "", ""


def _is_here(url: str) -> bool:
    with suppress(ValueError):
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and is_loopback(parts.hostname or "")
    return False
