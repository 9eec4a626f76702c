"""The catalogue: tenants, downstream agents, actions and operations, as an operator declares them.

Parsed from a TOML file's mapping; every problem is reported at once. No IO here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from mc_platform.model.dataset import Dataset, parse_datasets
from mc_platform.model.ids import ActionName, AgentName, TenantId
from mc_platform.model.label import CLASSES, Scope
from mc_platform.model.operation import Plan
from mc_platform.model.tenant import Tenant

_T = TypeVar("_T")
DEFAULT_DEADLINE_S = 300.0
MOST_AT_ONCE = 8
_MAX_DEADLINE_S = 7 * 24 * 3600.0
_MAX_PYTHON_TIMEOUT_S = 3600.0
_MAX_ATTEMPTS = 20
_MAX_WAIT_S = 300.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.2, 5.0
_CLASSES = frozenset(CLASSES.values())
ACCEPTED = _CLASSES - {"credential", "foreign", "special", "unreadable"}
"""What an agent is sent unless it declares more: a sign of an attack taints, and is no data."""


@dataclass(frozen=True, slots=True)
class Agent:
    """A downstream A2A agent.

    Attributes:
        name: How requests name it.
        url: Its JSON-RPC interface.
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
    """All that is declared, by name."""

    tenants: Mapping[TenantId, Tenant]
    agents: Mapping[AgentName, Agent]
    actions: Mapping[ActionName, ActionSpec]
    operations: Mapping[str, OperationSpec]
    datasets: Mapping[str, Dataset] = field(default_factory=dict)

    def scope_of(self, tenant: Tenant) -> Scope:
        """What screening is told about a tenant: its own words, and the ids of all others."""
        others = (other for other in self.tenants.values() if other.id != tenant.id)
        foreign = {pattern for other in others for pattern in other.customer_ids}
        return Scope(
            customer_ids=tenant.customer_ids,
            dictionary=tenant.dictionary,
            foreign_ids=tuple(sorted(foreign - set(tenant.customer_ids))),
            hosts=tenant.hosts,
        )


class CatalogueProblems(ValueError):
    """The catalogue does not hold together; `problems` lists every finding."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def _call(raw: Mapping[str, Any] | None) -> HttpCall | None:
    if raw is None:
        return None
    return HttpCall(
        method=str(raw.get("method", "POST")).upper(),
        url=str(raw["url"]),
        body=dict(raw.get("body", {})),
        timeout_s=float(raw.get("timeout_s", 10.0)),
    )


class _Findings:
    """Everything that is wrong with one table."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def read(self, build: Callable[[], _T], instead: _T) -> _T:
        """What `build` makes, or `instead` with the problem noted."""
        try:
            return build()
        except CatalogueProblems as several:
            self.found += several.problems
        except KeyError as error:
            self.found.append(f"key {error.args[0]!r} is missing")
        except (TypeError, ValueError) as error:
            self.found.append(str(error))
        return instead

    def end(self) -> None:
        """Raise `CatalogueProblems` if anything was found."""
        if self.found:
            raise CatalogueProblems(self.found)


def _seconds(name: str, value: Any, most: float) -> float:
    usable = isinstance(value, int | float) and not isinstance(value, bool)
    if not usable or not math.isfinite(value) or not 0 < value <= most:
        raise ValueError(f"{name} is {value!r}, must be above 0 and at most {most:g}")
    return float(value)


def _retries(name: str, raw: Any, *, attempts: int) -> Retries | None:
    """One retry table; `attempts` is taken where it names none."""
    if raw is None:
        return None
    if not isinstance(raw, Mapping):
        raise TypeError(f"{name} must be a table, got {type(raw).__name__}")
    known = ("attempts", "first_wait_s", "longest_wait_s")
    findings = _Findings()
    findings.found += [
        f"{name}: unknown key {key!r}; known: {', '.join(known)}"
        for key in sorted(set(raw) - set(known))
    ]
    tried = raw.get("attempts", attempts)
    if not isinstance(tried, int) or isinstance(tried, bool) or not 1 <= tried <= _MAX_ATTEMPTS:
        findings.found.append(
            f"{name}.attempts is {tried!r}, must be a whole number from 1 to {_MAX_ATTEMPTS}"
        )

    def wait_s(key: str, usual: float) -> float:
        given = raw.get(key, usual)
        return findings.read(lambda: _seconds(f"{name}.{key}", given, _MAX_WAIT_S), usual)

    first_s = wait_s("first_wait_s", _FIRST_WAIT_S)
    longest_s = wait_s("longest_wait_s", max(first_s, _LONGEST_WAIT_S))
    if first_s > longest_s:
        findings.found.append(f"{name}.first_wait_s is above {name}.longest_wait_s")
    findings.end()
    return Retries(tried, first_s, longest_s)


