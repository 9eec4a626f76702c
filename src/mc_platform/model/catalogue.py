"""The catalogue: tenants, downstream agents, actions and operations, as an operator declares them.

Parsed from a TOML file's mapping; every problem is reported at once. No IO here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mc_platform.model.ids import ActionName, AgentName, TenantId
from mc_platform.model.tenant import Tenant


@dataclass(frozen=True, slots=True)
class Agent:
    """A downstream A2A agent.

    Attributes:
        name: How requests name it.
        url: Its JSON-RPC interface.
        residency: Where it processes data.
        purposes: What it may be asked for; empty means any purpose.
        timeout_s: How long a reply may take.
    """

    name: AgentName
    url: str
    residency: str
    purposes: frozenset[str]
    timeout_s: float = 30.0


@dataclass(frozen=True, slots=True)
class HttpCall:
    """A declarative HTTP call; `body` may hold `{input.x}`, `{result.x}` and `{effect_key}`."""

    method: str
    url: str
    body: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """An action and its compensation; `do` is HTTP, or `entry_point` names a Python one."""

    name: ActionName
    do: HttpCall | None
    undo: HttpCall | None
    entry_point: str = ""


@dataclass(frozen=True, slots=True)
class OperationSpec:
    """An ordered plan of actions.

    Attributes:
        name: How requests name it.
        agent: The downstream agent in whose name it runs.
        steps: Actions in order; compensations run in reverse.
        autonomy_tier: The tier that a tenant needs.
        purposes: Purposes that it serves; empty means any.
        required: Input keys that must be present.
    """

    name: str
    agent: AgentName
    steps: tuple[ActionName, ...]
    autonomy_tier: int
    purposes: frozenset[str] = frozenset()
    required: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All that is declared, by name."""

    tenants: Mapping[TenantId, Tenant]
    agents: Mapping[AgentName, Agent]
    actions: Mapping[ActionName, ActionSpec]
    operations: Mapping[str, OperationSpec]


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
            )

        guarded(f"agents.{name}", add_agent)

    for name, row in table("tenants").items():

        def add_tenant(name: str = name, row: Mapping[str, Any] = row) -> None:
            tenants[TenantId(name)] = Tenant(
                id=TenantId(name),
                residency=str(row["residency"]),
                purposes=frozenset(row["purposes"]),
                agents=frozenset(AgentName(agent) for agent in row["agents"]),
                autonomy_tier=int(row.get("autonomy_tier", 0)),
                generally_available=bool(row.get("generally_available", True)),
            )

        guarded(f"tenants.{name}", add_tenant)

    for name, row in table("actions").items():

        def add_action(name: str = name, row: Mapping[str, Any] = row) -> None:
            spec = ActionSpec(
                name=ActionName(name),
                do=_call(row.get("do")),
                undo=_call(row.get("undo")),
                entry_point=str(row.get("entry_point", "")),
            )
            if (spec.do is None) == (not spec.entry_point):
                raise ValueError("needs either `do` (with `undo`) or `entry_point`")
            if spec.do is not None and spec.undo is None:
                raise ValueError("`undo` is missing: every step has a compensation")
            actions[spec.name] = spec

        guarded(f"actions.{name}", add_action)

    for name, row in table("operations").items():

        def add_operation(name: str = name, row: Mapping[str, Any] = row) -> None:
            operations[name] = OperationSpec(
                name=name,
                agent=AgentName(str(row["agent"])),
                steps=tuple(ActionName(step) for step in row["steps"]),
                autonomy_tier=int(row["autonomy_tier"]),
                purposes=frozenset(row.get("purposes", ())),
                required=tuple(row.get("required", ())),
            )

        guarded(f"operations.{name}", add_operation)

    for tenant in tenants.values():
        problems += [
            f"tenants.{tenant.id}: unknown agent {a!r}" for a in tenant.agents - set(agents)
        ]
    for operation in operations.values():
        if operation.agent not in agents:
            problems.append(f"operations.{operation.name}: unknown agent {operation.agent!r}")
        problems += [
            f"operations.{operation.name}: unknown action {step!r}"
            for step in operation.steps
            if step not in actions
        ]
        if not operation.steps:
            problems.append(f"operations.{operation.name}: no steps")
    if problems:
        raise CatalogueProblems(problems)
    return Catalogue(tenants, agents, actions, operations)
