"""The catalogue: tenants, downstream agents, actions and operations, as an operator declares them.

Parsed from a TOML file's mapping: the forms at the end of this file say what is accepted, and every
problem is reported at once. No IO here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from mc_contract.configuration import (
    Form,
    HttpUrl,
    JsonObject,
    SetOf,
    Several,
    Strict,
    Text,
    Word,
    among,
    check,
    known,
)
from mc_platform.model.customer_ids import CustomerIds
from mc_platform.model.dataset import Dataset, DatasetName, DatasetTable
from mc_platform.model.ids import ActionName, AgentName, TenantId
from mc_platform.model.label import CLASSES, Scope
from mc_platform.model.operation import Plan
from mc_platform.model.tenant import Tenant

DEFAULT_DEADLINE_S = 300.0
MOST_AT_ONCE = 8
_MAX_DEADLINE_S = 7 * 24 * 3600.0
_MAX_CALL_TIMEOUT_S = 60.0
_MAX_TIMEOUT_S = 3600.0
_MAX_ATTEMPTS = 20
_MAX_WAIT_S = 300.0
_MOST_OPERATIONS = 1_000_000
LEAST_RETENTION_DAYS, MOST_RETENTION_DAYS = 15, 3650
"""A quotation is known for up to two weeks: its task is there as long."""
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0
_CLASSES = frozenset(CLASSES.values())
_MAY_LEAVE = _CLASSES - {"credential", "foreign", "unreadable", "sign", "file", "network"}
ACCEPTED = _CLASSES - {"credential", "foreign", "special", "unreadable", "network"}
"""What an agent is sent unless it declares more: a sign of an attack taints, and is no data."""


PYTHON_AGENT = "python:"
"""How the address of an agent in this process begins."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A downstream A2A agent.

    Attributes:
        name: How requests name it.
        url: Its JSON-RPC interface, or `python:module:callable` of one in this process.
        residency: Where it processes data.
        purposes: What it may be asked for; empty means any purpose.
        timeout_s: How long a reply may take.
        accepts: Data classes (`model.label.CLASSES`) that it may be sent.
    """

    name: AgentName
    url: str
    residency: str
    purposes: frozenset[str]
    timeout_s: float = 30.0
    accepts: frozenset[str] = ACCEPTED


@dataclass(frozen=True, slots=True)
class HttpCall:
    """A declarative HTTP call; `body` may hold `{input.x}`, `{result.x}` and `{effect_key}`."""

    method: str
    url: str
    body: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call of an action is attempted (the first among them), and the waits between."""

    attempts: int
    first_wait_s: float
    longest_wait_s: float


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """An action and its compensation; `do` is HTTP, or `entry_point` names a Python one.

    Attributes:
        timeout_s: How long a call of the entry point may take; None is without end. HTTP calls
            have their own.
        retries: Attempts of the effect; None is the platform's default.
        undo_retries: Attempts of the compensation; None is the platform's default.
    """

    name: ActionName
    do: HttpCall | None
    undo: HttpCall | None
    entry_point: str = ""
    timeout_s: float | None = None
    retries: Retries | None = None
    undo_retries: Retries | None = None


@dataclass(frozen=True, slots=True)
class OperationSpec:
    """A plan of actions.

    Attributes:
        name: How requests name it.
        agent: The downstream agent in whose name it runs.
        plan: Groups of actions in order; compensations run in reverse.
        autonomy_tier: The tier that a tenant needs.
        purposes: Purposes that it serves; empty means any.
        required: Input keys that must be present.
        deadline_s: How long after its start it may still go forward.
    """

    name: str
    agent: AgentName
    plan: Plan
    autonomy_tier: int
    purposes: frozenset[str] = frozenset()
    required: tuple[str, ...] = ()
    deadline_s: float = DEFAULT_DEADLINE_S

    @property
    def steps(self) -> tuple[ActionName, ...]:
        """The plan's actions, flat: an action's index here is the index in its idempotency key."""
        return tuple(action for group in self.plan for action in group)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All that is declared, by name; `customer_ids`: the patterns of all tenants, once for all scopes."""

    tenants: Mapping[TenantId, Tenant]
    agents: Mapping[AgentName, Agent]
    actions: Mapping[ActionName, ActionSpec]
    operations: Mapping[str, OperationSpec]
    datasets: Mapping[str, Dataset] = field(default_factory=dict)
    customer_ids: CustomerIds = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Put together once what the scopes of all tenants share."""
        patterns = chain.from_iterable(tenant.customer_ids for tenant in self.tenants.values())
        object.__setattr__(self, "customer_ids", CustomerIds(patterns))

    def vocabulary(self) -> frozenset[str]:
        """Every purpose and residency that is declared."""
        words: set[str] = set()
        for tenant in self.tenants.values():
            words |= {*tenant.purposes, tenant.residency}
        for agent in self.agents.values():
            words |= {*agent.purposes, agent.residency}
        for operation in self.operations.values():
            words |= operation.purposes
        return frozenset(words)

    def scope_of(self, tenant: Tenant) -> Scope:
        """What screening is told about a tenant: its own words, and the ids of all tenants."""
        return Scope(
            customer_ids=tenant.customer_ids,
            dictionary=tenant.dictionary,
            all_ids=self.customer_ids,
            hosts=tenant.hosts,
        )