def _action(name: str, row: Mapping[str, Any]) -> ActionSpec:
    findings = _Findings()
    read, found = findings.read, findings.found
    timeout = row.get("timeout_s")
    spec = ActionSpec(
        name=ActionName(name),
        do=read(lambda: _call(row.get("do")), None),
        undo=read(lambda: _call(row.get("undo")), None),
        entry_point=str(row.get("entry_point", "")),
        timeout_s=None
        if timeout is None
        else read(lambda: _seconds("timeout_s", timeout, _MAX_PYTHON_TIMEOUT_S), None),
        retries=read(lambda: _retries("retries", row.get("retries"), attempts=4), None),
        undo_retries=read(
            lambda: _retries("undo_retries", row.get("undo_retries"), attempts=6), None
        ),
    )
    if ("do" in row) == bool(spec.entry_point):
        found.append("needs either `do` (with `undo`) or `entry_point`")
    elif "do" in row and "undo" not in row:
        found.append("`undo` is missing: every step has a compensation")
    if timeout is not None and not spec.entry_point:
        found.append("timeout_s belongs to an `entry_point`; HTTP calls have it in `do` and `undo`")
    findings.end()
    return spec


def _words(name: str, raw: Any, known: Collection[str] | None = None) -> tuple[str, ...]:
    if not isinstance(raw, list | tuple) or not all(isinstance(word, str) and word for word in raw):
        raise TypeError(f"{name} must be a list of words")
    unknown = [] if known is None else [word for word in raw if word not in known]
    if unknown and known is not None:
        raise ValueError(f"{name}: unknown {unknown[0]!r}; known: {', '.join(sorted(known))}")
    return tuple(raw)


def _tenant(name: str, row: Mapping[str, Any], operations: Collection[str]) -> Tenant:
    findings = _Findings()
    read = findings.read

    def words(key: str, known: Collection[str] | None = None) -> tuple[str, ...]:
        return read(lambda: _words(key, row.get(key, ()), known), ())

    def outbound() -> dict[str, frozenset[str]]:
        table = row.get("outbound", {})
        if not isinstance(table, Mapping):
            raise TypeError("outbound must be a table: purpose = [data classes]")
        may_leave = _CLASSES - {"credential", "foreign", "unreadable", "sign", "file"}
        return {
            purpose: frozenset(_words(f"outbound.{purpose}", classes, may_leave))
            for purpose, classes in table.items()
        }

    def redaction() -> str:
        kind = row.get("redaction", "placeholder")
        if kind not in ("placeholder", "pseudonym"):
            raise ValueError(f"redaction is {kind!r}, must be placeholder or pseudonym")
        return str(kind)

    def whole(key: str, most: int) -> int | None:
        value = row.get(key)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
            raise ValueError(f"{key} is {value!r}, must be a whole number from 0 to {most}")
        return value

    tenant = Tenant(
        id=TenantId(name),
        residency=read(lambda: str(row["residency"]), ""),
        purposes=read(lambda: frozenset(row["purposes"]), frozenset[str]()),
        agents=read(
            lambda: frozenset(AgentName(agent) for agent in row["agents"]), frozenset[AgentName]()
        ),
        autonomy_tier=read(lambda: int(row.get("autonomy_tier", 0)), 0),
        generally_available=bool(row.get("generally_available", True)),
        customer_ids=words("customer_ids"),
        dictionary=words("dictionary"),
        hosts=frozenset(host.lower() for host in words("hosts")),
        redaction=read(redaction, "placeholder"),
        outbound=read(outbound, {}),
        operations_per_hour=read(lambda: whole("operations_per_hour", 1_000_000), None),
        tainted_operations=frozenset(words("tainted_operations", operations)),
        tainted_tier=read(lambda: whole("tainted_tier", 3), None) or 0,
    )
    findings.end()
    return tenant


