"""Memory in place of PostgreSQL and agents, for stories about the request path alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.requests import Request

from mc_contract.keyring import Keyring, KeySet, Purpose, first_keyring
from mc_platform.adapters.downstream_a2a import Asked, _parts_of, _result_of
from mc_platform.adapters.postgres.journal import leaf_bytes
from mc_platform.bulkheads import Messages
from mc_platform.model.catalogue import Catalogue
from mc_platform.model.event import Event, Recorded
from mc_platform.model.ids import DecisionId, TenantId
from mc_platform.model.operation import OperationRequest
from mc_platform.model.task import Task
from mc_platform.model.tenant import Principal, Tenant
from mc_platform.model.verdict import Decision, Question
from mc_platform.pipeline.enforcement import Enforcement
from mc_platform.pipeline.examine import ExaminationRoom, Examiner
from mc_platform.ports import DecisionPoint, Screener
from mc_platform.record import (
    AuditRecorder,
    ContentFingerprints,
    Digester,
    EventFactory,
    Identity,
    Sealer,
)
from mc_platform.request_path import RequestPath
from mc_platform.settings import load_catalogue

ROOT = Path(__file__).parents[1]
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
KEYRING = first_keyring(KEY)
DIGEST_KEYS = KEYRING.of(Purpose.digest)
SEALING_KEYS = KEYRING.of(Purpose.sealing)
FINGERPRINT_KEYS = KEYRING.of(Purpose.fingerprint)


def pseudonym_keys(secret: bytes) -> KeySet:
    """One key for pseudonyms, as an installation without a keyring has it."""
    return first_keyring(KEY, secret).of(Purpose.pseudonym)


class MemoryLedger:
    """A `Journal`, `Tasks` and `Budgets` in memory, that keeps the leaves the log would hold."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.leaves: list[bytes] = []
        self.tasks: dict[str, Task] = {}
        self.quotable: dict[str, tuple[TenantId, set[int]]] = {}

    async def record(self, events: Sequence[Event], task: Task | None = None) -> list[Recorded]:
        first = len(self.leaves)
        fresh = task is None or task.id not in self.tasks or task.state.terminal
        if fresh:
            self.events += events
            self.leaves += [leaf_bytes("test-1", event) for event in events]
            if task is not None:
                self.tasks[task.id] = task
                self.quotable.setdefault(task.id, (task.tenant, set()))[1].update(task.quotable)
        return [Recorded(event.id, first + at, fresh) for at, event in enumerate(events)]

    async def record_unless_quoted(
        self, event: Event, task: Task, digests: Sequence[int]
    ) -> list[Recorded] | None:
        if any(one.id != task.id for one in await self.quoted(task.tenant, digests)):
            return None
        return await self.record([event], task)

    async def get(self, _tenant: TenantId, task_id: str) -> Task | None:
        return self.tasks.get(task_id)

    async def of_message(self, tenant: TenantId, message_id: str) -> Task | None:
        mine = (task for task in self.tasks.values() if task.tenant == tenant)
        return next((task for task in mine if task.message_id == message_id), None)

    async def knows(self, ids: Sequence[str]) -> bool:
        return any(event.id in ids for event in self.events)

    async def conversation(self, tenant: TenantId, context_id: str, *, limit: int) -> list[Task]:
        found = [
            task
            for task in self.tasks.values()
            if task.tenant == tenant and task.context_id == context_id
        ]
        return found[::-1][:limit]

    async def answered(self, tenant: TenantId, context_id: str) -> list[Task]:
        found = await self.conversation(tenant, context_id, limit=10_000)
        return [task for task in found if task.parts][:2]

    async def with_ids(self, tenant: TenantId, ids: Sequence[str]) -> list[Task]:
        return [task for task in self.tasks.values() if task.tenant == tenant and task.id in ids]

    async def quoted(self, tenant: TenantId, digests: Sequence[int]) -> list[Task]:
        return [
            self.tasks[task_id]
            for task_id, (owner, kept) in self.quotable.items()
            if owner == tenant and kept & set(digests)
        ]

    async def operations_since(self, tenant: TenantId, _since_at: datetime) -> int:
        return sum(
            1
            for task in self.tasks.values()
            if task.tenant == tenant and "operation_id" in task.governance
        )