def parse_catalogue(raw: Mapping[str, Any], *, shown: Mapping[str, Any] | None = None) -> Catalogue:
    """Build a catalogue from a parsed TOML document.

    Args:
        raw: The document, its placeholders filled.
        shown: The document as the file has it: what messages may show; by default `raw`.

    Raises:
        FileProblems: with everything that is wrong.
    """
    tables = ("tenants", "agents", "actions", "operations")
    names = {key: table for key in tables if isinstance(table := raw.get(key, {}), Mapping)}
    read = check(_File, raw, names=names, shown=shown)
    return Catalogue(
        tenants={TenantId(name): row.build(TenantId(name)) for name, row in read.tenants.items()},
        agents={AgentName(name): row.build(AgentName(name)) for name, row in read.agents.items()},
        actions={
            ActionName(name): row.build(ActionName(name)) for name, row in read.actions.items()
        },
        operations={name: row.build(name) for name, row in read.operations.items()},
        datasets={name: row.build(name) for name, row in read.datasets.items()},
    )


# -- the file's form ----------------------------------------------------------------------------


def _no_template(url: str) -> str:
    if "{" in url:
        raise ValueError("is a template; only `body` is filled at run time")
    return url


_Url = Annotated[HttpUrl, AfterValidator(_no_template)]
_DOTTED = r"[A-Za-z_][A-Za-z0-9_]{0,63}(?:\.[A-Za-z_][A-Za-z0-9_]{0,63}){0,9}"
_Callable = Annotated[
    str,
    StringConstraints(pattern=rf"^{PYTHON_AGENT}{_DOTTED}:{_DOTTED}$"),
    Form("python:module:callable"),
]
_TimeoutS = Annotated[float, Field(gt=0, le=_MAX_TIMEOUT_S)]
_WaitS = Annotated[float, Field(gt=0, le=_MAX_WAIT_S)]
_Tier = Annotated[int, Field(ge=0, le=3)]
_RetentionDays = Annotated[int, Field(ge=LEAST_RETENTION_DAYS, le=MOST_RETENTION_DAYS)]
_Agent = Annotated[Word, known("agents")]
_Operation = Annotated[Word, known("operations")]
_Group = Annotated[
    tuple[Annotated[Word, known("actions")], ...],
    Field(strict=False, min_length=1, max_length=MOST_AT_ONCE),
    BeforeValidator(lambda entry: [entry] if isinstance(entry, str) else entry),
]


class _Call(Strict):
    method: Literal["POST", "PUT", "PATCH", "DELETE"] = "POST"
    url: _Url
    body: JsonObject = Field(default_factory=dict)
    timeout_s: Annotated[float, Field(gt=0, le=_MAX_CALL_TIMEOUT_S)] = 10.0

    def build(self) -> HttpCall:
        return HttpCall(self.method, self.url, self.body, self.timeout_s)


class _Retries(Strict):
    attempts: Annotated[int, Field(ge=1, le=_MAX_ATTEMPTS)] | None = None
    first_wait_s: _WaitS = _FIRST_WAIT_S
    longest_wait_s: _WaitS | None = None

    @model_validator(mode="after")
    def _in_order(self) -> _Retries:
        if self.longest_wait_s is not None and self.first_wait_s > self.longest_wait_s:
            raise ValueError("first_wait_s is above longest_wait_s")
        return self

    def build(self, attempts: int) -> Retries:
        longest_s = self.longest_wait_s or max(self.first_wait_s, _LONGEST_WAIT_S)
        return Retries(self.attempts or attempts, self.first_wait_s, longest_s)