def _plan(raw: Any, declared: Collection[str]) -> Plan:
    """Read `steps`: names, and lists of names that run at once."""
    if not isinstance(raw, list | tuple):
        raise TypeError(f"steps must be a list, got {type(raw).__name__}")
    found: list[str] = [] if raw else ["no steps"]
    plan: list[tuple[ActionName, ...]] = []
    for place, entry in enumerate(raw):
        group = [entry] if isinstance(entry, str) else entry
        if not isinstance(group, list):
            found.append(f"steps[{place}] is neither an action nor a list of actions")
            continue
        if not group:
            found.append(f"steps[{place}] is an empty group")
        if len(group) > MOST_AT_ONCE:
            found.append(f"steps[{place}] has {len(group)} actions, at most {MOST_AT_ONCE} at once")
        for action in group:
            if isinstance(action, list):
                found.append(f"steps[{place}] holds a group within a group")
            elif not isinstance(action, str):
                found.append(f"steps[{place}] is neither an action nor a list of actions")
            elif action not in declared:
                found.append(f"unknown action {action!r}")
        plan.append(tuple(ActionName(str(action)) for action in group))
    if found:
        raise CatalogueProblems(found)
    return tuple(plan)


def _operation(name: str, row: Mapping[str, Any], declared: Collection[str]) -> OperationSpec:
    findings = _Findings()
    read = findings.read
    deadline_s = row.get("deadline_s", DEFAULT_DEADLINE_S)
    spec = OperationSpec(
        name=name,
        agent=AgentName(read(lambda: str(row["agent"]), "")),
        plan=read(lambda: _plan(row["steps"], declared), ()),
        autonomy_tier=read(lambda: int(row["autonomy_tier"]), 0),
        purposes=read(lambda: frozenset(row.get("purposes", ())), frozenset[str]()),
        required=read(lambda: tuple(row.get("required", ())), ()),
        deadline_s=read(lambda: _seconds("deadline_s", deadline_s, _MAX_DEADLINE_S), 0.0),
    )
    findings.end()
    return spec


def parse_catalogue(raw: Mapping[str, Any]) -> Catalogue:
    """Build a catalogue from a parsed TOML document.

    Raises:
        CatalogueProblems: with every missing key and every dangling name.
    """
    problems: list[str] = []
    tenants: dict[TenantId, Tenant] = {}
    agents: dict[AgentName, Agent] = {}
    actions: dict[ActionName, ActionSpec] = {}
    operations: dict[str, OperationSpec] = {}

    def table(name: str) -> Mapping[str, Mapping[str, Any]]:
        value = raw.get(name, {})
        if isinstance(value, Mapping):
            return value
        problems.append(f"[{name}] must be a table of tables, got {type(value).__name__}")
        return {}

    def guarded(where: str, build: Any) -> None:
        try:
            build()
        except CatalogueProblems as several:
            problems.extend(f"{where}: {problem}" for problem in several.problems)
        except KeyError as error:
            problems.append(f"{where}: key {error.args[0]!r} is missing")
        except (TypeError, ValueError) as error:
            problems.append(f"{where}: {error}")

    for name, row in table("agents").items():

        def add_agent(name: str = name, row: Mapping[str, Any] = row) -> None:
            agents[AgentName(name)] = Agent(
                name=AgentName(name),
                url=str(row["url"]),
                residency=str(row["residency"]),
                purposes=frozenset(row.get("purposes", ())),
                timeout_s=float(row.get("timeout_s", 30.0)),
                accepts=ACCEPTED
                if "accepts" not in row
                else frozenset(_words("accepts", row["accepts"], _CLASSES)) | {"sign"},
            )

        guarded(f"agents.{name}", add_agent)

    for name, row in table("tenants").items():

        def add_tenant(name: str = name, row: Mapping[str, Any] = row) -> None:
            tenants[TenantId(name)] = _tenant(name, row, table("operations"))

        guarded(f"tenants.{name}", add_tenant)

    declared = table("actions")
    for name, row in declared.items():

        def add_action(name: str = name, row: Mapping[str, Any] = row) -> None:
            actions[ActionName(name)] = _action(name, row)

        guarded(f"actions.{name}", add_action)

    for name, row in table("operations").items():

        def add_operation(name: str = name, row: Mapping[str, Any] = row) -> None:
            operations[name] = _operation(name, row, declared)

        guarded(f"operations.{name}", add_operation)

    for tenant in tenants.values():
        problems += [
            f"tenants.{tenant.id}: unknown agent {a!r}" for a in tenant.agents - set(agents)
        ]
    problems += [
        f"operations.{name}: unknown agent {row['agent']!r}"
        for name, row in table("operations").items()
        if "agent" in row and row["agent"] not in agents
    ]
    datasets, wrong = parse_datasets(raw, tenants)
    problems += wrong
    if problems:
        raise CatalogueProblems(problems)
    return Catalogue(tenants, agents, actions, operations, datasets)
