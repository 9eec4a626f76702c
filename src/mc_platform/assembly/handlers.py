"""The routes beside A2A that policy governs, each with what answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.routing import Route

from mc_platform.adapters.dataset_http import HttpRows
from mc_platform.adapters.postgres.break_glass import PostgresBreakGlass
from mc_platform.adapters.postgres.budget import PostgresBudgetAccountant
from mc_platform.adapters.postgres.credentials import PostgresCredentials
from mc_platform.adapters.postgres.dead_letters import PostgresDeadLetters
from mc_platform.adapters.postgres.homes import RegionHomes
from mc_platform.adapters.postgres.ledger import PostgresLedger, PostgresRecords
from mc_platform.adapters.postgres.operations import PostgresOperations
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.adapters.postgres.rules import PostgresRules
from mc_platform.adapters.postgres.witnessing import PostgresCosignedLog
from mc_platform.aggregate import Aggregates, Digests
from mc_platform.assembly.homes import HomesHere
from mc_platform.bulkheads import Slots
from mc_platform.enact import Breaker, OperationEngine
from mc_platform.enact.breaker import Count
from mc_platform.model.autonomy import AutonomyStatus, Scope
from mc_platform.model.catalogue import Catalogue
from mc_platform.model.label import Part
from mc_platform.model.tenant import PLATFORM
from mc_platform.ports import Autonomy, Screener, Tasks
from mc_platform.query import (
    AggregateHandlers,
    AuditHandlers,
    BreakGlassHandlers,
    CanaryHandlers,
    CredentialHandlers,
    DeadLetterHandlers,
    GraphqlHandlers,
    HomeHandlers,
    OperatorHandlers,
)
from mc_platform.query.break_glass import Reveal
from mc_platform.query.handlers import Handlers
from mc_platform.query.keys import KeyHandlers, KeysInUse
from mc_platform.record import CheckpointKeeper, Prover, TileKeeper
from mc_platform.settings import Settings


def governed_routes(
    shared: Mapping[str, Any],
    *,
    settings: Settings,
    catalogue: Catalogue,
    pools: Pools,
    tasks: Tasks,
    operations: PostgresOperations,
    engine: OperationEngine,
    autonomy: Autonomy,
    breaker: Breaker,
    reveal: Reveal | None,
    rules: PostgresRules,
    forget_credential: Callable[[str], None],
    ledger: PostgresLedger,
    former: Sequence[PostgresLedger],
    prover: Prover,
    checkpoints: CheckpointKeeper,
    rows: HttpRows,
    keys: KeysInUse,
    digests: Digests,
    homes: HomesHere | None,
) -> list[Route]:
    """All of them.

    Args:
        shared: The fields of `Handlers`.
        ledger: The log that is written; `former` are those of earlier epochs.
        reveal: None where there is no key for pseudonyms.
        homes: None where there is one region.
    """
    # Over 60 lines: one row for each kind of handlers

    async def figures(status: AutonomyStatus) -> Mapping[Scope, Count]:
        return (await breaker.judgement(status)).counts

    tenants = frozenset(catalogue.tenants)
    keeper = None if homes is None else homes.keeper
    handlers: list[Handlers] = [
        OperatorHandlers(
            **shared,
            operations=operations,
            engine=engine,
            autonomy=autonomy,
            figures=figures,
            breaker={
                "enabled": settings.breaker_enabled,
                "ratio": settings.breaker_ratio,
                "min_operations": settings.breaker_min_operations,
                "window_s": settings.breaker_window_s,
            },
            tenants=tenants,
            homes=keeper,
        ),
        HomeHandlers(
            **shared,
            region=settings.region,
            register=None if homes is None else homes.store,
            by_person=homes.store
            if homes is not None and isinstance(homes.store, RegionHomes)
            else None,
            homes=keeper,
            tenants=tenants,
        ),
        BreakGlassHandlers(
            **shared,
            grants=PostgresBreakGlass(pools),
            tasks=tasks,
            reveal_pseudonyms=reveal,
            tenants=tenants - {PLATFORM},
        ),
        CanaryHandlers(**shared),
        DeadLetterHandlers(**shared, letters=PostgresDeadLetters(pools, region=ledger.region)),
        KeyHandlers(**shared, keys=keys),
        CredentialHandlers(
            **shared,
            credentials=PostgresCredentials(pools),
            rules=rules,
            catalogued=catalogue.tenants,
            forget=forget_credential,
        ),
        GraphqlHandlers(
            **shared,
            tasks=tasks,
            records=PostgresRecords(
                pools, region=ledger.region, former=[log.region for log in former]
            ),
        ),
        AuditHandlers(
            **shared,
            ledger=ledger,
            prover=prover,
            sign_head=checkpoints.current,
            cosigned_notes=PostgresCosignedLog(pools, region=ledger.region).of_log,
            former={
                log.region: (log, Prover(log, TileKeeper(log)), log.newest_note) for log in former
            },
        ),
        AggregateHandlers(
            **shared,
            aggregates=Aggregates(
                accountant=PostgresBudgetAccountant(pools),
                rows=rows,
                digests=digests,
                homes=keeper,
            ),
            datasets=catalogue.datasets,
            slots=Slots(
                "aggregates",
                per_tenant=2,
                total=len(tenants) + 1,
                kept_each=1,
                tenants=len(tenants),
                wait_s=settings.slot_wait_s,
                most_waiting=16,
            ),
        ),
    ]
    return [route for each in handlers for route in each.routes()]


def redacted_text(screener: Screener, text: str) -> str:
    """A text with all that screening finds in it replaced."""
    parts: tuple[Part, ...] = ({"text": text},)
    [part] = screener.redact(parts, screener.screen(parts))
    return str(part["text"])