class _Action(Strict):
    do: _Call | None = None
    undo: _Call | None = None
    entry_point: Word | None = None
    timeout_s: _TimeoutS | None = None
    retries: _Retries | None = None
    undo_retries: _Retries | None = None

    @classmethod
    def rules(cls, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if ("do" in raw) == ("entry_point" in raw):
            yield "", "needs either `do` (with `undo`) or `entry_point`"
        elif "do" in raw and "undo" not in raw:
            yield "", "`undo` is missing: every step has a compensation"
        elif "undo" in raw and "do" not in raw:
            yield "undo", "belongs to a `do`; an `entry_point` has its own"
        if "timeout_s" in raw and "entry_point" not in raw:
            yield (
                "timeout_s",
                "belongs to an `entry_point`; HTTP calls have it in `do` and `undo`",
            )

    def build(self, name: ActionName) -> ActionSpec:
        return ActionSpec(
            name=name,
            do=None if self.do is None else self.do.build(),
            undo=None if self.undo is None else self.undo.build(),
            entry_point=self.entry_point or "",
            timeout_s=self.timeout_s,
            retries=None if self.retries is None else self.retries.build(4),
            undo_retries=None if self.undo_retries is None else self.undo_retries.build(6),
        )


class _AgentTable(Strict):
    url: _Url | None = None
    agent: _Callable | None = None
    residency: Word
    purposes: SetOf[Word] = frozenset()
    timeout_s: _TimeoutS = 30.0
    accepts: SetOf[Annotated[str, among(_CLASSES)]] | None = None

    @classmethod
    def rules(cls, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if ("url" in raw) == ("agent" in raw):
            yield "", "needs either `url` (of a remote agent) or `agent` (one in this process)"

    def build(self, name: AgentName) -> Agent:
        accepts = ACCEPTED if self.accepts is None else self.accepts | {"sign"}
        return Agent(
            name,
            self.url or self.agent or "",
            self.residency,
            self.purposes,
            self.timeout_s,
            accepts,
        )


class _Tenant(Strict):
    residency: Word
    purposes: SetOf[Word]
    agents: SetOf[_Agent]
    autonomy_tier: _Tier = 0
    generally_available: bool = True
    customer_ids: Several[Text] = ()
    dictionary: Several[Text] = ()
    hosts: SetOf[Annotated[Text, AfterValidator(str.lower)]] = frozenset()
    redaction: Literal["placeholder", "pseudonym"] = "placeholder"
    outbound: dict[Word, SetOf[Annotated[str, among(_MAY_LEAVE)]]] = Field(default_factory=dict)
    operations_per_hour: Annotated[int, Field(ge=0, le=_MOST_OPERATIONS)] | None = None
    tainted_operations: SetOf[_Operation] = frozenset()
    tainted_tier: _Tier = 0
    retention_days: _RetentionDays | None = None
    replication: Literal["async", "sync"] = "async"
    peer_away: Literal["refuse", "degrade"] = "refuse"

    @classmethod
    def rules(cls, raw: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        if "peer_away" in raw and raw.get("replication") != "sync":
            yield "peer_away", 'belongs to `replication = "sync"`: nothing else waits for the peer'

    def build(self, name: TenantId) -> Tenant:
        return Tenant(id=name, **dict(self))


class _OperationTable(Strict):
    agent: _Agent
    steps: Annotated[tuple[_Group, ...], Field(strict=False, min_length=1, max_length=100)]
    autonomy_tier: _Tier
    purposes: SetOf[Word] = frozenset()
    required: Several[Text] = ()
    deadline_s: Annotated[float, Field(gt=0, le=_MAX_DEADLINE_S)] = DEFAULT_DEADLINE_S

    def build(self, name: str) -> OperationSpec:
        fields = dict(self)
        return OperationSpec(name=name, plan=fields.pop("steps"), **fields)


class _File(Strict):
    tenants: dict[Word, _Tenant] = Field(default_factory=dict)
    agents: dict[Word, _AgentTable] = Field(default_factory=dict)
    actions: dict[Word, _Action] = Field(default_factory=dict)
    operations: dict[Word, _OperationTable] = Field(default_factory=dict)
    datasets: dict[DatasetName, DatasetTable] = Field(default_factory=dict)
