"""What an administrator does to a database: migrate it, import credentials, repair it, archive it.

Beside `app`, for none of it needs the service to run. `python -m mc_platform` has a verb for each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mc_contract.ledger.checkpoint import LogKeys
from mc_platform.adapters.postgres.archive import archive_ledger
from mc_platform.adapters.postgres.epochs import NewEpoch, begin_epoch, logs_of, signed_notes
from mc_platform.adapters.postgres.erasures import Erasure
from mc_platform.adapters.postgres.erasures import erase as erase_tenant
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.migrate import (
    SERVICE_ROLE,
    database_url,
    import_credentials,
    migrate_arbiter,
    migrate_schema,
    service_database,
)
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.adapters.postgres.repair import TaskRepair
from mc_platform.adapters.postgres.replication import Peering, set_up, status
from mc_platform.adapters.postgres.replication import repair as repair_replication
from mc_platform.adapters.spacy_pipeline import load_recogniser
from mc_platform.enact import migrate_engine
from mc_platform.model.event import Kind
from mc_platform.model.ids import TenantId
from mc_platform.record import EventFactory

__all__ = [
    "NewEpoch",
    "archive",
    "begin_next_epoch",
    "change_credentials",
    "erase",
    "load_recogniser",
    "migrate",
    "migrate_arbiter",
    "repair",
]

_MOST_TOLD = 100


async def migrate(
    *,
    admin_url: str,
    service_url: str,
    credentials: Mapping[str, Any] | None,
    by: str = "administrator",
) -> dict[str, Any]:
    """Bring a database server to this version's roles, schema, engine and credentials.

    Args:
        credentials: See `import_credentials`; None leaves those that are there.
        by: Who does it, as the ledger is told of credentials.

    Returns:
        What was done: `applied` files, how many `credentials` are valid, and what changed in them.

    Raises:
        Misconfigured, BadRequest, Unavailable.
    """
    report: dict[str, Any] = {
        "applied": await migrate_schema(admin_url=admin_url, service_url=service_url)
    }
    owner_url = database_url(admin_url, service_database(service_url))
    await asyncio.to_thread(migrate_engine, owner_url, SERVICE_ROLE)
    if credentials is not None:
        report |= await change_credentials(
            admin_url=admin_url, service_url=service_url, credentials=credentials, by=by
        )
    return report


async def change_credentials(
    *, admin_url: str, service_url: str, credentials: Mapping[str, Any], by: str
) -> dict[str, Any]:
    """Import credentials into a database that is migrated; see `import_credentials`.

    Raises:
        Misconfigured, BadRequest, Unavailable.
    """
    owner_url = database_url(admin_url, service_database(service_url))
    imported = await import_credentials(owner_url=owner_url, credentials=credentials, by=by)
    changes = {
        name: list(value) for name, value in asdict(imported).items() if name != "valid" and value
    }
    return {"credentials": imported.valid, "credential_changes": changes}


async def repair(
    *, service_url: str, region: str, by: str, reason: str, dry_run: bool
) -> dict[str, Any]:
    """Mend tasks that no reader could show; see `TaskRepair`.

    Returns:
        How many there are, how many were `mended`, and what is wrong with each of the first 100.

    Raises:
        Misconfigured, Unavailable.
    """
    pools = Pools(database_url=service_url, application_name="mc-repair")
    await pools.open()
    journal = PostgresJournal(pools, region=(await logs_of(service_url, region))[-1])
    await journal.start()
    found: list[dict[str, str]] = []
    count = 0
    after: str | None = ""
    try:
        tasks = TaskRepair(pools, journal)
        while after is not None:
            now = datetime.now(UTC)
            repairs, after = await tasks.found(now, after)
            for one in repairs:
                if not dry_run:
                    await tasks.mend(one, by=by, reason=reason, at=now)
                found.append({"task": one.task_id, "tenant": one.tenant, "why": one.why})
            count, found = count + len(repairs), found[:_MOST_TOLD]
    finally:
        await journal.stop()
        await pools.close()
    return {"unreadable": count, "mended": 0 if dry_run else count, "tasks": found}


async def erase(
    *,
    admin_url: str,
    service_url: str,
    region: str,
    tenant: str,
    by: str,
    reason: str,
    dry_run: bool,
) -> dict[str, Any]:
    """Remove a tenant's content from this region's database; see `erasures.erase`.

    Returns:
        Counts by class, as `erased`.

    Raises:
        Misconfigured, Unavailable.
    """
    pools = Pools(database_url=service_url, application_name="mc-erase")
    await pools.open()
    journal = PostgresJournal(pools, region=(await logs_of(service_url, region))[-1])
    await journal.start()

    async def record(one: Erasure) -> None:
        events = EventFactory(clock=lambda: one.erased_at)
        told = {"principal": one.principal, "reason": one.reason, "erased": one.erased}
        await journal.record([events.event(Kind.tenant_erased, one.tenant, str(one.id), **told)])

    try:
        erased = await erase_tenant(
            database_url(admin_url, service_database(service_url)),
            TenantId(tenant),
            by=by,
            reason=reason,
            dry_run=dry_run,
            record=record,
        )
    finally:
        await journal.stop()
        await pools.close()
    return {"region": region, "tenant": tenant, "erased": erased, "dry_run": dry_run}


async def archive(
    *,
    admin_url: str,
    service_url: str,
    older_than_days: int,
    folder: Path,
    delivery_configured: bool,
) -> dict[str, Any]:
    """Move old partitions of the ledger out as files; see `archive_ledger`.

    Args:
        service_url: Tells which database it is.

    Raises:
        Misconfigured, Unavailable, LedgerDamaged.
    """
    return await archive_ledger(
        admin_url=database_url(admin_url, service_database(service_url)),
        older_than_days=older_than_days,
        folder=folder,
        delivery_configured=delivery_configured,
    )


async def begin_next_epoch(
    new: NewEpoch,
    *,
    admin_url: str,
    service_url: str,
    key: LogKeys,
    signer_state_dir: Path | None,
    checkpoints: Sequence[Path],
) -> dict[str, Any]:
    """Begin the region's next epoch in a restored database; see `begin_epoch`.

    Args:
        service_url: Tells which database it is.
        key: The ledger's; every checkpoint that is known must be signed by it.
        signer_state_dir: What the signer remembers; None if nothing is left of it.
        checkpoints: Files of checkpoints that were kept elsewhere.

    Raises:
        Misconfigured, Unavailable, LedgerDamaged.
    """
    known = signed_notes(new.region, key, signer_state_dir, checkpoints)
    url = database_url(admin_url, service_database(service_url))
    return await begin_epoch(url, new, key, known)


async def replicate(
    *, admin_url: str, service_url: str, mend: bool, **peering: str
) -> dict[str, Any]:
    """Have this region replicate with its peer, or mend that it does.

    Args:
        mend: Also what no setup would: see `adapters.postgres.replication.repair`.
        peering: The fields of `Peering`.

    Raises:
        Misconfigured, Unavailable.
    """
    act = repair_replication if mend else set_up
    return await act(admin_url=admin_url, service_url=service_url, peering=Peering(**peering))


async def replication_status(*, admin_url: str, service_url: str, digests: bool) -> dict[str, Any]:
    """How replication does; see `adapters.postgres.replication.status`.

    Raises:
        Misconfigured, Unavailable.
    """
    return await status(admin_url=admin_url, service_url=service_url, digests=digests)
