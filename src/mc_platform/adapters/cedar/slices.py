"""The part of a policy set that can apply to a question; the rest is not evaluated.

A policy is left out only where it is shown that it evaluates to false, without an error: the
question's action, principal, resource, tenant or owner is none of those that the policy demands. What
is not shown is in every slice. Demands are read from the scope, which cannot err, and from leading
conditions as far as nothing that could err is evaluated before them: an error denies, and so is part
of the answer.

What the shown policies say of the entities holds by `decide.describe_world`: a principal, its tenant
and the resource are always there, and none of them has a parent.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

import cedarpy

from mc_platform.adapters.cedar.kept import Kept
from mc_platform.model.verdict import Question

Entity = tuple[str, str]
"""Type and id."""
Json = Any
_Key = tuple[str, Entity]
"""What a question is about: `principal`, `tenant`, `owner` or `resource`, and which."""
_Demand = tuple[str, frozenset[Entity]]
"""What the question must be about, and the entities of which it must be one."""

_PRINCIPAL, _RESOURCE, _CONTEXT = ({"Var": name} for name in ("principal", "resource", "context"))
_TENANT = {".": {"left": _PRINCIPAL, "attr": "tenant"}}
_OWNER = {".": {"left": _RESOURCE, "attr": "tenant"}}
_PATHS = (
    ("principal", _PRINCIPAL),
    ("tenant", _TENANT),
    ("owner", _OWNER),
    ("resource", _RESOURCE),
)
_HAVE_ATTRIBUTES = (_PRINCIPAL, _RESOURCE, _CONTEXT, _TENANT)
# Operators that give a value for all operands that the schema lets through
_NEVER_ERR = frozenset(
    {"==", "!=", "in", "<", "<=", ">", ">=", "&&", "||", "!", "contains", "containsAll"}
    | {"containsAny", "isEmpty", "if-then-else"}
)


class PolicySlices:
    """The slices of one set, made when they are first needed; safe to share between threads."""

    def __init__(
        self,
        bodies: Mapping[str, Json],
        texts: Mapping[str, str],
        schema: cedarpy.Schema,
        *,
        kept: int,
    ) -> None:
        """Read what each policy demands.

        Args:
            bodies: The policies in Cedar's JSON form, by `@id`; valid by the schema.
            texts: The same as Cedar source.
            kept: How many slices of tenants and the like are kept.
        """
        groups = _groups(schema)
        self._texts = texts
        self._actions = {name: _actions(body["action"], groups) for name, body in bodies.items()}
        self._shared: list[str] = []
        self._named: dict[_Key, list[str]] = defaultdict(list)
        for name, body in bodies.items():
            demand = min(_demands(body), key=lambda found: len(found[1]), default=None)
            if demand is None:
                self._shared.append(name)
                continue
            for entity in demand[1]:
                self._named[demand[0], entity].append(name)
        self._named.default_factory = None
        self._bases: dict[str, cedarpy.PolicySet] = {}
        self._kept: Kept[cedarpy.PolicySet] = Kept(kept)

    def prepare(self, actions: Iterable[str]) -> None:
        """Parse what all questions about an action share, before the first of them waits for it."""
        made: dict[tuple[str, ...], cedarpy.PolicySet] = {}
        for action in actions:
            names = tuple(name for name in self._shared if self._applies(name, action))
            if names not in made:
                made[names] = cedarpy.PolicySet.from_str(self._source(self._shared, action))
            self._bases[action] = made[names]

    def slice_of(self, question: Question) -> cedarpy.PolicySet:
        """The policies that can apply to the question; their ids there are positions."""
        action = question.action.value
        found = tuple(key for key in _keys(question) if key in self._named)
        base = self._bases.get(action)
        if base is None:
            base = cedarpy.PolicySet.from_str(self._source(self._shared, action))
            self._bases[action] = base
        if not found:
            return base
        key: Hashable = (action, found)
        known = self._kept.get(key)
        if known is None:
            own = [name for key in found for name in self._named[key]]
            # The base's parsed policies are shared, not copied
            known = base.with_added_str(self._source(own, action))
            self._kept.put(key, known)
        return known

    def _applies(self, name: str, action: str) -> bool:
        actions = self._actions[name]
        return actions is None or action in actions

    def _source(self, names: list[str], action: str) -> str:
        return "\n".join(self._texts[name] for name in names if self._applies(name, action))


def _keys(question: Question) -> list[_Key]:
    """What the question is about, in one order."""
    kind = question.resource_type
    about: list[_Key] = [
        ("principal", ("Principal", question.principal.id)),
        ("tenant", ("Tenant", question.tenant.id)),
        ("resource", (kind, question.resource_id)),
    ]
    if question.resource_tenant is not None:
        about.append(("owner", ("Tenant", question.resource_tenant)))
    return about


def _groups(schema: cedarpy.Schema) -> dict[str, frozenset[Entity]]:
    """Each action of the schema with what it is `in`: itself, its groups, and theirs."""
    entities = json.loads(str(cedarpy.Entities.from_json_str("[]", schema)))
    parents = {_entity(one["uid"]): {_entity(up) for up in one["parents"]} for one in entities}
    groups = {}
    for action in parents:
        above, to_see = {action}, [action]
        while to_see:
            new = parents.get(to_see.pop(), set()) - above
            above |= new
            to_see += new
        if action[0] == "Action":
            groups[action[1]] = frozenset(above)
    return groups


def _actions(scope: Json, groups: Mapping[str, frozenset[Entity]]) -> frozenset[str] | None:
    """The actions that a scope lets through; None: any."""
    if scope["op"] not in ("==", "in"):
        return None
    wanted = set(_scope_entities(scope))
    if scope["op"] == "==":
        return frozenset(name for kind, name in wanted if kind == "Action")
    return frozenset(name for name, above in groups.items() if above & wanted)


def _demands(body: Json) -> list[_Demand]:
    """What a policy demands of a question; each alone, if it is not met, makes the policy false."""
    try:
        return [*_scope_demands(body), *_condition_demands(body)]
    except RecursionError:  # nested too deeply to be read here: it is in every slice
        return []


def _scope_demands(body: Json) -> Iterator[_Demand]:
    for name in ("principal", "resource"):
        if body[name]["op"] in ("==", "in"):
            yield name, frozenset(_scope_entities(body[name]))


def _scope_entities(scope: Json) -> list[Entity]:
    return [_entity(one) for one in scope.get("entities", [scope.get("entity")])]


def _condition_demands(body: Json) -> Iterator[_Demand]:
    for condition in body.get("conditions", ()):
        for part, negated in _conjuncts(condition["body"], negated=condition["kind"] == "unless"):
            if demand := _demand(part, negated=negated):
                yield demand
            elif not _never_errs(part):
                return


def _conjuncts(part: Json, *, negated: bool) -> Iterator[tuple[Json, bool]]:
    """The parts that must all hold (or, negated, must all not hold), in the order of evaluation."""
    [(operator, operands)] = part.items()
    if operator == ("||" if negated else "&&"):
        yield from _conjuncts(operands["left"], negated=negated)
        yield from _conjuncts(operands["right"], negated=negated)
    elif operator == "!":
        yield from _conjuncts(operands["arg"], negated=not negated)
    else:
        yield part, negated


def _demand(part: Json, *, negated: bool) -> _Demand | None:
    """What a part demands; None: nothing of the kind, or it is not plain to see."""
    [(operator, operands)] = part.items()
    if operator == ("&&" if negated else "||"):
        left = _demand(operands["left"], negated=negated)
        right = _demand(operands["right"], negated=negated)
        alike = left and right and left[0] == right[0]
        return (left[0], left[1] | right[1]) if left and right and alike else None
    if operator == "!":
        return _demand(operands["arg"], negated=not negated)
    if operator == ("!=" if negated else "=="):
        return _among(operands["left"], operands["right"]) or _among(
            operands["right"], operands["left"]
        )
    if operator == "in" and not negated:
        return _among(operands["left"], operands["right"])
    if operator == "contains" and not negated and "Set" in operands["left"]:
        return _among(operands["right"], operands["left"])
    return None


def _among(path: Json, values: Json) -> _Demand | None:
    name = next((name for name, known in _PATHS if path == known), None)
    entities = [one.get("Value") for one in values.get("Set", [values])]
    if name is None or not all(
        isinstance(one, dict) and set(one) == {"__entity"} for one in entities
    ):
        return None
    return name, frozenset(_entity(one["__entity"]) for one in entities)


def _never_errs(part: Json) -> bool:
    """Whether an expression that the schema lets through gives a value for every question."""
    [(operator, operands)] = part.items()
    if operator in ("Var", "Value"):
        return True
    if operator in (".", "has"):
        return operands["left"] in _HAVE_ATTRIBUTES
    if operator == "Set":
        return all(map(_never_errs, operands))
    return operator in _NEVER_ERR and all(map(_never_errs, operands.values()))


def _entity(uid: Json) -> Entity:
    uid = uid.get("__entity", uid)
    return uid["type"], uid["id"]
