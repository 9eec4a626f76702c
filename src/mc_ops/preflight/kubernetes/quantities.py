"""Kubernetes' quantities, and what pods ask for in them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from mc_ops.errors import UnusableInput
from mc_ops.preflight.kubernetes.workloads import Pod

# As long and as large as the API has them: a number that one can print
_FORM = re.compile(r"([+-]?[0-9.]{1,40})([eE][+-]?[0-9]{1,2}|[A-Za-z]{0,2})")
_SUFFIXES = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{name: Decimal(1000) ** power for power, name in enumerate("kMGTPE", 1)},
    **{f"{name}i": Decimal(1024) ** power for power, name in enumerate("KMGTPE", 1)},
}


def quantity(value: Any, where: object) -> Decimal:
    """A quantity: `500m`, `1.5`, `2Gi`.

    Raises:
        UnusableInput: it is none.
    """
    found = None if isinstance(value, bool) else _FORM.fullmatch(str(value))
    if found and found[2] in _SUFFIXES:
        text, factor = found[1], _SUFFIXES[found[2]]
    elif found and found[2][:1] in {"e", "E"}:
        text, factor = "".join(found.groups()), Decimal(1)
    else:
        raise UnusableInput(f"{where}: {value!r} is no quantity, such as 500m or 2Gi")
    try:
        return Decimal(text) * factor
    except ArithmeticError as error:
        raise UnusableInput(f"{where}: {value!r} is no quantity, such as 500m or 2Gi") from error


def asked_for(pod: Pod, kind: str, resource: str) -> Decimal | None:
    """What all containers of a pod ask for, `kind` being `requests` or `limits`.

    Containers that are done before others begin count where one of them needs more than all others.
    What the pod says for all of them together counts instead, and its overhead is added.

    Returns:
        None if one of them does not say.
    """
    overhead = pod.of("overhead", pod.spec).get(resource)
    extra = Decimal(0) if overhead is None else quantity(overhead, f"{pod.owner} overhead")
    whole = _said(pod, pod.spec, kind, resource)
    if whole is not None:
        return whole + extra
    steady, most_before, unsaid = Decimal(0), Decimal(0), False
    for field, container in pod.containers():
        value = _said(pod, container, kind, resource)
        before = "initContainers" in field and container.get("restartPolicy") != "Always"
        if value is None:
            unsaid = unsaid or not before
        elif before:
            most_before = max(most_before, value)
        else:
            steady += value
    return None if unsaid else max(steady, most_before) + extra


def asks_as_whole(pod: Pod, kind: str, resource: str) -> bool:
    """Whether the pod says it for all of its containers together."""
    return _said(pod, pod.spec, kind, resource) is not None


def _said(pod: Pod, container: Mapping[str, Any], kind: str, resource: str) -> Decimal | None:
    resources = pod.of("resources", container)
    value = pod.of(kind, resources).get(resource)
    if value is None and kind == "requests":  # the API takes the limit
        value = pod.of("limits", resources).get(resource)
    return None if value is None else quantity(value, f"{pod.owner} {kind}.{resource}")


def portion(value: Any, of: int, where: object, *, up: bool) -> int:
    """A number, or a percentage of `of` rounded up or down.

    Raises:
        UnusableInput: it is neither.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,4}%", value):
        exact = of * int(value[:-1]) / 100
        return math.ceil(exact) if up else math.floor(exact)
    raise UnusableInput(f"{where}: {value!r} is neither a number nor a percentage")
