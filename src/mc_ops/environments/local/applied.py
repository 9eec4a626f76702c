"""Whether what runs has the files as they are now: what `mcctl up` tells of credentials and catalogue."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from mc_contract.configuration import MOST_TENANT_BYTES, FileProblems
from mc_ops.environments import catalogue
from mc_ops.environments.credentials import FILE, catalogue_tenants, strays
from mc_ops.environments.local.health import health_of
from mc_ops.environments.local.layout import Layout, is_replica
from mc_ops.environments.local.processes import ProcessRecord
from mc_ops.environments.local.specs import Specs
from mc_ops.environments.workspace import catalogue_path
from mc_ops.errors import UnusableInput

_WORDS = {
    "added": "now valid",
    "changed": "now another tenant's, role's or scope's",
    "revoked": "revoked, being in the file no more",
    "refused": "not valid: an administrator has revoked it, or another secret has its key id",
}


_MOST_LISTED = 20


def tenants() -> list[str]:
    """The tenants of the catalogue that replicas would read now.

    Raises:
        UnusableInput: it cannot be read.
    """
    return catalogue_tenants(catalogue_path(os.environ))


def stray_credentials(layout: Layout) -> Iterator[str]:
    """What is to be told of entries whose tenant is not in the catalogue."""
    declared = tenants()
    for name, tenant in strays(layout, declared).items():
        yield (
            f"credentials {name}: refused, for the catalogue has no tenant {tenant} (it has "
            f"{_listed(sorted(declared))}): add it there, or take the entry out of secrets/{FILE}"
        )


def credential_changes(log: Path, offset: int, refused: Collection[str]) -> Iterator[str]:
    """What the import told in its log from `offset` on, a line for each kind of change.

    Args:
        refused: Entries of which something else is told.
    """
    with suppress(OSError, ValueError, IndexError, AttributeError):
        told = log.read_bytes()[offset:].decode(errors="replace").strip().split("\n")[-1]
        changes = json.loads(told).get("credential_changes", {})
        for kind, words in _WORDS.items():
            if names := [str(name) for name in changes.get(kind, ()) if name not in refused]:
                yield f"credentials {_listed(names)}: {words}"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_LISTED} more" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more


def catalogue_digest(specs: Specs) -> str:
    """The digest of the catalogue that a replica would read now, as it tells it in `/health`.

    Raises:
        UnusableInput: it cannot be read.
    """
    env = specs.service_env()
    path = Path(env["MC_CATALOGUE"])
    try:
        with path.open("rb") as file:
            return catalogue.catalogue_digest(file.read(MOST_TENANT_BYTES + 1), env)
    except (OSError, FileProblems) as error:
        raise UnusableInput(f"catalogue {path}: {error}") from error


def other_catalogues(specs: Specs, records: Iterable[ProcessRecord]) -> Iterator[str]:
    """What is to be told of replicas that began with another catalogue than the file has now."""
    if behind := behind_catalogue(specs, records):
        path = specs.service_env()["MC_CATALOGUE"]
        yield (
            f"{', '.join(sorted(behind))} began with another catalogue than {path} is now; it takes "
            "effect in replicas that start: `mcctl up --restart`, or `mcctl up --green` and a cutover"
        )


def behind_catalogue(specs: Specs, records: Iterable[ProcessRecord]) -> list[str]:
    """Replicas that began with another catalogue than the file has now."""
    wanted = catalogue_digest(specs)
    begun_with = {
        record.name: health_of(record).catalogue for record in records if is_replica(record.name)
    }
    return [name for name, digest in begun_with.items() if digest and digest != wanted]
