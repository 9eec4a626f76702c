"""What a CPU-second and other things cost, and what a request may: a file of the SRE's, TOML.

There is no price by default: a made-up price would make a made-up cost.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mc_ops.errors import UnusableInput

_EXAMPLE = 'currency = "EUR" and cpu_second = 0.00001 make a file; see docs/slo.md'
_MOST = 1e9  # of any currency; sums of more are beyond all numbers
_KEYS = ("currency", "cpu_second", "reserved_cores_per_replica", "metered", "targets")
METERED = {
    "request": ("mc_requests_total", "HTTP requests of tenants"),
    "operation": ("mc_autonomy_operations_total", "operations that ended"),
}
"""What can have a price of its own: the counter that counts it by tenant."""


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices and targets; money is in `currency`.

    Attributes:
        cpu_second: Price of one second of one core.
        reserved_cores: Cores that are paid for each replica, used or not; None: what is used.
        metered: Price of one item by its name in `METERED`.
        per_request: What a request may cost, over all; None: no target.
        tenants: The same for one tenant's requests.
    """

    currency: str
    cpu_second: float
    reserved_cores: float | None = None
    metered: Mapping[str, float] = field(default_factory=dict)
    per_request: float | None = None
    tenants: Mapping[str, float] = field(default_factory=dict)


def read_prices(path: Path) -> Prices:
    """Read a file of prices.

    Raises:
        UnusableInput: it cannot be read, or a value is missing, unknown or not a price.
    """
    try:
        if path.exists() and not path.is_file():
            raise UnusableInput(f"{path} is not a regular file", hint=_EXAMPLE)
        told = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UnusableInput(f"{path} cannot be read: {error.strerror}", hint=_EXAMPLE) from error
    except (ValueError, RecursionError) as error:
        raise UnusableInput(f"{path} is not TOML: {error}"[:300], hint=_EXAMPLE) from error
    _only(told, _KEYS, path, "")
    currency = told.get("currency")
    if not (isinstance(currency, str) and 0 < len(currency) <= 8 and currency.isalpha()):
        raise UnusableInput(f"{path}: `currency` must be letters, such as EUR", hint=_EXAMPLE)
    if "cpu_second" not in told:
        raise UnusableInput(f"{path}: `cpu_second` is missing", hint=_EXAMPLE)
    metered, goals = _table(told, "metered", path), _table(told, "targets", path)
    _only(metered, tuple(METERED), path, "metered.")
    _only(goals, ("per_request", "tenants"), path, "targets.")
    reserved = told.get("reserved_cores_per_replica")
    return Prices(
        currency=currency,
        cpu_second=_price(told["cpu_second"], path, "cpu_second"),
        reserved_cores=None if reserved is None else _price(reserved, path, _KEYS[2]),
        metered={key: _price(value, path, f"metered.{key}") for key, value in metered.items()},
        per_request=_price(goals["per_request"], path, "targets.per_request")
        if "per_request" in goals
        else None,
        tenants={
            key: _price(value, path, f"targets.tenants.{key}")
            for key, value in _table(goals, "tenants", path).items()
        },
    )


def _only(told: Mapping[str, Any], known: tuple[str, ...], path: Path, where: str) -> None:
    if unknown := sorted(set(told) - set(known)):
        raise UnusableInput(
            f"{path}: unknown `{where}{unknown[0][:40]}`", hint=f"known: {', '.join(known)}"
        )


def _table(told: Mapping[str, Any], key: str, path: Path) -> Mapping[str, Any]:
    value = told.get(key, {})
    if not isinstance(value, dict):
        raise UnusableInput(f"{path}: `{key}` must be a table", hint=_EXAMPLE)
    return value


def _price(value: Any, path: Path, key: str) -> float:
    # bool is an int in Python, and no price
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnusableInput(f"{path}: `{key}` must be a number", hint=_EXAMPLE)
    try:
        price = float(value)
    except OverflowError:
        price = math.inf  # TOML has integers of any size
    if not 0 <= price <= _MOST:  # no NaN, either
        raise UnusableInput(
            f"{path}: `{key}` must be between 0 and {_MOST:,.0f}, got {price}", hint=_EXAMPLE
        )
    return price