class HostileAgent:
    """A `Downstream` that answers whatever it is given, through the real adapter's parser."""

    def __init__(self, body: Any) -> None:
        self.body = body
        self.asked: list[dict[str, Any]] = []

    async def ask(self, **asked: Any) -> Any:
        self.asked.append(asked)
        to = Asked(asked["message_id"], asked["context_id"])
        body = self.body
        if isinstance(body, dict):
            body = {"jsonrpc": "2.0", "id": to.id, **body}
        return _parts_of(_result_of(body, to), to)


class NoOperations:
    """An `Operations` that begins nothing, and remembers what it was to begin."""

    def __init__(self) -> None:
        self.begun: list[OperationRequest] = []

    def healthy(self) -> bool:
        return True

    async def start(self, request: OperationRequest) -> None:
        self.begun.append(request)

    async def report(self, _operation_id: Any) -> None:
        return

    async def wait(self, _operation_id: Any, _timeout_s: float) -> None:
        return

    async def known(self, _operation_id: Any) -> bool:
        return False

    async def cancel(self, _operation_id: Any) -> bool:
        return True


class NeverHalted:
    """An `Autonomy` that nobody has halted."""

    async def halted(self, _tenant: TenantId) -> None:
        return


def local_catalogue() -> Catalogue:
    """The local environment's, with agents that nobody can reach."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("RECORDS", "FULFILMENT"):
            patch.setenv(f"MC_{name}_AGENT_URL", "http://127.0.0.1:9")
        return load_catalogue(ROOT / "deploy" / "local" / "catalogue.toml")


class Answers:
    """A `DecisionPoint` that gives one answer to all, and remembers what it was asked."""

    digest = "0" * 64

    def __init__(self, *, allowed: bool = True) -> None:
        self.allowed = allowed
        self.asked: list[Question] = []

    def decide(self, question: Question) -> Decision:
        self.asked.append(question)
        number = f"decision-{len(self.asked)}"
        return Decision(DecisionId(number), self.allowed, question.action, (), "so it is", "0" * 64)


def handler_fields(
    *,
    principal_of: Callable[[Request], Principal],
    tenants: Mapping[TenantId, Tenant],
    decisions: DecisionPoint | None = None,
    journal: Any = None,
    redact: Callable[[str], str] = str,
) -> dict[str, Any]:
    """The fields of `query.handlers.Handlers`, with a real enforcement point."""
    recorder = AuditRecorder(journal or MemoryLedger(), lambda: NOW)
    return {
        "principal_of": principal_of,
        "enforcement": Enforcement(
            catalogue=Catalogue(tenants, {}, {}, {}),
            decisions=decisions or Answers(),
            recorder=recorder,
        ),
        "recorder": recorder,
        "redact": redact,
    }


def request_path(
    *,
    catalogue: Catalogue,
    decisions: DecisionPoint,
    screener: Screener,
    ledger: MemoryLedger,
    downstream: HostileAgent,
    operations: NoOperations | None = None,
    clock: Callable[[], datetime] = lambda: NOW,
    messages: Messages | None = None,
    operation_wait_s: float = 0.0,
    keyring: Keyring = KEYRING,
) -> RequestPath:
    """A request path with everything at its edges in memory."""
    digester = Digester(keyring.of(Purpose.digest))
    fingerprints = ContentFingerprints(keyring.of(Purpose.fingerprint))
    return RequestPath(
        catalogue=catalogue,
        room=ExaminationRoom(
            Examiner(screener=screener, digester=digester, fingerprints=fingerprints)
        ),
        enforcement=Enforcement(
            catalogue=catalogue,
            decisions=decisions,
            recorder=AuditRecorder(ledger, clock),
        ),
        journal=ledger,
        tasks=ledger,  # type: ignore[arg-type] # no story here lists pages
        downstream=downstream,
        operations=operations or NoOperations(),  # type: ignore[arg-type] # nor voids
        autonomy=NeverHalted(),  # type: ignore[arg-type] # nor throws the switch
        budgets=ledger,
        events=EventFactory(clock=clock),
        identity=Identity(keyring.of(Purpose.identity)),
        digester=digester,
        sealer=Sealer(keyring.of(Purpose.sealing)),
        clock=clock,
        operation_wait_s=operation_wait_s,
        messages=messages
        or Messages(tenants=5, per_tenant=64, per_agent=128, operations=64, wait_s=1.0),
    )
