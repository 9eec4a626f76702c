"""Templates in the bodies of declared calls: `{input.x.y}`, `{result.x}` and `{effect_key}`.

A string that is one template and nothing else becomes the value itself, with its JSON type; inside
longer text the value is spelled out. What is absent: an `{input.x}` that stands alone takes its key
out of the body (an optional input), a `{result.x}` becomes null (the effect's answer is unknown),
and within longer text absence is an error. Nothing is ever evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mc_contract.keepable import json_text

_TEMPLATE = re.compile(r"\{([A-Za-z_][\w.-]*)\}")
_ABSENT: Any = object()


@dataclass(frozen=True, slots=True)
class Scope:
    """What templates can name.

    Attributes:
        input: The operation's input.
        result: What the action's effect answered; None when that is not known.
        effect_key: Idempotency key of the effect that is to be undone.
    """

    input: Mapping[str, Any]
    result: Mapping[str, Any] | None = None
    effect_key: str = field(default="")


class TemplateAbsent(LookupError):
    """A value named inside longer text is absent."""


def render(body: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """Fill every template in `body`.

    Raises:
        TemplateAbsent: text around a template needs a value that is not there.
    """
    filled = {key: _fill(value, scope) for key, value in body.items()}
    return {key: value for key, value in filled.items() if value is not _ABSENT}


def problems(body: Mapping[str, Any], *, undo: bool) -> list[str]:
    """What is wrong with a body's templates, before anything runs.

    Args:
        body: The declared body.
        undo: Whether it belongs to a compensation; only there `{result.x}` and `{effect_key}` mean
            something.
    """
    found = []
    for name in _names(body):
        root, _, rest = name.partition(".")
        if name == "effect_key" or (root in ("input", "result") and rest):
            if root != "input" and not undo:
                found.append(f"template {{{name}}} has a meaning in `undo` only")
        else:
            found.append(f"unknown template {{{name}}}; known: input.x, result.x, effect_key")
    return found


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from _TEMPLATE.findall(value)
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)


def _fill(value: Any, scope: Scope) -> Any:
    if isinstance(value, Mapping):
        return render(value, scope)
    if isinstance(value, list):
        filled = [_fill(inner, scope) for inner in value]
        # A list keeps its positions: an absent element is null, not gone
        return [None if inner is _ABSENT else inner for inner in filled]
    if not isinstance(value, str):
        return value
    whole = _TEMPLATE.fullmatch(value)
    if whole is not None:
        return _whole(whole[1], scope)
    return _TEMPLATE.sub(lambda match: _text(match[1], scope), value)


def _whole(name: str, scope: Scope) -> Any:
    value = _look_up(name, scope)
    if value is _ABSENT and not name.startswith("input."):
        return None
    return value


def _text(name: str, scope: Scope) -> str:
    value = _look_up(name, scope)
    if value is _ABSENT or value is None:
        raise TemplateAbsent(name)
    return value if isinstance(value, str) else json_text(value)


def _look_up(name: str, scope: Scope) -> Any:
    if name == "effect_key":
        return scope.effect_key
    root, *path = name.split(".")
    value: Any = scope.input if root == "input" else scope.result
    for key in path:
        if not isinstance(value, Mapping) or key not in value:
            return _ABSENT
        value = value[key]
    return value
